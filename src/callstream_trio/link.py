"""One WebSocket: bytes on one side, a session on the other."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs
import structlog

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.commands import Command
from callstream_core.dialect import Dialect
from callstream_core.errors import LocalProtocolError
from callstream_core.events import Event, SessionClosed
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.platform_session import PlatformSession
from callstream_core.websocket import STRICT, Close, Failure, FrameDecoder, FrameEncoder, Ping, Pong, WebSocketRules
from callstream_trio.hub import Hub, clock
from callstream_trio.tls import Tls

_log = structlog.get_logger("callstream.link")

_READ_SIZE = 65536

Session = AppSession | PlatformSession
Said = Event | Command | FramePlayed
"""What a session heard, or played: all outputs that are not for the link itself."""


@attrs.frozen(kw_only=True)
class LinkLimits:
    """The bounds of one connection."""

    max_unsent: int = 1024 * 1024
    """Bytes that may wait for a peer that does not read."""
    send_timeout: float = 10.0
    """Seconds that a peer may leave them there."""
    close_timeout: float = 1.0
    """Seconds for the peer to agree to our close."""
    first_message_timeout: float = 10.0
    """Seconds for the first message, where it must tell the dialect."""


class Owner(Protocol):
    """Who a link works for."""

    def hear(self, said: Said, now: float) -> Iterable[Event | Command]:
        """Take what the session heard; return what to say in reply, at once."""
        ...

    def refused(self) -> None:
        """Count a reply that the session would not say now."""
        ...

    def closed(self) -> None:
        """Take note that the socket is gone."""
        ...


class Link:
    """Drives one session over one socket, when the hub calls. Nothing here waits."""

    def __init__(
        self,
        hub: Hub,
        sock: socket.socket,
        session: Session | None,
        owner: Owner,
        *,
        is_client: bool,
        tls: Tls | None = None,
        rules: WebSocketRules = STRICT,
        limits: LinkLimits | None = None,
        make_session: Callable[[Dialect], Session] | None = None,
    ) -> None:
        self.session = session
        self.scheduled: float | None = None
        self.messages_received = 0
        self.messages_sent = 0
        self._hub = hub
        self._sock = sock
        self._fd = sock.fileno()
        self._tls = tls
        self._owner = owner
        self._limits = limits or LinkLimits()
        self._make_session = make_session
        self._decoder = FrameDecoder(masked=not is_client, rules=rules)
        self._encoder = FrameEncoder(mask=_random_mask if is_client else None)
        self._is_client = is_client
        self._batch: list[bytes] = []
        self._unsent = b""
        self._deadline: float | None = None
        """Of the phase that the link itself is in: first message, sending, closing."""
        self._close_sent = False
        self._close_heard = False
        self.is_gone = False

    def start(self, early: bytes = b"") -> None:
        """Begin to be served; `early` came behind the handshake."""
        now = clock()
        self._hub.add(self)
        if self.session is None:
            self._deadline = now + self._limits.first_message_timeout
        if early:
            self._take(early, now)
        self._settle(now)

    @property
    def is_close_heard(self) -> bool:
        """Whether the peer has said a close, of its own or in answer to ours."""
        return self._close_heard

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._fd

    # The hub calls

    def handle_readable(self, now: float) -> None:
        """Read once, and act on every message that is whole."""
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(str(error), now)
            return
        if not data:
            self._lost("the peer closed the connection", now)
            return
        if self._tls is not None:
            try:
                data = self._tls.decrypt(data)
            except OSError as error:
                self._lost(f"TLS failed: {error}", now)
                return
        self._take(data, now)
        self._settle(now)

    def _take(self, data: bytes, now: float) -> None:
        for message in self._decoder.feed(data):
            kind = type(message)
            if kind is bytes or kind is str:
                self.messages_received += 1
                session = self.session or self._detect(message, now)  # type: ignore[arg-type]
                if session is not None:
                    self._perform(session.receive(message, now), now)  # type: ignore[arg-type]
            else:
                self._take_control(message, now)

    def _take_control(self, message: object, now: float) -> None:
        session = self.session
        if isinstance(message, Ping):
            # At once, whatever else waits: platforms hang up on a late pong.
            if not self._close_sent:
                self._batch.append(self._encoder.pong(message.payload))
        elif isinstance(message, Pong):
            if isinstance(session, PlatformSession):
                self._perform(session.receive_pong(now), now)
        elif isinstance(message, Close):
            self._close_heard = True
            if session is None:
                self._say_close(message.code)
            else:
                self._perform(session.receive_close(message.code or 1005, now, message.reason), now)
        elif isinstance(message, Failure):
            if session is None:
                self._say_close(message.code, message.reason)
            else:
                self._perform(session.fail(message.code, message.reason, now), now)

    def _detect(self, message: str | bytes, now: float) -> Session | None:
        if self._make_session is None or self._close_sent:
            return None
        dialect = dialects.detect(message)
        if dialect is None:
            self._say_close(1002, "no known dialect; use the path of one")
            return None
        self._deadline = None
        self.session = self._make_session(dialect)
        return self.session

    def handle_writable(self, now: float) -> None:
        """Send what has been waiting."""
        self._flush(b"", now)
        self._settle(now)

    def handle_deadline(self, now: float) -> None:
        """Let the session do what is due; enforce the link's own deadlines."""
        session = self.session
        if session is not None:
            due = session.next_timeout()
            if due is not None and due <= now:
                self._perform(session.handle_timeout(now), now)
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            if self._close_sent or session is None:
                self._close_socket()
                return
            self._lost("the peer does not read what we send", now)
        self._settle(now)

    def abandon(self, error: Exception) -> None:
        """Drop the connection after a fault of our own."""
        session, self.session = self.session, None
        try:
            if session is not None:
                for output in session.fail(1011, "internal error", clock()):
                    if isinstance(output, CloseLink):
                        self._say_close(output.code)
                    elif isinstance(output, SessionClosed):
                        self._owner.hear(output, clock())
                self._send(b"".join(self._batch))
        except Exception as second:
            _log.error("closing a failed call failed too", error=repr(second), after=repr(error))
        self._close_socket()

    # Everybody else calls

    def say(self, word: Event | Command) -> None:
        """Say a command (or an event, as a platform) now. Raise `LocalProtocolError` where that is a mistake."""
        now = clock()
        if self.session is not None and not self.is_gone:
            self._perform(self.session.send(word, now), now)  # type: ignore[arg-type]
            self._settle(now)

    def perform(self, outputs: list[Output]) -> None:
        """Do what a session asked for on somebody else's call."""
        now = clock()
        self._perform(outputs, now)
        self._settle(now)

    def fail(self, code: int, reason: str) -> None:
        """End the call with a close code."""
        now = clock()
        if self.session is None:
            self._say_close(code, reason)
        else:
            self._perform(self.session.fail(code, reason, now), now)
        self._settle(now)

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._lost("the connection was cut", clock())

    # Outputs

    def _perform(self, outputs: list[Output], now: float) -> None:
        for output in outputs:
            kind = type(output)
            if kind is Transmit:
                if not self._close_sent:
                    self.messages_sent += 1
                    self._batch.append(self._encoder.message(output.message))  # type: ignore[union-attr]
            elif kind is CloseLink:
                self._say_close(output.code, output.reason)  # type: ignore[union-attr]
            else:
                for reply in self._owner.hear(output, now):  # type: ignore[arg-type]
                    self._reply(reply, now)

    def _reply(self, word: Event | Command, now: float) -> None:
        try:
            outputs = self.session.send(word, now)  # type: ignore[union-attr,arg-type]
        except LocalProtocolError:
            self._owner.refused()
        else:
            self._perform(outputs, now)

    def _say_close(self, code: int | None, reason: str = "") -> None:
        if not self._close_sent:
            self._close_sent = True
            self._batch.append(self._encoder.close(code, reason))

    def _settle(self, now: float) -> None:
        """After any input: send, close if that is over, and have the next deadline scheduled."""
        if self.is_gone:
            return
        batch = self._batch
        if batch:
            self._batch = []
            self._flush(b"".join(batch) if self._tls is None else self._tls.encrypt(batch), now)
            if self.is_gone:
                return
        if self._close_sent and not self._unsent:
            # A server closes first (RFC 6455, 7.1.1); a client gives it a moment. Data still on its way in
            # would turn our close into a reset, so that a close of our own waits for the peer's.
            if self._close_heard:
                self._close_socket()
                return
            if self._deadline is None:
                self._deadline = now + self._limits.close_timeout
        deadline = self.session.next_timeout() if self.session is not None else None
        if self._deadline is not None and (deadline is None or self._deadline < deadline):
            deadline = self._deadline
        if deadline is not None and (self.scheduled is None or deadline < self.scheduled):
            self._hub.schedule(self, deadline)

    def _flush(self, data: bytes, now: float) -> None:
        if self._unsent:
            data = self._unsent + data
        sent = self._send(data)
        if sent < 0:
            self._lost("the connection broke while sending", now)
        elif sent == len(data):
            if self._unsent:
                self._unsent = b""
                self._deadline = None
                self._hub.want_write(self, False)
        else:
            self._unsent = data[sent:]
            self._hub.want_write(self, True)
            if self._deadline is None or sent:
                self._deadline = now + self._limits.send_timeout
            if len(self._unsent) > self._limits.max_unsent:
                self._lost("the peer does not read what we send", now)

    def _send(self, data: bytes) -> int:
        try:
            return self._sock.send(data) if data else 0
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    # The end

    def _lost(self, reason: str, now: float) -> None:
        if self.is_gone:
            return
        session = self.session
        self._close_sent = True
        if session is not None:
            self._perform(session.receive_close(None, now, reason), now)
        self._close_socket()

    def _close_socket(self) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self._hub.remove(self)
        self._batch.clear()
        self._unsent = b""
        self._sock.close()
        self._owner.closed()


def _random_mask() -> bytes:
    return os.urandom(4)
