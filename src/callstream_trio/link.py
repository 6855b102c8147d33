"""One WebSocket: bytes on one side, a session on the other."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

import attrs
import structlog

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.dialect import Dialect
from callstream_core.errors import LocalProtocolError
from callstream_core.outputs import CloseLink, Transmit
from callstream_core.platform_session import PlatformSession
from callstream_core.websocket import STRICT, Close, Failure, FrameDecoder, FrameEncoder, Ping, Pong, WebSocketRules
from callstream_trio.deadlines import Timed
from callstream_trio.hub import Hub, clock
from callstream_trio.owner import NOBODY, Owner, Said, Session
from callstream_trio.tls import Tls

__all__ = ["Link", "LinkLimits", "Owner", "Said", "Session"]

_log = structlog.get_logger("callstream.link")

# A call says a few hundred bytes at a time; what one peer can have us do in one turn is bounded by this.
_READ_SIZE = 16384
_NEVER = float("inf")


@attrs.frozen(kw_only=True)
class LinkLimits:
    """The bounds of one connection."""

    max_unsent: int = 1024 * 1024
    """Bytes that may wait for a peer that does not read."""
    send_timeout: float = 10.0
    """Seconds that a peer may leave them there without taking any."""
    max_messages: int = 5000
    """Messages and control frames that a platform may send in one second; a minute's audio after a stall is 3,000."""
    close_timeout: float = 1.0
    """Seconds for the peer to agree to our close."""
    first_message_timeout: float = 10.0
    """Seconds for the first message, where it must tell the dialect."""


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
        # Only an application's has packets to pace.
        self._paced = session if isinstance(session, AppSession) else None
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
        self._unsent = bytearray()
        self._send_deadline = _NEVER
        self._deadline = _NEVER
        """Of the phase that the link itself is in: first message, or closing."""
        # An application may send a whole recording at once, a platform never does.
        self._max_messages = _NEVER if isinstance(session, PlatformSession) else self._limits.max_messages
        self._recent = 0
        self._recent_since = clock()
        self._close_sent = False
        self._close_heard = False
        self.is_gone = False

    def start(self, early: bytes = b"") -> None:
        """Begin to be served; `early` came behind the handshake."""
        now = clock()
        self._hub.add(self)
        if self.session is None:
            self._deadline = now + self._limits.first_message_timeout
        try:
            if early:
                self._take(early, now)
            self._settle(now)
        except Exception as error:
            self._hub.give_up(self, error)

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
        tls = self._tls
        if tls is not None:
            try:
                data = tls.decrypt(data)
            except OSError as error:
                self._lost(f"TLS failed: {error}", now)
                return
        self._take(data, now)
        self._settle(now)
        if tls is not None and tls.is_over:
            self._lost("the peer closed the connection", now)

    def _take(self, data: bytes, now: float) -> None:
        heard = self._decoder.feed(data)
        self._recent += len(heard)
        if self._recent > self._max_messages and self._is_flood(len(heard), now):
            self._fail(1008, f"more than {self._limits.max_messages} messages in a second", now)
            return
        for message in heard:
            kind = type(message)
            if kind is bytes or kind is str:
                self.messages_received += 1
                session = self.session or self._detect(message)  # type: ignore[arg-type]
                if session is not None:
                    self._perform(session.receive(message, now), now)  # type: ignore[arg-type]
            else:
                self._take_control(message, now)

    def _is_flood(self, count: int, now: float) -> bool:
        """Look at the clock once for so many messages; a slower peer begins anew."""
        since, self._recent_since, self._recent = self._recent_since, now, count
        return count > self._max_messages or now - since < 1

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
            self._fail(message.code, message.reason, now)

    def _fail(self, code: int, reason: str, now: float) -> None:
        if self.session is None:
            self._say_close(code, reason)
        else:
            self._perform(self.session.fail(code, reason, now), now)

    def _detect(self, message: str | bytes) -> Session | None:
        if self._make_session is None or self._close_sent:
            return None
        dialect = dialects.detect(message)
        if dialect is None:
            self._say_close(1002, "no known dialect; use the path of one")
            return None
        self._deadline = _NEVER
        self.session = session = self._make_session(dialect)
        self._paced = session if isinstance(session, AppSession) else None
        return self.session

    def handle_writable(self, now: float) -> None:
        """Send what has been waiting."""
        if self._unsent:
            self._send_waiting(now)
        self._settle(now)

    def handle_deadline(self, now: float) -> None:
        """Let the session do what is due; enforce the link's own deadlines."""
        session = self.session
        paced = self._paced
        if paced is not None and (packet := paced.next_packet(now)) is not None:
            if not self._close_sent:
                self.messages_sent += 1
                self._batch.append(self._encoder.message(packet))
        elif session is not None:
            due = session.next_timeout()
            if due is not None and due <= now:
                self._perform(session.handle_timeout(now), now)
        if self._send_deadline <= now:
            self._lost("the peer does not read what we send", now)
        elif self._deadline <= now:
            if self._close_sent:
                self._close_socket()
            else:
                self._say_close(1002, "no first message")
        self._settle(now)

    def abandon(self, error: Exception) -> None:
        """End the connection after a fault of our own: with 1011, or at once if even that fails."""
        session, self.session = self.session, None
        self._paced = None
        now = clock()
        try:
            # The last output tells of the end; whatever else there is may be what failed.
            for ended in session.fail(1011, "internal error", now)[-1:] if session is not None else ():
                self._owner.hear(ended, now)
            if session is None and self._close_sent:
                self._close_socket()
            self._say_close(1011, "internal error")
            self._settle(now)
        except Exception as second:
            _log.error("closing a failed call failed too", error=repr(second), after=repr(error))
            self._close_socket()

    # Everybody else calls

    def say(self, word: object) -> None:
        """Say a command (or an event, as a platform) now. Raise `LocalProtocolError` where that is a mistake."""
        now = clock()
        if self.session is not None and not self.is_gone:
            self._perform(self.session.send(word, now), now)
            self._settle(now)

    def offer(self, word: object) -> bool:
        """Say something for another call's sake; tell whether it was taken. A fault here harms this call alone."""
        try:
            self.say(word)
        except LocalProtocolError:
            return False
        except Exception as error:
            self._hub.give_up(self, error)
        return not self.is_gone

    def schedule(self, timed: Timed, deadline: float) -> None:
        """Call `timed.handle_deadline` at `deadline`. Only an earlier one than before needs to be said."""
        self._hub.schedule(timed, deadline)

    def perform(self, outputs: list[Any]) -> None:
        """Do what a session asked for on somebody else's call."""
        now = clock()
        self._perform(outputs, now)
        self._settle(now)

    def fail(self, code: int, reason: str) -> None:
        """End the call with a close code."""
        now = clock()
        self._fail(code, reason, now)
        self._settle(now)

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._lost("the connection was cut", clock())

    # Outputs

    def _perform(self, outputs: list[Any], now: float) -> None:
        for output in outputs:
            kind = type(output)
            if kind is Transmit:
                if not self._close_sent:
                    self.messages_sent += 1
                    self._batch.append(self._encoder.message(output.message))
            elif kind is CloseLink:
                self._say_close(output.code, output.reason)
            else:
                for reply in self._owner.hear(output, now):
                    self._reply(reply, now)

    def _reply(self, word: object, now: float) -> None:
        try:
            outputs = self.session.send(word, now)  # type: ignore[union-attr]
        except LocalProtocolError:
            self._owner.refused()
        else:
            self._perform(outputs, now)

    def _say_close(self, code: int | None, reason: str = "") -> None:
        if not self._close_sent:
            self._close_sent = True
            self._deadline = _NEVER
            self._batch.append(self._encoder.close(code, reason))

    def _settle(self, now: float) -> None:
        """After any input: send, close if that is over, and have the next deadline scheduled."""
        if self._batch and not self.is_gone:
            self._send_batch(now)
        if self.is_gone:
            return
        if self._close_sent and self._is_closed(now):
            self._close_socket()
            return
        deadline = self._deadline if self._deadline < self._send_deadline else self._send_deadline
        if self.session is not None:
            due = self.session.next_timeout()
            if due is not None and due < deadline:
                deadline = due
        if deadline < _NEVER and (self.scheduled is None or deadline < self.scheduled):
            self._hub.schedule(self, deadline)

    def _is_closed(self, now: float) -> bool:
        """Tell whether both have said close, and ours is sent; see to it that this does not take for ever."""
        # The server cuts the connection first (RFC 6455, 7.1.1). Data still on its way in would turn our close
        # into a reset, so that a close of our own waits for the peer's.
        if self._close_heard and not self._unsent and not self._is_client:
            return True
        if self._deadline == _NEVER:
            limits = self._limits
            self._deadline = now + (limits.send_timeout if self._unsent else limits.close_timeout)
        return False

    def _send_batch(self, now: float) -> None:
        batch = self._batch
        data = b"".join(batch) if self._tls is None else self._tls.encrypt(batch)
        batch.clear()
        if self._unsent:
            self._unsent += data
        else:
            sent = self._send(data, now)
            if sent == len(data) or sent < 0:
                return
            self._unsent += data[sent:]
            self._send_deadline = now + self._limits.send_timeout
            self._hub.want_write(self, True)
        if len(self._unsent) > self._limits.max_unsent:
            self._lost("the peer does not read what we send", now)

    def _send_waiting(self, now: float) -> None:
        sent = self._send(self._unsent, now)
        if sent <= 0:
            return
        del self._unsent[:sent]
        if self._unsent:
            self._send_deadline = now + self._limits.send_timeout
        else:
            self._send_deadline = _NEVER
            self._hub.want_write(self, False)

    def _send(self, data: bytes | bytearray, now: float) -> int:
        """Send what the socket takes; -1 where it is broken."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lost(f"the connection broke while sending: {error}", now)
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
        if self._tls is not None and not self._unsent:
            with contextlib.suppress(OSError):
                self._sock.send(self._tls.goodbye())
        self._batch.clear()
        self._unsent.clear()
        self._sock.close()
        owner, self._owner = self._owner, NOBODY
        # Who is over is freed at once, and leaves nothing to the garbage collector, which would hold up other calls.
        self._make_session = None
        owner.closed()


def _random_mask() -> bytes:
    return os.urandom(4)
