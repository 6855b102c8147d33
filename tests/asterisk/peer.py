"""A real Asterisk as the other end of a call: started, told what to do, asked what it heard, stopped.

Every method blocks: from a Trio test call them with `trio.to_thread.run_sync`. `call`, `bridged`, `incoming`,
`hang_up` and `channels` do not wait for the app and take milliseconds only.
"""

from __future__ import annotations

import array
import base64
import contextlib
import http.client
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import attrs
from websockets.sync.client import ClientConnection, connect

_HERE = Path(__file__).parent
_DEFAULT_MADE = _HERE.parent.parent / ".cache" / "asterisk"

# Asterisk complains about each of these that does not exist.
_EMPTY_CONFIGURATION = (
    "acl",
    "ccss",
    "cdr",
    "cel",
    "chan_websocket",
    "codecs",
    "features",
    "manager",
    "stasis",
    "udptl",
)
# sockaddr_un has 108 bytes for the path of the control socket.
_MAX_SOCKET_PATH = 107
_LINEAR_SUFFIXES = {8000: ".sln", 44100: ".sln44"} | {
    1000 * kilohertz: f".sln{kilohertz}" for kilohertz in (12, 16, 24, 32, 48, 96, 192)
}


class AsteriskError(Exception):
    """Asterisk does not do what the test asked for."""


class AsteriskDied(AsteriskError):
    """The process of Asterisk has ended although nobody stopped it."""


class AriRefused(AsteriskError):
    """The REST interface answered with an error."""

    def __init__(self, request: str, status: int, answer: str) -> None:
        super().__init__(f"{request}: {status} {answer}")
        self.status = status


@attrs.frozen(kw_only=True)
class Channel:
    """One channel, as Asterisk lists it."""

    id: str
    name: str
    state: str


@attrs.frozen(kw_only=True)
class IncomingCall:
    """A channel that waits for the app to connect to it."""

    channel_id: str
    connection_id: str
    uri: str
    tls_uri: str | None
    """The same by TLS; None where the peer has no certificate."""


@attrs.frozen(kw_only=True)
class Ending:
    """How the dialplan saw a call end."""

    dial_status: str
    """DIALSTATUS; empty where nothing was dialled."""
    cause: int
    """HANGUPCAUSE (Q.850); 0 where there is none."""


