"""One WebSocket: bytes on one side, a session on the other."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import structlog

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.dialect import Dialect
from callstream_core.errors import LocalProtocolError
from callstream_core.events import AudioReceived
from callstream_core.outputs import CloseLink, Transmit
from callstream_core.platform_session import PlatformSession
from callstream_core.websocket import STRICT, Close, Failure, FrameDecoder, FrameEncoder, Ping, Pong, WebSocketRules
from callstream_trio.deadlines import Timed
from callstream_trio.hub import Hub, clock
from callstream_trio.link_limits import LinkLimits, MessageRate
from callstream_trio.owner import NOBODY, Owner, Session
from callstream_trio.tls import Tls
from callstream_trio.wire import NEVER, Wire

_log = structlog.get_logger("callstream.link")

# How many messages are counted together. Small numbers are kept ready, each larger one is a piece of memory of its own.
_LOT = 250


class Link(Wire):
    """Drives one session over one socket, when the hub calls. Nothing here waits.

    A frame of a thousand calls finds little of its call near the processor: what it need not touch, it should not.
    """

    __slots__ = (
        "_batch",
        "_close_heard",
        "_close_sent",
        "_deadline",
        "_decoder",
        "_encoder",
        "_is_client",
        "_make_session",
        "_owner",
        "_paced",
        "_rate",
        "_received",
        "_recent",
        "_sent",
        "session",
    )

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
        super().__init__(hub, sock, tls, limits or LinkLimits())
        self.session = session
        # Only an application's has packets to pace.
        self._paced = session.paced if isinstance(session, AppSession) else None
        self._owner = owner
        self._make_session = make_session
        self._decoder = FrameDecoder(masked=not is_client, rules=rules)
        self._encoder = FrameEncoder(mask=_random_mask if is_client else None)
        self._is_client = is_client
        self._batch: list[bytes] = []
        self._deadline = NEVER
        """Of the phase that the link itself is in: first message, or closing."""
        # An application may send a whole recording at once, a platform never does.
        most = NEVER if isinstance(session, PlatformSession) else self._limits.max_messages
        self._rate = MessageRate(most, clock())
        self._recent = 0
        self._received = 0
        self._sent = 0
        self._close_sent = False
        self._close_heard = False

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

    @property
    def messages_received(self) -> int:
        """Messages that have come, whole."""
        return self._received + self._recent

    @property
    def messages_sent(self) -> int:
        """Messages that were handed to the socket, or wait for it."""
        return self._sent + (self._paced.count if self._paced is not None else 0)

    # The hub calls

    def handle_readable(self, now: float) -> None:
        """Read once, and act on every message that is whole."""
        data = self._read(now)
        if data and not self._take(data, now):
            self._settle(now)
        if self._tls is not None and self._tls.is_over:
            self._lost("the peer closed the connection", now)

    def _take(self, data: bytes, now: float) -> bool:
        """Act on every message that is whole; tell whether it was audio alone, unanswered: that leaves all as it is."""
        heard = self._decoder.feed(data)
        self._recent += len(heard)
        if self._recent > _LOT and self._is_flood(now):
            self._fail(1008, f"more than {self._limits.max_messages} messages in a second", now)
            return False
        is_all_audio = True
        for message in heard:
            kind = type(message)
            session = self.session
            if kind is bytes and session is not None:
                outputs = session.receive(message, now)  # type: ignore[arg-type]
                if len(outputs) == 1 and type(outputs[0]) is AudioReceived:
                    replies = self._owner.hear(outputs[0], now)
                    if not replies:
                        continue
                    for reply in replies:
                        self._reply(reply, now)
                else:
                    self._perform(outputs, now)
            elif kind is bytes or kind is str:
                session = session or self._detect(message)  # type: ignore[arg-type]
                if session is not None:
                    self._perform(session.receive(message, now), now)  # type: ignore[arg-type]
            else:
                self._received -= 1
                self._take_control(message, now)
            is_all_audio = False
        return is_all_audio

    def _is_flood(self, now: float) -> bool:
        recent, self._recent = self._recent, 0
        self._received += recent
        return self._rate.is_flood(recent, now)

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
        self._deadline = NEVER
        self.session = session = self._make_session(dialect)
        self._paced = session.paced if isinstance(session, AppSession) else None
        return self.session

    def handle_writable(self, now: float) -> None:
        """Send what has been waiting."""
        self._write_waiting(now)
        self._settle(now)

    def handle_deadline(self, now: float) -> None:
        """Let the session do what is due; enforce the link's own deadlines."""
        paced = self._paced
        if paced is not None and self._unsent is None and (packet := paced.take(now)) is not None:
            frame = self._encoder.message(packet)
            if paced.due > now and self._tls is None:
                self._push(frame, now)
            else:
                # We are late: there may be more.
                frames = [frame]
                while (packet := paced.take(now)) is not None:
                    frames.append(self._encoder.message(packet))
                self._write(frames, now)
            if not self.is_gone:
                self._hub.schedule(self, paced.due)
            return
        session = self.session
        if session is not None:
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
                    self._sent += 1
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
            self._deadline = NEVER
            self._batch.append(self._encoder.close(code, reason))

    def _settle(self, now: float) -> None:
        """After any input: send, close if that is over, and have the next deadline scheduled."""
        if self._batch and not self.is_gone:
            batch, self._batch = self._batch, []
            self._write(batch, now)
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
        if deadline < NEVER and (self.scheduled is None or deadline < self.scheduled):
            self._hub.schedule(self, deadline)

    def _is_closed(self, now: float) -> bool:
        """Tell whether both have said close, and ours is sent; see to it that this does not take for ever."""
        # The server cuts the connection first (RFC 6455, 7.1.1). Data still on its way in would turn our close
        # into a reset, so that a close of our own waits for the peer's.
        if self._close_heard and self._unsent is None and not self._is_client:
            return True
        if self._deadline == NEVER:
            limits = self._limits
            self._deadline = now + (limits.close_timeout if self._unsent is None else limits.send_timeout)
        return False

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
        self._release()
        self._batch.clear()
        owner, self._owner = self._owner, NOBODY
        # Who is over is freed at once, and leaves nothing to the garbage collector, which would hold up other calls.
        self._make_session = None
        owner.closed()


def _random_mask() -> bytes:
    return os.urandom(4)
