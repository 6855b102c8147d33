"""An Asterisk that waits to be called: `WebSocket/INCOMING`, for tests of applications that dial."""

from __future__ import annotations

import contextlib
import math
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import structlog
import trio
from wsproto.utilities import generate_accept_token

from callstream_core import dialects
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_core.platform_session import PlatformSession
from callstream_trio.admission import Refusal, Request
from callstream_trio.caller import Caller, leave
from callstream_trio.guest import Guest, take
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link
from callstream_trio.listen import accept_one, open_listeners
from callstream_trio.neighbours import Neighbours
from callstream_trio.wait import send_all

_log = structlog.get_logger("callstream.lobby")

_MAX_REQUEST = 16 * 1024
# Seconds for a request and its answer.
_PATIENCE = 10.0
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

    def __init__(self, hub: Hub, address: str, neighbours: Neighbours | None = None) -> None:
        self._hub = hub
        self._address = address
        self._neighbours = neighbours
        self._places: dict[str, _Place] = {}

    def expect(self, profile: AsteriskProfile | None = None) -> str:
        """Let one more call wait; return the URL at which an application takes it."""
        connection_id = str(self._name())
        profile = attrs.evolve(
            profile or AsteriskProfile(),
            is_server=True,
            connection_id=connection_id,
            channel="WebSocket/INCOMING/0x7f0000000001",
        )
        self._places[connection_id] = _Place(profile)
        return f"ws://{self._address}/media/{connection_id}"

    def _name(self) -> uuid.UUID:
        """Return a name that nobody guesses; with other processes about, it tells which one has the call."""
        if self._neighbours is None:
            return uuid.uuid4()
        return uuid.UUID(f"{self._neighbours.number:08x}{secrets.token_hex(12)}", version=4)

    def _holder(self, path: str) -> int | None:
        """Return which other process may have the call of a path."""
        try:
            number = int(uuid.UUID(path.rpartition("/")[2]).hex[:8], 16)
        except ValueError:
            return None
        return number if self._neighbours is not None and number != self._neighbours.number else None

    async def arrival(self, url: str) -> Caller:
        """Wait until an application has taken the call at `url`; return the caller."""
        place = self._places[url.rpartition("/")[2]]
        await place.arrived.wait()
        assert place.caller is not None
        return place.caller

    async def serve(self, guest: Guest) -> None:
        """Answer one connection, and run its call; let another process have it, if the call waits there."""
        with contextlib.closing(guest), trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + _PATIENCE
            head = await guest.read_request(None, _MAX_REQUEST)
            if isinstance(head, Refusal):
                await guest.refuse(head)
            elif head is not None and not await self._send_elsewhere(guest, *head):
                refusal = self._refusal(head[0])
                if refusal is not None:
                    await guest.refuse(refusal)
                else:
                    scope.deadline = math.inf
                    await self._run(guest.sock, *head)

    async def _send_elsewhere(self, guest: Guest, request: Request, early: bytes) -> bool:
        holder = self._holder(request.path)
        if self._neighbours is None or holder is None or guest.visitor is not None:
            return False
        return await guest.hand_over(self._neighbours, holder, early)

    async def welcome(self, door: socket.socket) -> None:
        """Take a connection that another process has accepted."""
        with door, trio.fail_after(_PATIENCE):
            guest = await take(door, lambda call_sid: call_sid is None)
        if guest is not None:
            await self.serve(guest)

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
async def lobby(hub: Hub, bind: str = "127.0.0.1:0", *, neighbours: Neighbours | None = None) -> AsyncIterator[Lobby]:
    """Listen as Asterisk's HTTP server does, for applications that take the calls which wait here.

    `hub` must be running. With `neighbours`, other processes listen at the same address, each with calls of its own.
    Leaving the block hangs up on all.
    """
    listener, *more = await open_listeners(bind, shares_port=neighbours is not None)
    for other in more:
        other.close()
    host, port = listener.getsockname()[:2]
    waiting = Lobby(hub, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", neighbours)

    async def supervise(run: Awaitable[None]) -> None:
        try:
            await run
        except Exception as error:
            _log.error("connection failed", error=repr(error), exc_info=error)

    async def accept(source: socket.socket, serve: Callable[[socket.socket, tuple[str, int]], Awaitable[None]]) -> None:
        while True:
            sock, peer = await accept_one(source)
            nursery.start_soon(supervise, serve(sock, peer))

    with contextlib.ExitStack() as held:
        held.enter_context(listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, listener, lambda sock, peer: waiting.serve(Guest(sock, peer[0])))
            if neighbours is not None:
                door = held.enter_context(neighbours.open_door())
                held.callback(neighbours.forget)
                nursery.start_soon(accept, door, lambda sock, _: waiting.welcome(sock))
            yield waiting
            nursery.cancel_scope.cancel()