def made_asterisk() -> Path | None:
    """The directory that make.sh filled, None if it did not run."""
    made = Path(os.environ.get("CALLSTREAM_ASTERISK_DIR") or _DEFAULT_MADE)
    return made if (made / "version").is_file() else None


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 5) -> None:
    """Ask again and again until `condition` holds; raise AsteriskError after `timeout`."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AsteriskError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


def read_samples(path: Path) -> array.array[int]:
    """The 16-bit samples of a recording (.wav, .wav16, .sln, .sln16, …)."""
    samples = array.array("h")
    if path.suffix.startswith(".wav"):
        with wave.open(str(path)) as file:
            samples.frombytes(file.readframes(file.getnframes()))
    elif path.suffix.startswith((".sln", ".raw")):
        samples.frombytes(path.read_bytes())
    else:
        raise ValueError(f"{path.name} does not hold linear samples")
    if sys.byteorder == "big" and path.suffix.startswith(".wav"):
        samples.byteswap()
    return samples


class Asterisk:
    """One Asterisk in a directory of its own, listening on loopback ports of its own.

    `made` is what make.sh made, `directory` an existing directory for configuration, logs and recordings; it
    stays when Asterisk is stopped. `app_uri` and `app_tls_uri` are what the client sections `app` and
    `app_tls` call, `ca_file` what the latter trusts. With `certificate` (a PEM file with key and chain) apps
    can connect by TLS too.
    """

    def __init__(
        self,
        made: Path,
        directory: Path,
        *,
        app_uri: str,
        app_tls_uri: str | None = None,
        ca_file: Path | None = None,
        certificate: Path | None = None,
        http_port: int | None = None,
        https_port: int | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.recordings = self.directory / "recordings"
        self.sounds = self.directory / "sounds"
        self.app_uri = app_uri
        self.app_tls_uri = app_tls_uri
        self.http_port = http_port or free_port()
        self.https_port = (https_port or free_port()) if certificate else None
        self._root = made.resolve() / "root"
        self._ca_file = ca_file
        self._certificate = certificate
        self._ari_password = secrets.token_hex(16)
        self._clients: dict[str, dict[str, str]] = {}
        self._ids = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def start(self, timeout: float = 20) -> None:
        """Start and wait until everything is loaded and the HTTP server answers."""
        if self._process:
            raise AsteriskError("Asterisk is already started")
        control = self.directory / "asterisk.ctl"
        if len(os.fsencode(control)) > _MAX_SOCKET_PATH:
            raise AsteriskError(f"the path is too long for a Unix socket: {control}")
        for name in ("etc", "lib/keys", "spool", "log", "recordings", "sounds"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        control.unlink(missing_ok=True)
        for name in _EMPTY_CONFIGURATION:
            (self.directory / "etc" / f"{name}.conf").touch()
        for template in (_HERE / "etc").glob("*.conf"):
            self._render(template.name)

        command = [*self._program(), "-f"]
        # When the tests are killed, nobody is left to stop Asterisk but the kernel. It does so already when
        # the starting thread ends, so only the thread that lasts may ask for it.
        if threading.current_thread() is threading.main_thread() and (setpriv := shutil.which("setpriv")):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with (self.directory / "log" / "console").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + timeout
            wait_until(lambda: self.is_alive() and control.exists(), "the control socket", timeout)
            self.command("core waitfullybooted", timeout=max(1, deadline - time.monotonic()))
            self.ari("GET", "asterisk/ping")
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 5) -> None:
        """End the process that `start` started, by force after `timeout`. Do nothing if there is none."""
        if (process := self._process) is None:
            return
        self._process = None
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            # A call in the middle of a message blocks an orderly end for ever.
            process.kill()
            process.wait(timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process of Asterisk."""
        if self._process is None:
            raise AsteriskError("Asterisk is not started")
        return self._process.pid

    def is_alive(self) -> bool:
        """True while Asterisk runs; raise AsteriskDied if it ended by itself."""
        if self._process is None:
            return False
        status = self._process.poll()
        if status is not None:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise AsteriskDied(f"Asterisk ended with {how}. It said last:\n{self._last_words()}")
        return True

    # Configuration

    def point_at(self, app_uri: str, app_tls_uri: str | None = None) -> None:
        """Call the app at these addresses from now on."""
        self.app_uri = app_uri
        self.app_tls_uri = app_tls_uri
        self._reload_clients()

    def add_client(self, name: str, **options: str) -> None:
        """Add (or replace) a section of websocket_client.conf; `uri` is the option that must be there."""
        self._clients[name] = options
        self._reload_clients()

    def add_sound(self, name: str, samples: bytes, rate: int = 8000) -> str:
        """Store 16-bit samples as a sound file and return what the variable SOUND must be to play it."""
        (self.sounds / name).with_suffix(_LINEAR_SUFFIXES[rate]).write_bytes(samples)
        return str(self.sounds / name)

    def _reload_clients(self) -> None:
        self._render("websocket_client.conf")
        self.command("module reload res_websocket_client.so")

    def _render(self, name: str) -> None:
        libraries = self._library_folder()
        values = {
            "ETC": self.directory / "etc",
            "RUN": self.directory,
            "MODULES": libraries / "asterisk" / "modules",
            "DATA": self._root / "usr" / "share" / "asterisk",
            "HTTP_PORT": self.http_port,
            "HTTPS_PORT": self.https_port or 1,
            "TLS": "yes" if self._certificate else "no",
            "CERTIFICATE": self._certificate or "",
            "ARI_PASSWORD": self._ari_password,
            "APP_URI": self.app_uri,
            "APP_TLS_URI": self.app_tls_uri or "wss://localhost:1/",
            "CA_FILE": self._ca_file or "",
        }
        text = (_HERE / "etc" / name).read_text()
        if name == "websocket_client.conf":
            for client, options in self._clients.items():
                lines = "".join(f"{key} = {value}\n" for key, value in options.items())
                text += f"\n[{client}](common)\n{lines}"
        text = re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), text)
        (self.directory / "etc" / name).write_text(text)

    # What can be said to Asterisk

    def command(self, line: str, timeout: float = 10) -> str:
        """Run a command of Asterisk's command line and return what it prints."""
        self._require_alive()
        try:
            done = subprocess.run(
                [*self._program(), "-rx", line],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise AsteriskError(f"no answer within {timeout:.0f} s: {line}") from None
        if done.returncode:
            self.is_alive()
            raise AsteriskError(f"{line}: {done.stdout}{done.stderr}".strip())
        return done.stdout

    def ari(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str | int | None
    ) -> Any:
        """Make a request of the REST interface and return the decoded answer; None if that is empty."""
        self._require_alive()
        parameters = urlencode({key: value for key, value in query.items() if value is not None})
        request = f"{method} /ari/{path}?{parameters}"
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            connection.request(
                method,
                f"/ari/{path}?{parameters}",
                body=json.dumps(body) if body is not None else None,
                headers={"Authorization": self._authorization(), "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            answer = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            # The kernel may close the socket before the process counts as ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait_for_exit(1)
            self.is_alive()
            raise AsteriskError(f"{request}: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise AriRefused(request, response.status, answer)
        return json.loads(answer) if answer else None

    @contextlib.contextmanager
    def stasis(self, app: str = "lab") -> Iterator[Stasis]:
        """Register a Stasis application, which external media and bridges need, for the time of the block."""
        self._require_alive()
        with connect(
            f"ws://127.0.0.1:{self.http_port}/ari/events?app={app}",
            additional_headers={"Authorization": self._authorization()},
            subprotocols=None,
            compression=None,
            max_queue=None,
            proxy=None,
        ) as connection:
            yield Stasis(app, connection)

    # Calls

    def call(self, extension: str = "echo", endpoint: str = "app/c(ulaw)", **variables: str) -> str:
        """Call the app; a single channel, which runs `extension` itself. Return the channel's id.

        `endpoint` is the client section and the dial options: "app/c(slin16)f(json)n". `variables` are the
        parameters of the extension, see etc/extensions.conf. An app that is not there is not an error here.
        """
        return self._originate(f"WebSocket/{endpoint}", extension, variables)

    def bridged(
        self,
        caller: str = "silence",
        endpoint: str = "app/c(ulaw)",
        *,
        caller_format: str = "slin",
        **variables: str,
    ) -> str:
        """Call the app from a caller who runs the extension `caller` and bridge them. Return the call's id.

        Audio passes the bridge unchanged where the codec decodes to `caller_format`: slin16 for slin16, g722.
        """
        dialled = {"TARGET": f"WebSocket/{endpoint}", **variables}
        return self._originate(f"Local/{caller}@peer/n", "dial", dialled, formats=caller_format)

    def incoming(self, extension: str = "echo", options: str = "c(ulaw)", **variables: str) -> IncomingCall:
        """Make a channel that runs `extension` once the app has connected to it."""
        channel_id = self._originate(f"WebSocket/INCOMING/{options}", extension, variables)
        answer = self.ari("GET", f"channels/{channel_id}/variable", variable="MEDIA_WEBSOCKET_CONNECTION_ID")
        return self._incoming(channel_id, answer["value"])

    def external_media(
        self,
        app: str,
        client: str = "app",
        codec: str = "ulaw",
        *,
        options: str = "",
        direction: str = "both",
    ) -> str:
        """Let ARI call the app and hand the channel to the Stasis application `app`. Return its id."""
        answer = self._external_media(app, client, codec, options, direction, connection_type="client")
        return str(answer["id"])

    def incoming_external_media(
        self, app: str, codec: str = "ulaw", *, options: str = "", direction: str = "both"
    ) -> IncomingCall:
        """Let ARI make a channel that waits for the app; it is in Stasis once the app has connected."""
        answer = self._external_media(app, "INCOMING", codec, options, direction, connection_type="server")
        return self._incoming(answer["id"], answer["channelvars"]["MEDIA_WEBSOCKET_CONNECTION_ID"])

    def hang_up(self, channel_id: str) -> None:
        """Hang up from Asterisk's side; a channel that is gone is fine."""
        try:
            self.ari("DELETE", f"channels/{quote(channel_id)}")
        except AriRefused as refusal:
            if refusal.status != 404:
                raise

    # What Asterisk knows

    def channels(self) -> list[Channel]:
        """All channels there are; a bridged call has three."""
        return [
            Channel(id=channel["id"], name=channel["name"], state=channel["state"])
            for channel in self.ari("GET", "channels")
        ]

    def wait_until_idle(self, timeout: float = 5) -> None:
        """Wait until there is no channel left."""
        wait_until(lambda: not self.channels(), "all channels are gone", timeout)

    def ending(self, channel_id: str, timeout: float = 5) -> Ending:
        """Wait for the end of a call and tell how it ended.

        Only for calls that reached the dialplan: `bridged` ones always do, others when the app has answered.
        """
        match = self.wait_for_log(rf"ended id={re.escape(channel_id)} status=(\w*) cause=(\d*)", timeout)
        return Ending(dial_status=match[1], cause=int(match[2] or 0))

    def recording(self, name: str, timeout: float = 5) -> Path:
        """The path of a finished recording of Record() or MixMonitor(), which `channels` shows no more."""
        path = self.recordings / name
        self.wait_until_idle(timeout)
        wait_until(path.exists, f"{path} is there", timeout)
        # MixMonitor writes on for a moment after its channel is gone.
        wait_until(lambda: not self._has_open(path), f"{path} is closed", timeout)
        return path

    def log(self) -> str:
        """Everything Asterisk has logged since its start."""
        path = self.directory / "log" / "full"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = 5) -> re.Match[str]:
        """Wait until the log has a line with this regular expression, now or from before."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.finditer(pattern, self.log()))
            return bool(found) or (self.is_alive() and False)

        wait_until(look, f"the log has {pattern!r}", timeout)
        return found[0]

    # Inside

    def _originate(
        self, endpoint: str, extension: str, variables: Mapping[str, str], *, formats: str | None = None
    ) -> str:
        answer = self.ari(
            "POST",
            "channels",
            {"variables": dict(variables)},
            endpoint=endpoint,
            extension=extension,
            context="peer",
            priority=1,
            timeout=30,
            # Without formats a Local channel takes slin192, and everything is resampled twice.
            formats=formats,
            channelId=f"call-{next(self._ids)}",
        )
        return str(answer["id"])

    def _external_media(
        self, app: str, host: str, codec: str, options: str, direction: str, *, connection_type: str
    ) -> dict[str, Any]:
        answer: dict[str, Any] = self.ari(
            "POST",
            "channels/externalMedia",
            app=app,
            external_host=host,
            transport="websocket",
            encapsulation="none",
            connection_type=connection_type,
            format=codec,
            transport_data=options or None,
            direction=direction,
            channelId=f"call-{next(self._ids)}",
        )
        return answer

    def _incoming(self, channel_id: str, connection_id: str) -> IncomingCall:
        return IncomingCall(
            channel_id=channel_id,
            connection_id=connection_id,
            uri=f"ws://127.0.0.1:{self.http_port}/media/{connection_id}",
            tls_uri=f"wss://localhost:{self.https_port}/media/{connection_id}" if self.https_port else None,
        )

    def _program(self) -> list[str]:
        libraries = self._library_folder()
        loader = next(libraries.glob("ld-linux*.so.*"))
        return [
            str(loader),
            "--library-path",
            str(libraries),
            str(self._root / "usr" / "sbin" / "asterisk"),
            "-C",
            str(self.directory / "etc" / "asterisk.conf"),
        ]

    def _library_folder(self) -> Path:
        return next(loader.parent for loader in self._root.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*"))

    def _authorization(self) -> str:
        return "Basic " + base64.b64encode(f"peer:{self._ari_password}".encode()).decode()

    def _require_alive(self) -> None:
        if not self.is_alive():
            raise AsteriskError("Asterisk is not started")

    def _wait_for_exit(self, timeout: float) -> None:
        if self._process:
            self._process.wait(timeout)

    def _has_open(self, path: Path) -> bool:
        if self._process is None:
            return False
        for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if link.readlink() == path:
                    return True
        return False

    def _last_words(self) -> str:
        console = self.directory / "log" / "console"
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return "\n".join([*lines, *self.log().splitlines()][-15:])


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
