"""A server that takes calls: listen, admit, run a handler for each, drain."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from callstream_core.app_session import AppSession
from callstream_core.dialect import Dialect
from callstream_core.events import Side
from callstream_core.limits import Limits, PlayoutSettings
from callstream_trio.admission import Admission, Admitted, Refusal, Request
from callstream_trio.call import Call, CallLimits
from callstream_trio.control import Control
from callstream_trio.exchange import Exchange
from callstream_trio.guest import Guest, take
from callstream_trio.handling import Handler, run_handler
from callstream_trio.hub import Hub, clock
from callstream_trio.jambonz import JambonzSettings, TicketOffice, Tied, VerbsHandler, has_ticket
from callstream_trio.link import Link
from callstream_trio.link_limits import LinkLimits
from callstream_trio.listen import accept_one, open_listeners
from callstream_trio.metrics import Metrics
from callstream_trio.neighbours import Neighbours
from callstream_trio.relay import Relay
from callstream_trio.wait import prepare

__all__ = [
    "Handler",
    "Server",
    "ServerLimits",
    "ServerSettings",
    "run_handler",
    "serve",
    "serve_verbs",
]

_log = structlog.get_logger("callstream.server")

# Seconds for a handshake while silent peers hold all places.
_CROWDED_TIMEOUT = 1.0

_Run = Callable[[], Awaitable[None]]
_Greeting = Callable[[socket.socket, Any, object], Awaitable[None]]


@attrs.frozen(kw_only=True)
class ServerLimits:
    """The bounds of one server."""

    max_calls: int = 4000
    """Calls at once; more are refused with 503."""
    max_handshakes: int = 256
    """Connections at once that are not calls yet; more wait in the listen queue."""
    handshake_timeout: float = 5.0
    """Seconds for TLS and the upgrade together."""
    max_request: int = 16 * 1024
    """Bytes of a request."""
    handler_grace: float = 5.0
    """Seconds that a handler may still run after its call has ended."""
    drain_timeout: float = 10.0
    """Seconds that calls may still last when the server stops."""


@attrs.frozen(kw_only=True)
class ServerSettings:
    """What a server needs to know besides its handler."""

    admission: Admission = attrs.field(factory=Admission)
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    session_limits: Limits = attrs.field(factory=lambda: Limits(max_pending_audio=1024 * 1024))
    """A megabyte of audio per call may wait for the platform: ten seconds of 48 kHz, two minutes of ulaw."""
    profiles: Mapping[str, Any] = attrs.field(factory=dict)
    """What is known of the platforms beforehand, by dialect: Asterisk's option `p`, a PBX's sample rate."""
    playout: PlayoutSettings = attrs.field(factory=PlayoutSettings)
    link_limits: LinkLimits = attrs.field(factory=LinkLimits)
    call_limits: CallLimits = attrs.field(factory=CallLimits)
    jambonz: JambonzSettings = attrs.field(factory=JambonzSettings)


class Server:
    """Takes calls until it is told to drain. Nothing that a peer or a handler does reaches the accept loop."""

    def __init__(
        self,
        handler: Handler,
        *,
        settings: ServerSettings | None = None,
        tls: ssl.SSLContext | None = None,
        hub: Hub | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.settings = settings or ServerSettings()
        self.hub = hub if hub is not None else Hub()
        self.calls: set[Call] = set()
        self.addresses: list[tuple[str, int]] = []
        """Where it listens."""
        self.is_draining = False
        self._handler = handler
        self._tls = tls
        self._handshakes = trio.CapacityLimiter(self.settings.limits.max_handshakes)
        self._handshake_scopes: set[trio.CancelScope] = set()
        self._metrics = Metrics(self)
        self._neighbours = neighbours
        number = neighbours.number if neighbours else None
        self._tickets = TicketOffice(self.settings.jambonz, is_secure=tls is not None, number=number)
        self._exchange = Exchange(self.hub, self.settings, self._tickets, neighbours)
        self.controls = self._exchange.controls
        """The control sockets of jambonz's calls, which have an audio socket besides, or none."""
        self.endings = self._exchange.endings
        """How many calls, and connections that never became one, ended in which way."""
        self.tolerated = self._exchange.tolerated
        """Tolerances that calls needed which are over."""
        self.relays: set[Relay] = set()
        """TLS connections whose calls are in other processes."""
        self._tied = 0
        """Calls whose line is that of their control."""
        self._emptied = trio.Event()

    @property
    def metrics(self) -> str:
        """The page of metrics, as Prometheus reads it."""
        page = self._metrics.page("/metrics")
        return page.text if page else ""

    @asynccontextmanager
    async def listening(self, binds: Sequence[str], *, shares_port: bool = False) -> AsyncIterator[Server]:
        """Listen on `host:port` addresses while the block runs; then drain. Other processes may share the port."""
        listeners: list[socket.socket] = []
        with contextlib.ExitStack() as held:
            door: socket.socket | None = None
            if self._neighbours is not None:
                door = held.enter_context(self._neighbours.open_door())
                held.callback(self._neighbours.forget)
            for bind in binds:
                listeners += map(held.enter_context, await open_listeners(bind, shares_port=shares_port))
            self.addresses = [listener.getsockname()[:2] for listener in listeners]
            async with self.hub.running(), trio.open_nursery() as calls:
                if door is not None:
                    # Open while calls last: what belongs to them may still come to others.
                    calls.start_soon(self._accept, door, calls, self._welcome)
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, calls, self._greet)
                    try:
                        yield self
                    finally:
                        accepting.cancel_scope.cancel()
                        for listener in listeners:
                            listener.close()
                await self._drain()
                calls.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Let calls end by themselves, then close them with 1001."""
        self.is_draining = True
        await self._wait_empty(self.settings.limits.drain_timeout)
        for call in list(self.calls):
            call.close(1001, "the server stops")
        for control in list(self.controls):
            control.close(1001, "the server stops")
        await self._wait_empty(self.settings.link_limits.close_timeout)
        for relay in list(self.relays):
            relay.close()

    async def _wait_empty(self, patience: float) -> None:
        with trio.move_on_after(patience, shield=True):
            while self.calls or self.controls or self.relays:
                self._emptied = trio.Event()
                await self._emptied.wait()

    # Accepting

    async def _accept(self, listener: socket.socket, calls: trio.Nursery, greet: _Greeting) -> None:
        while True:
            if not self._handshakes.available_tokens:
                self._hurry()
            await self._handshakes.acquire_on_behalf_of(token := object())
            try:
                sock, peer = await accept_one(listener, self._cannot_accept)
            except BaseException:
                self._handshakes.release_on_behalf_of(token)
                raise
            calls.start_soon(greet, sock, peer, token)

    def _hurry(self) -> None:
        """Give handshakes less time: silent peers hold all places, and an honest one may be waiting."""
        latest = trio.current_time() + _CROWDED_TIMEOUT
        for scope in self._handshake_scopes:
            scope.deadline = min(scope.deadline, latest)

    def _cannot_accept(self) -> None:
        self.endings["not accepted"] += 1

    async def _greet(self, sock: socket.socket, peer: tuple[str, int], token: object) -> None:
        prepare(sock)
        await self._supervise(Guest(sock, str(peer[0])), token)

    async def _welcome(self, door: socket.socket, _peer: object, token: object) -> None:
        """Take a connection that another process has accepted; one for a call that is not here it may keep."""
        try:
            with door, trio.fail_after(self.settings.limits.handshake_timeout):
                guest = await take(door, lambda sid: sid is None or self._exchange.find(sid) is not None)
        except (OSError, trio.TooSlowError):
            guest = None
        if guest is None:
            self._handshakes.release_on_behalf_of(token)
        else:
            await self._supervise(guest, token)

    async def _supervise(self, guest: Guest, token: object) -> None:
        """Run one connection; whatever goes wrong stays here."""
        run: _Run | None = None
        try:
            try:
                run = await self._admit(guest)
            except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                guest.abort()
                self.endings["handshake failed"] += 1
                _log.info("handshake failed", peer=guest.peer, error=repr(error)[:200])
            finally:
                self._handshakes.release_on_behalf_of(token)
            if run is not None:
                await run()
            if guest.inner is not None:
                await self._relay(guest)
        except Exception as error:
            self.endings["failed"] += 1
            _log.error("connection failed", peer=guest.peer, exc_info=error)
        finally:
            guest.close()
            self._emptied.set()

    async def _admit(self, guest: Guest) -> _Run | None:
        """Return how to go on with a connection, if it may."""
        limits = self.settings.limits
        head: tuple[Request, bytes] | Refusal | None = None
        with trio.move_on_after(limits.handshake_timeout) as scope:
            self._handshake_scopes.add(scope)
            try:
                head = await guest.read_request(self._tls, limits.max_request)
            finally:
                self._handshake_scopes.discard(scope)
        if scope.cancelled_caught:
            self.endings["handshake timed out"] += 1
            head = Refusal(status=408, text="The request did not come in time.")
        elif head is None:
            self.endings["left before the upgrade"] += 1
        if head is None or not guest.is_open:
            return None
        decision = head if isinstance(head, Refusal) else await self._decide_on(guest, *head)
        if isinstance(decision, Refusal):
            if decision.status >= 400:
                self.endings[f"refused {decision.status}"] += 1
            await guest.refuse(decision)
            return None
        return decision

    async def _decide_on(self, guest: Guest, request: Request, early: bytes) -> _Run | Refusal | None:
        """Upgrade a connection and return how to go on with it, or why not; or let another process have it."""
        if guest.visitor is not None and guest.visitor.call_sid is not None:
            return partial(self._exchange.serve, guest, request, early)
        issuer = self._tickets.issuer(request) if has_ticket(request) and guest.visitor is None else None
        if issuer is not None and self._neighbours is not None:
            with trio.fail_after(self.settings.limits.handshake_timeout):
                if await guest.hand_over(self._neighbours, issuer, early):
                    return None
        decision = self._decide(request)
        if isinstance(decision, Refusal):
            return decision
        await guest.send(decision.response)
        if decision.is_control:
            return partial(self._exchange.serve, guest, request, early)
        guest.forget_request()  # what is kept from here on is kept as long as the call lasts
        control = decision.control if isinstance(decision, Tied) else None
        return partial(self._run_call, guest, decision.dialect, control, request, early)

    def _decide(self, request: Request) -> Admitted | Refusal:
        if request.method == "GET" and not request.wants_upgrade:
            page = self._metrics.page(request.path)
            if page is not None:
                return page
        if has_ticket(request):
            # Its line is taken already, even if no other call may come in.
            return self._tickets.decide(request, self.settings.admission)
        busy = "The server is stopping." if self.is_draining else "All lines are busy."
        lines = len(self.calls) - self._tied + self._exchange.lines
        if self.is_draining or lines >= self.settings.limits.max_calls:
            return Refusal(status=503, text=busy, headers=[(b"retry-after", b"1")])
        return self.settings.admission.decide(request)

    async def _relay(self, guest: Guest) -> None:
        """Carry the bytes of a connection that another process has, and whose TLS is here."""
        assert guest.tls is not None and guest.inner is not None  # noqa: PT018 (one thought)
        relay = Relay(self.hub, guest.sock, guest.tls, guest.inner, self.settings.link_limits)
        self.relays.add(relay)
        try:
            await relay.wait_gone()
        finally:
            relay.close()
            self.relays.discard(relay)

    # One call

    async def _run_call(
        self, guest: Guest, dialect: Dialect | None, control: Control | None, request: Request, early: bytes
    ) -> None:
        call = Call(self.settings.call_limits)
        session = self._make_session(dialect) if dialect else None
        link = Link(
            self.hub,
            guest.sock,
            session,
            call,
            is_client=False,
            tls=guest.tls,
            limits=self.settings.link_limits,
            make_session=self._make_session,
        )
        call.attach(link, request)
        if control is not None:
            call.control, control.call = control, call
            self._tied += 1
        self.calls.add(call)
        try:
            link.start(early)
            if await call.wait_opened():
                await run_handler(self._handler, call, grace=self.settings.limits.handler_grace, peer=guest.peer)
            await call.wait_gone()
        finally:
            if not link.is_gone:
                call.close(1001, "the server stops")
                link.drop()
            self.calls.discard(call)
            self._tied -= control is not None
            self._count(call)

    def _count(self, call: Call) -> None:
        ended = call.ended
        if ended is None or (not ended.is_clean and ended.initiator is Side.PLATFORM):
            how = "broken"
        elif ended.is_clean:
            how = "ended by platform" if ended.initiator is Side.PLATFORM else "ended by app"
        else:
            how = f"closed {ended.code or 'without a code'}"
        self.endings[how] += 1
        self.tolerated.update(call.stats.tolerated)

    def _make_session(self, dialect: Dialect) -> AppSession:
        return AppSession(
            dialect,
            self.settings.profiles.get(dialect.name),
            limits=self.settings.session_limits,
            settings=self.settings.playout,
            now=clock(),
        )


async def serve(
    handler: Handler,
    bind: Sequence[str] = ("127.0.0.1:8787",),
    *,
    settings: ServerSettings | None = None,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take calls until cancelled, and run `handler` for each."""
    server = Server(handler, settings=settings, tls=tls)
    async with server.listening(bind):
        task_status.started(server)
        await trio.sleep_forever()


async def serve_verbs(
    handler: VerbsHandler,
    bind: Sequence[str] = ("127.0.0.1:8787",),
    *,
    settings: ServerSettings | None = None,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take jambonz's calls until cancelled, and run `handler` for the control socket of each: verbs, and no audio."""
    settings = settings or ServerSettings()
    settings = attrs.evolve(settings, jambonz=attrs.evolve(settings.jambonz, verbs=handler))
    await serve(_hang_up, bind, settings=settings, tls=tls, task_status=task_status)


async def _hang_up(call: Call) -> None:
    """Take no audio."""
    await call.hang_up()
