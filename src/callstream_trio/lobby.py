"""An Asterisk that waits to be called: `WebSocket/INCOMING`, for tests of applications that dial."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import h11
import structlog
import trio
from wsproto.utilities import generate_accept_token

from callstream_core import dialects
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_core.platform_session import PlatformSession
from callstream_trio.admission import Refusal, Request, read_request, render
from callstream_trio.caller import Caller, leave
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link
from callstream_trio.server import accept_one, open_listeners
from callstream_trio.wait import read_head, receive_some, send_all

_log = structlog.get_logger("callstream.lobby")

_MAX_REQUEST = 16 * 1024
_VERSIONS = ("7", "8", "13")
_PROTOCOL = "media"


@attrs.define
class _Place:
    """One call that waits for its application."""

    profile: AsteriskProfile
    caller: Caller | None = None
    arrived: trio.Event = attrs.field(factory=trio.Event)


class Lobby:
    """Calls that wait, each at an address of its own. Made by `lobby`."""

    def __init__(self, hub: Hub, address: str) -> None:
        self._hub = hub
        self._address = address
        self._places: dict[str, _Place] = {}

    def expect(self, profile: AsteriskProfile | None = None) -> str:
        """Let one more call wait; return the URL at which an application takes it."""
        connection_id = str(uuid.uuid4())
        profile = attrs.evolve(
            profile or AsteriskProfile(),
            is_server=True,
            connection_id=connection_id,
            channel="WebSocket/INCOMING/0x7f0000000001",
        )
        self._places[connection_id] = _Place(profile)
        return f"ws://{self._address}/media/{connection_id}"

    async def arrival(self, url: str) -> Caller:
        """Wait until an application has taken the call at `url`; return the caller."""
        place = self._places[url.rpartition("/")[2]]
        await place.arrived.wait()
        assert place.caller is not None
        return place.caller

    async def serve(self, sock: socket.socket) -> None:
        """Answer one connection, and run its call."""
        with sock:
            try:
                head = await read_head(h11.SERVER, sock, None, max_size=_MAX_REQUEST)
            except h11.RemoteProtocolError as error:
                await self._refuse(sock, Refusal(status=400, text=str(error)))
                return
            if head is None or not isinstance(head[0], h11.Request):
                return
            request = read_request(head[0])
            refusal = self._refusal(request)
            if refusal is not None:
                await self._refuse(sock, refusal)
            else:
                await self._run(sock, request, head[1])

    def _refusal(self, request: Request) -> Refusal | None:
        """Return why there is no upgrade, by the rules of Asterisk's HTTP server."""
        place = self._place(request.path)
        if place is None:
            return Refusal(status=404, text="Not Found")
        if request.method != "GET":
            return Refusal(status=501, text="Not Implemented")
        if not request.wants_upgrade:
            return Refusal(status=426, text="Upgrade Required", headers=[(b"upgrade", b"websocket")])
        version = request.header(b"sec-websocket-version") or b""
        has_protocol = not request.subprotocols or _offer(request) is not None
        if not has_protocol or version.decode("latin-1") not in _VERSIONS or not request.header(b"sec-websocket-key"):
            headers = [(b"sec-websocket-version", ", ".join(_VERSIONS).encode())]
            return Refusal(status=400, text="Bad Request", headers=headers)
        if place.caller is not None:
            return Refusal(status=409, text="Conflict")
        return None

    def _place(self, path: str) -> _Place | None:
        # Only `media` is matched without regard to case, and nothing is decoded.
        _, _, rest = path.partition("/")
        media, _, connection_id = rest.partition("/")
        return self._places.get(connection_id) if media.lower() == "media" else None

    async def _run(self, sock: socket.socket, request: Request, early: bytes) -> None:
        connection_id = request.path.rpartition("/")[2]
        place = self._places[connection_id]
        caller = place.caller = Caller(self._hub)
        try:
            await send_all(sock, _response(request))
            session = PlatformSession(dialects.get("asterisk"), place.profile)
            link = Link(self._hub, sock, session, caller, is_client=False, rules=place.profile.rules)
            caller.attach(link)
            link.start(early)
            link.perform(session.open(clock()))
            place.arrived.set()
            try:
                await caller.wait_gone()
            finally:
                await leave(caller, link)
        finally:
            # An address is good for one call.
            del self._places[connection_id]

    @staticmethod
    async def _refuse(sock: socket.socket, refusal: Refusal) -> None:
        await send_all(sock, render(refusal))
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while await receive_some(sock):
                pass


def _offer(request: Request) -> int | None:
    """Return at which place of its list the request offers the subprotocol."""
    offered = [item.lower() for item in request.subprotocols]
    return offered.index(_PROTOCOL) if _PROTOCOL in offered else None


def _response(request: Request) -> bytes:
    """Return the 101, byte for byte as Asterisk writes it."""
    key = request.header(b"sec-websocket-key") or b""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {generate_accept_token(key).decode()}",
    ]
    place = _offer(request)
    if place is not None:
        # Asterisk cuts its list at the commas only: the blank behind one stays.
        lines.append(f"Sec-WebSocket-Protocol: {' ' if place else ''}{request.subprotocols[place]}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def lobby(hub: Hub, bind: str = "127.0.0.1:0") -> AsyncIterator[Lobby]:
    """Listen as Asterisk's HTTP server does, for applications that take the calls which wait here.

    `hub` must be running. Leaving the block hangs up on all.
    """
    listener, *more = await open_listeners(bind)
    for other in more:
        other.close()
    host, port = listener.getsockname()[:2]
    waiting = Lobby(hub, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def supervise(sock: socket.socket) -> None:
        try:
            await waiting.serve(sock)
        except Exception as error:
            _log.error("connection failed", error=repr(error), exc_info=error)

    with listener:
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                while True:
                    sock, _ = await accept_one(listener)
                    nursery.start_soon(supervise, sock)

            nursery.start_soon(accept)
            yield waiting
            nursery.cancel_scope.cancel()
