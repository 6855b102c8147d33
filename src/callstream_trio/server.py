"""A server that takes calls: listen, admit, run a handler for each, drain."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import h11
import structlog
import trio

from callstream_core.app_session import AppSession
from callstream_core.dialect import Dialect
from callstream_core.events import Side
from callstream_core.limits import Limits, PlayoutSettings
from callstream_trio.admission import Admission, Admitted, Refusal, Request, read_request, render
from callstream_trio.call import Call, CallEnded, CallLimits
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link, LinkLimits
from callstream_trio.metrics import Metrics
from callstream_trio.tls import Tls
from callstream_trio.wait import read_head, receive_some, send_all

_log = structlog.get_logger("callstream.server")

Handler = Callable[[Call], Awaitable[None]]


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
    session_limits: Limits = attrs.field(factory=Limits)
    playout: PlayoutSettings = attrs.field(factory=PlayoutSettings)
    link_limits: LinkLimits = attrs.field(factory=LinkLimits)
    call_limits: CallLimits = attrs.field(factory=CallLimits)


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
        self.hub = hub or Hub()
        self.calls: set[Call] = set()
        self.endings: Counter[str] = Counter()
        """How many calls ended in which way."""
        self.addresses: list[tuple[str, int]] = []
        """Where it listens."""
        self.is_draining = False
        self._handler = handler
        self._tls = tls
        self._handshakes = trio.CapacityLimiter(self.settings.limits.max_handshakes)
        self._metrics = Metrics(self)
        self._emptied = trio.Event()

    @asynccontextmanager
    async def listening(self, binds: Sequence[str]) -> AsyncIterator[Server]:
        """Listen on `host:port` addresses while the block runs; then drain."""
        listeners = [listener for bind in binds for listener in await open_listeners(bind)]
        self.addresses = [listener.getsockname()[:2] for listener in listeners]
        try:
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
        with trio.move_on_after(self.settings.limits.drain_timeout, shield=True):
            while self.calls:
                self._emptied = trio.Event()
                await self._emptied.wait()
        for call in list(self.calls):
            call.close(1001, "the server stops")
        with trio.move_on_after(self.settings.link_limits.close_timeout, shield=True):
            while self.calls:
                self._emptied = trio.Event()
                await self._emptied.wait()

    # Accepting

    async def _accept(self, listener: socket.socket, calls: trio.Nursery) -> None:
        while True:
            await self._handshakes.acquire_on_behalf_of(token := object())
            try:
                sock, peer = await accept_one(listener)
            except BaseException:
                self._handshakes.release_on_behalf_of(token)
                raise
            calls.start_soon(self._supervise, sock, str(peer[0]), token)

    async def _supervise(self, sock: socket.socket, peer: str, token: object) -> None:
        """Run one connection; whatever goes wrong stays here."""
        admitted: tuple[Admitted, Request, Tls | None, bytes] | None = None
        try:
            try:
                with trio.move_on_after(self.settings.limits.handshake_timeout):
                    admitted = await self._admit(sock)
            finally:
                self._handshakes.release_on_behalf_of(token)
            if admitted is not None:
                await self._run_call(sock, peer, *admitted)
        except Exception as error:
            _log.info("connection failed", peer=peer, error=repr(error)[:200])
        finally:
            sock.close()

    async def _admit(self, sock: socket.socket) -> tuple[Admitted, Request, Tls | None, bytes] | None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = None
        if self._tls is not None:
            tls = Tls(self._tls)
            await tls.handshake(sock)
        try:
            head = await read_head(h11.SERVER, sock, tls, max_size=self.settings.limits.max_request)
        except h11.RemoteProtocolError as error:
            await self._answer(sock, tls, Refusal(status=error.error_status_hint, text=f"Not HTTP: {error}."))
            return None
        if head is None:
            return None
        event, early = head
        assert isinstance(event, h11.Request)
        request = read_request(event)
        decision = self._decide(request)
        if isinstance(decision, Refusal):
            self.endings[f"refused {decision.status}"] += decision.status >= 400
            await self._answer(sock, tls, decision)
            return None
        await self._send(sock, tls, decision.response)
        return decision, request, tls, early

    def _decide(self, request: Request) -> Admitted | Refusal:
        if request.method == "GET" and not request.wants_upgrade:
            page = self._metrics.page(request.path)
            if page is not None:
                return page
        busy = "The server is stopping." if self.is_draining else "All lines are busy."
        if self.is_draining or len(self.calls) >= self.settings.limits.max_calls:
            return Refusal(status=503, text=busy, headers=[(b"retry-after", b"1")])
        return self.settings.admission.decide(request)

    async def _answer(self, sock: socket.socket, tls: Tls | None, refusal: Refusal) -> None:
        await self._send(sock, tls, render(refusal))
        # Reading to the end keeps our answer from being lost in a reset.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while await receive_some(sock):
                pass

    @staticmethod
    async def _send(sock: socket.socket, tls: Tls | None, data: bytes) -> None:
        await send_all(sock, data if tls is None else tls.encrypt([data]))

    # One call

    async def _run_call(
        self, sock: socket.socket, peer: str, admitted: Admitted, request: Request, tls: Tls | None, early: bytes
    ) -> None:
        call = Call(self.settings.call_limits)
        session = self._make_session(admitted.dialect) if admitted.dialect else None
        link = Link(
            self.hub,
            sock,
            session,
            call,
            is_client=False,
            tls=tls,
            limits=self.settings.link_limits,
            make_session=self._make_session,
        )
        call.attach(link, request)
        self.calls.add(call)
        try:
            link.start(early)
            if await call.wait_opened():
                await run_handler(self._handler, call, grace=self.settings.limits.handler_grace, peer=peer)
            ended = await call.wait_ended()
            who = "platform" if ended.initiator is Side.PLATFORM else "app"
            self.endings[f"ended by {who}" if ended.is_clean else "broken"] += 1
            await call.wait_gone()
        finally:
            if not link.is_gone:
                link.drop()
            self.calls.discard(call)
            if not self.calls:
                self._emptied.set()

    def _make_session(self, dialect: Dialect) -> AppSession:
        return AppSession(dialect, limits=self.settings.session_limits, settings=self.settings.playout, now=clock())


async def run_handler(handler: Handler, call: Call, *, grace: float, peer: str) -> None:
    """Run a handler for an open call, and end the call when it returns, fails, or has had its grace."""
    scope = trio.CancelScope()

    async def watch() -> None:
        await call.wait_ended()
        scope.deadline = trio.current_time() + grace

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with scope:
                await handler(call)
            nursery.cancel_scope.cancel()
    except* CallEnded:
        pass
    except* Exception as failure:
        _log.error("handler failed", call=call.info.call_id[:80], peer=peer, exc_info=failure)
        call.close(1011, "internal error")
    if scope.cancelled_caught:
        _log.warning("handler cancelled: it ran on after its call", call=call.info.call_id[:80], grace=grace)
    if call.ended is None:
        with contextlib.suppress(CallEnded):
            await call.hang_up()


async def accept_one(listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
    """Wait for a connection; return its socket, set to non-blocking, and the peer's address."""
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            continue
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            _log.error("cannot accept a call; raise the limit of open files", error=str(error))
            await trio.sleep(0.1)
            continue
        sock.setblocking(False)
        return sock, peer


async def open_listeners(bind: str, *, backlog: int = 1024) -> list[socket.socket]:
    """Listen on `host:port`; port 0 takes a free one. `OSError` where that is impossible, `ValueError` for bad text."""
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{bind!r} is not an address; use HOST:PORT, for example 127.0.0.1:8787")
    host = host.strip("[]")
    found = await trio.socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(backlog)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


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
