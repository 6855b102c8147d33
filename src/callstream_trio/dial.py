"""Outgoing WebSockets: as a platform that calls an application, or as an application that joins a platform's call."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import attrs
import h11
import trio
from wsproto.utilities import generate_accept_token

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.dialect import Profile
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import State
from callstream_core.platform_session import PlatformSession
from callstream_core.websocket import STRICT
from callstream_trio.call import Call, CallLimits
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link
from callstream_trio.owner import Owner
from callstream_trio.server import Handler, run_handler
from callstream_trio.tls import Tls
from callstream_trio.wait import prepare, read_head, send_all


class DialFailed(Exception):
    """No WebSocket came about; the message says why, and `status` is the HTTP status if there was one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen(kw_only=True)
class DialSettings:
    """How to knock. The defaults are those of Asterisk's websocket_client.conf."""

    attempts: int = 4
    """Connection attempts in all, until one succeeds."""
    interval: float = 0.5
    """Seconds between two attempts."""
    timeout: float = 5.0
    """Seconds for each: connection, TLS and upgrade together."""
    subprotocols: tuple[str, ...] | None = None
    """What to offer; None for the dialect's own."""
    needs_subprotocol: bool = False
    """Give up on a server that chooses none."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers to send besides. Of several of one name the last counts, also before `Host` and what the URL tells."""
    tls: ssl.SSLContext | None = None
    """For wss; None for the system's certificates."""


@attrs.define
class _Target:
    host: str
    port: int
    path: str
    is_secure: bool
    authorization: str | None

    @classmethod
    def of(cls, url: str) -> _Target:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is not a URL: {error}") from None
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"{url!r} is not a WebSocket URL; use ws://HOST:PORT/PATH or wss://…")
        authorization = None
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(secret.encode()).decode()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        is_secure = parts.scheme == "wss"
        return cls(parts.hostname, port or (443 if is_secure else 80), path, is_secure, authorization)


