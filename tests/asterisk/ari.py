"""Asterisk's REST interface, as much of it as the tests need."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from websockets.sync.client import ClientConnection, connect

from tests.asterisk.process import AsteriskError


class AriRefused(AsteriskError):
    """The REST interface answered with an error."""

    def __init__(self, request: str, status: int, answer: str) -> None:
        super().__init__(f"{request}: {status} {answer}")
        self.status = status


class Ari:
    """The REST interface on a port of the loopback interface, for the user of ari.conf."""

    def __init__(self, port: int, password: str) -> None:
        self._port = port
        self._authorization = "Basic " + base64.b64encode(f"peer:{password}".encode()).decode()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str | int | None) -> Any:
        """Return the decoded answer, None if it is empty. Query parameters that are None are left out."""
        parameters = urlencode({key: value for key, value in query.items() if value is not None})
        target = f"/ari/{path}?{parameters}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(
                method,
                target,
                body=json.dumps(body) if body is not None else None,
                headers={"Authorization": self._authorization, "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            answer = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise AsteriskError(f"{method} {target}: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise AriRefused(f"{method} {target}", response.status, answer)
        return json.loads(answer) if answer else None

    @contextlib.contextmanager
    def stasis(self, app: str) -> Iterator[Stasis]:
        """Register a Stasis application for the time of the block."""
        with connect(
            f"ws://127.0.0.1:{self._port}/ari/events?app={app}",
            additional_headers={"Authorization": self._authorization},
            compression=None,
            # Asterisk drops a listener that does not keep up.
            max_queue=None,
            proxy=None,
        ) as connection:
            yield Stasis(app, connection)


class Stasis:
    """A registered Stasis application and the events that it has seen."""

    def __init__(self, app: str, connection: ClientConnection) -> None:
        self.app = app
        self.events: list[dict[str, Any]] = []
        self._connection = connection

    def wait_for(self, kind: str, channel_id: str | None = None, timeout: float = 5) -> dict[str, Any]:
        """Wait for the next event of this type (and channel), such as StasisStart, and return it."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                event: dict[str, Any] = json.loads(self._connection.recv(left))
                self.events.append(event)
                if event["type"] == kind and channel_id in (None, event.get("channel", {}).get("id")):
                    return event
        raise AsteriskError(f"no {kind} within {timeout} s, only {[event['type'] for event in self.events]}")
