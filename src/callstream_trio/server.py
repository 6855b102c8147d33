"""A server that takes calls: listen, admit, run a handler for each, drain."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import h11
import structlog
import trio

from callstream_core.app_session import AppSession
from callstream_core.dialect import Dialect
from callstream_core.events import Side
from callstream_core.jambonz import ControlSession
from callstream_core.limits import Limits, PlayoutSettings
from callstream_trio.admission import Admission, Admitted, Refusal, Request, read_request, render
from callstream_trio.call import Call, CallLimits
from callstream_trio.control import Control
from callstream_trio.handling import Handler, run_handler
from callstream_trio.hub import Hub, clock
from callstream_trio.jambonz import JambonzSettings, TicketOffice, Tied, VerbsHandler, end_audio
from callstream_trio.link import Link, LinkLimits
from callstream_trio.listen import accept_one, open_listeners
from callstream_trio.metrics import Metrics
from callstream_trio.tls import Tls
from callstream_trio.wait import prepare, read_head, receive_some, send_all

__all__ = [
    "Handler",
    "Server",
    "ServerLimits",
    "ServerSettings",
    "accept_one",
    "open_listeners",
    "run_handler",
    "serve",
    "serve_verbs",
]

_log = structlog.get_logger("callstream.server")

# Seconds to take in what a refused peer still sends, and for a handshake while silent peers hold all places.
_LINGER = 1.0
_CROWDED_TIMEOUT = 1.0


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


@attrs.define
class _Guest:
    """A connection that is not a call yet."""

    sock: socket.socket
    tls: Tls | None = None
    is_open: bool = True
    """Whether it can be spoken to: false while TLS shakes hands."""

    async def send(self, data: bytes) -> None:
        await send_all(self.sock, data if self.tls is None else self.tls.encrypt([data]))


class Server:
    """Takes calls until it is told to drain. Nothing that a peer or a handler does reaches the accept loop."""

    def __init__(
        self,
        handler: Handler,
        *,
        settings: ServerSettings | None = None,
        tls: ssl.SSLContext | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.settings = settings or ServerSettings()
        self.hub = hub if hub is not None else Hub()
        self.calls: set[Call] = set()
        self.controls: set[Control] = set()
        """The control sockets of jambonz's calls, which have an audio socket besides, or none."""
        self.endings: Counter[str] = Counter()
        """How many calls, and connections that never became one, ended in which way."""
        self.tolerated: Counter[str] = Counter()
        """Tolerances that calls needed which are over."""
        self.addresses: list[tuple[str, int]] = []
        """Where it listens."""
        self.is_draining = False
        self._handler = handler
        self._tls = tls
        self._handshakes = trio.CapacityLimiter(self.settings.limits.max_handshakes)
        self._handshake_scopes: set[trio.CancelScope] = set()
        self._metrics = Metrics(self)
        self._tickets = TicketOffice(self.settings.jambonz, is_secure=tls is not None)
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
        try:
            for bind in binds:
                listeners += await open_listeners(bind, shares_port=shares_port)
            self.addresses = [listener.getsockname()[:2] for listener in listeners]
            async with self.hub.running(), trio.open_nursery() as calls:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, calls)
                    try:
                        yield self
                    finally:
                        accepting.cancel_scope.cancel()
                        for listener in listeners:
                            listener.close()
                await self._drain()
                calls.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.close()

    async def _drain(self) -> None:
        """Let calls end by themselves, then close them with 1001."""
        self.is_draining = True
        await self._wait_empty(self.settings.limits.drain_timeout)
        for call in list(self.calls):
            call.close(1001, "the server stops")
        for control in list(self.controls):
            control.close(1001, "the server stops")
        await self._wait_empty(self.settings.link_limits.close_timeout)

    async def _wait_empty(self, patience: float) -> None:
        with trio.move_on_after(patience, shield=True):
            while self.calls or self.controls:
                self._emptied = trio.Event()
                await self._emptied.wait()

    # Accepting

    async def _accept(self, listener: socket.socket, calls: trio.Nursery) -> None:
        while True:
            if not self._handshakes.available_tokens:
                self._hurry()
            await self._handshakes.acquire_on_behalf_of(token := object())
            try:
                sock, peer = await accept_one(listener, self._cannot_accept)
            except BaseException:
                self._handshakes.release_on_behalf_of(token)
                raise
            calls.start_soon(self._supervise, sock, str(peer[0]), token)

    def _hurry(self) -> None:
        """Give handshakes less time: silent peers hold all places, and an honest one may be waiting."""
        latest = trio.current_time() + _CROWDED_TIMEOUT
        for scope in self._handshake_scopes:
            scope.deadline = min(scope.deadline, latest)

    def _cannot_accept(self) -> None:
        self.endings["not accepted"] += 1

    async def _supervise(self, sock: socket.socket, peer: str, token: object) -> None:
        """Run one connection; whatever goes wrong stays here."""
        guest = _Guest(sock)
        admitted: tuple[Admitted, Request, bytes] | None = None
        try:
            try:
                admitted = await self._admit(guest)
            except (OSError, trio.BrokenResourceError) as error:
                self.endings["handshake failed"] += 1
                _log.info("handshake failed", peer=peer, error=repr(error)[:200])
            finally:
                self._handshakes.release_on_behalf_of(token)
            if admitted is not None:
                run = self._run_control if admitted[0].is_control else self._run_call
                await run(guest, peer, *admitted)
        except Exception as error:
            self.endings["failed"] += 1
            _log.error("connection failed", peer=peer, exc_info=error)
        finally:
            sock.close()

    async def _admit(self, guest: _Guest) -> tuple[Admitted, Request, bytes] | None:
        prepare(guest.sock)
        head: tuple[h11.Event, bytes] | Refusal | None = None
        with trio.move_on_after(self.settings.limits.handshake_timeout) as scope:
            self._handshake_scopes.add(scope)
            try:
                head = await self._read(guest)
            finally:
                self._handshake_scopes.discard(scope)
        if scope.cancelled_caught:
            self.endings["handshake timed out"] += 1
            head = Refusal(status=408, text="The request did not come in time.")
        elif head is None:
            self.endings["left before the upgrade"] += 1
        if head is None or not guest.is_open:
            return None
        if isinstance(head, Refusal):
            await self._refuse(guest, head)
            return None
        event, early = head
        assert isinstance(event, h11.Request)
        request = read_request(event)
        decision = self._decide(request)
        if isinstance(decision, Refusal):
            await self._refuse(guest, decision)
            return None
        await guest.send(decision.response)
        return decision, request, early

    async def _read(self, guest: _Guest) -> tuple[h11.Event, bytes] | Refusal | None:
        """Return the request, or why there is none."""
        if self._tls is not None:
            guest.is_open = False
            guest.tls = Tls(self._tls)
            await guest.tls.handshake(guest.sock)
            guest.is_open = True
        try:
            return await read_head(h11.SERVER, guest.sock, guest.tls, max_size=self.settings.limits.max_request)
        except h11.RemoteProtocolError as error:
            return Refusal(status=error.error_status_hint, text=f"Not HTTP: {error}.")

    def _decide(self, request: Request) -> Admitted | Refusal:
        if request.method == "GET" and not request.wants_upgrade:
            page = self._metrics.page(request.path)
            if page is not None:
                return page
        busy = "The server is stopping." if self.is_draining else "All lines are busy."
        if self.is_draining or max(len(self.calls), len(self.controls)) >= self.settings.limits.max_calls:
            return Refusal(status=503, text=busy, headers=[(b"retry-after", b"1")])
        return self._tickets.decide(request, self.settings.admission)

    async def _refuse(self, guest: _Guest, refusal: Refusal) -> None:
        if refusal.status >= 400:
            self.endings[f"refused {refusal.status}"] += 1
        with contextlib.suppress(OSError), trio.move_on_after(_LINGER):
            await guest.send(render(refusal))
            if guest.tls is not None:
                await send_all(guest.sock, guest.tls.goodbye())
            guest.sock.shutdown(socket.SHUT_WR)
            # Reading to the end keeps our answer from being lost in a reset.
            while await receive_some(guest.sock):
                pass

    # One call

    async def _run_call(self, guest: _Guest, peer: str, admitted: Admitted, request: Request, early: bytes) -> None:
        call = Call(self.settings.call_limits)
        session = self._make_session(admitted.dialect) if admitted.dialect else None
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
        if isinstance(admitted, Tied):
            call.control, admitted.control.call = admitted.control, call
        self.calls.add(call)
        try:
            link.start(early)
            if await call.wait_opened():
                await run_handler(self._handler, call, grace=self.settings.limits.handler_grace, peer=peer)
            await call.wait_gone()
        finally:
            if not link.is_gone:
                call.close(1001, "the server stops")
                link.drop()
            self.calls.discard(call)
            self._count(call)
            self._emptied.set()

    async def _run_control(self, guest: _Guest, peer: str, _admitted: Admitted, request: Request, early: bytes) -> None:
        control = self._tickets.take_call(request)
        session = ControlSession(now=clock())
        limits = self.settings.link_limits
        link = Link(self.hub, guest.sock, session, control, is_client=False, tls=guest.tls, limits=limits)
        control.attach(link, request)
        self.controls.add(control)
        try:
            link.start(early)
            verbs = self.settings.jambonz.verbs
            if verbs is not None and await control.wait_opened():
                await run_handler(verbs, control, grace=self.settings.limits.handler_grace, peer=peer)
            await control.wait_gone()
            await end_audio(control)
        finally:
            if not link.is_gone:
                control.close(1001, "the server stops")
                link.drop()
            self._tickets.forget(control)
            self.controls.discard(control)
            self.tolerated.update(session.counters)
            ended = control.ended
            self.endings["control broken" if ended is None else f"control {ended.outcome.value}"] += 1
            self._emptied.set()

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