def _request(target: _Target, key: str, subprotocols: tuple[str, ...], headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return an upgrade request, byte for byte as Asterisk writes it."""
    own = [("Host", f"{target.host}:{target.port}")]
    if target.authorization:
        own.append(("Authorization", target.authorization))
    if subprotocols:
        own.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    chosen = {name.lower(): (name, value) for name, value in (*own, *headers)}
    lines = [
        f"GET {target.path} HTTP/1.1",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
        "Connection: Upgrade",
        *(f"{name}: {value}" for name, value in chosen.values()),
    ]
    lines.append(f"Sec-WebSocket-Key: {key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _check_response(event: h11.Event, key: str, subprotocols: tuple[str, ...], *, needs_subprotocol: bool) -> None:
    """Accept a response by Asterisk's rules, which are stricter than the standard's; else raise `DialFailed`."""
    assert isinstance(event, h11.InformationalResponse | h11.Response)
    status = event.status_code
    if status != 101 or event.http_version != b"1.1":
        raise DialFailed(f"the server answered {status} to the upgrade", status)
    found = {bytes(name): bytes(value).strip() for name, value in event.headers}
    problem = None
    if found.get(b"upgrade", b"").lower() != b"websocket":
        problem = "has no 'Upgrade: websocket'"
    elif found.get(b"connection", b"").lower() != b"upgrade":
        problem = "has a Connection header other than exactly 'Upgrade', which Asterisk refuses"
    elif found.get(b"sec-websocket-accept") != generate_accept_token(key.encode()):
        problem = "has a wrong Sec-WebSocket-Accept"
    elif b"sec-websocket-extensions" in found:
        problem = "agrees to an extension that nobody offered, which Asterisk refuses"
    chosen = found.get(b"sec-websocket-protocol")
    if chosen is not None and chosen.decode("latin-1").lower() not in (s.lower() for s in subprotocols):
        problem = "names a subprotocol that was not offered"
    if chosen is None and needs_subprotocol:
        problem = f"chooses no subprotocol; choose {subprotocols[0]}"
    if problem:
        raise DialFailed(f"the server's 101 {problem}", status)


async def _connect(
    target: _Target, settings: DialSettings, subprotocols: tuple[str, ...]
) -> tuple[socket.socket, Tls | None, bytes]:
    """Open one connection and upgrade it."""
    stream = await trio.open_tcp_stream(target.host, target.port)
    # A plain socket from here on: the hub drives it without Trio's streams.
    sock = socket.socket(fileno=os.dup(stream.socket.fileno()))
    try:
        await stream.aclose()
        prepare(sock)
        tls = None
        if target.is_secure:
            tls = Tls(settings.tls or ssl.create_default_context(), server_hostname=target.host)
            await tls.handshake(sock)
        key = base64.b64encode(os.urandom(16)).decode()
        request = _request(target, key, subprotocols, settings.headers)
        await send_all(sock, tls.encrypt([request]) if tls else request)
        head = await read_head(h11.CLIENT, sock, tls, max_size=16 * 1024)
        if head is None:
            raise DialFailed("the server closed the connection instead of answering the upgrade")
        _check_response(head[0], key, subprotocols, needs_subprotocol=settings.needs_subprotocol)
    except BaseException:
        sock.close()
        raise
    return sock, tls, head[1]


async def connect(
    url: str, settings: DialSettings, subprotocols: tuple[str, ...]
) -> tuple[socket.socket, Tls | None, bytes]:
    """Open a WebSocket, with as many attempts as the settings allow; raise `DialFailed` after the last."""
    target = _Target.of(url)
    for attempt in range(1, settings.attempts + 1):
        try:
            with trio.fail_after(settings.timeout):
                return await _connect(target, settings, subprotocols)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, h11.RemoteProtocolError, DialFailed) as error:
            if attempt == settings.attempts:
                if isinstance(error, DialFailed):
                    raise
                why = (
                    f"no answer within {settings.timeout:g} s"
                    if isinstance(error, trio.TooSlowError)
                    else _cause(error)
                )
                # Not the whole URL: there may be secrets in it.
                raise DialFailed(f"{target.host}:{target.port} cannot be reached: {why}") from error
        await trio.sleep(settings.interval)
    raise DialFailed("at least one attempt is needed")


def _cause(error: Exception) -> str:
    """Return what the system says, from under what Trio says of several attempts."""
    if isinstance(error.__cause__, ExceptionGroup):
        error = error.__cause__.exceptions[0]
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(error.errno)
    return str(error)


async def open_platform_link(
    url: str,
    hub: Hub,
    owner: Owner,
    *,
    as_platform: str = "asterisk",
    profile: Profile | None = None,
    settings: DialSettings | None = None,
) -> Link:
    """Call an application as a platform would, and announce the call; the hub runs it from then on."""
    dialect = dialects.get(as_platform)
    settings = settings or DialSettings(attempts=dialect.attempts)
    profile = profile or dialect.profile()
    usual = dialect.subprotocols if dialect.offered is None else dialect.offered
    offered = usual if settings.subprotocols is None else settings.subprotocols
    sock, tls, early = await connect(url, settings, offered)
    session = PlatformSession(dialect, profile)
    link = Link(hub, sock, session, owner, is_client=True, tls=tls, rules=profile.rules)
    link.start(early)
    # The application may have closed with the upgrade.
    if session.state is not State.CLOSED:
        link.perform(session.open(clock()))
    return link


@asynccontextmanager
async def joined(
    url: str,
    hub: Hub,
    *,
    dialect: str = "asterisk",
    profile: object = None,
    settings: DialSettings | None = None,
    limits: Limits | None = None,
    playout: PlayoutSettings | None = None,
    call_limits: CallLimits | None = None,
) -> AsyncIterator[Call]:
    """Join a call that waits on the platform (Asterisk: `/media/<id>`), as its application."""
    settings = settings or DialSettings(attempts=1)
    spoken = dialects.get(dialect)
    offered = spoken.subprotocols if settings.subprotocols is None else settings.subprotocols
    sock, tls, early = await connect(url, settings, offered)
    call = Call(call_limits)
    session = AppSession(spoken, profile, limits=limits, settings=playout, now=clock())
    link = Link(hub, sock, session, call, is_client=True, tls=tls, rules=STRICT)
    call.attach(link)
    try:
        link.start(early)
        yield call
    finally:
        if not link.is_gone:
            if call.ended is None:
                call.close(1000)
            with trio.move_on_after(2, shield=True):
                await call.wait_gone()
            link.drop()


async def join(handler: Handler, url: str, *, grace: float = 5.0, **options: object) -> None:
    """Join a waiting call, run `handler` for it, and return when it is over."""
    async with Hub().running() as hub, joined(url, hub, **options) as call:  # type: ignore[arg-type]
        if await call.wait_opened():
            await run_handler(handler, call, grace=grace, peer=url)
            await call.wait_ended()
