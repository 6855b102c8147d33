"""The connection layer of a simulated jambonz: dialling, retries, acks in time, reconnects."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from callstream_core.jambonz.codec import SUBPROTOCOL, encode_event
from callstream_core.jambonz.happenings import DialLink, OnLink, PlatformOutput, Refusal
from callstream_core.jambonz.orders import Ack
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.jambonz.values import Object, snake_cased
from callstream_core.jambonz.words import (
    CallStatusChanged,
    HookQuestion,
    Notice,
    Question,
    SessionOffered,
    SessionReconnected,
)
from callstream_core.outputs import CloseLink, Transmit


class LinkState(enum.Enum):
    """Where a requestor's socket stands."""

    IDLE = "idle"
    DIALLING = "dialling"
    OPEN = "open"
    BACKOFF = "waiting to dial again"
    RESUMING = "waiting for the ack of the reconnect"
    MUTE = "open, and nothing is ever said"
    DEAD = "dead"


@attrs.frozen
class AckCame:
    """The application acked."""

    question: Question
    ack: Ack


@attrs.frozen
class AckMissing:
    """No ack will be waited for any more."""

    question: Question
    in_time: bool = True
    """False where it was not even the deadline that ended the wait, but the socket."""


@attrs.frozen
class Dropped:
    """More waited for a socket than may."""

    event: Notice


@attrs.frozen
class DialFailed:
    """The first socket could not be had, or was lost before the first ack."""

    reason: str


@attrs.frozen
class ResumeFailed:
    """A reconnect was not acked."""


News = AckCame | AckMissing | Dropped | DialFailed | ResumeFailed
Said = News | PlatformOutput

_STEP = 2.0
_REFUSED = {
    Refusal.CONNECTION: "connection refused",
    Refusal.HANDSHAKE: "handshake failed",
    Refusal.CLIENT_ERROR: "Unexpected server response: 401",
    Refusal.SERVER_ERROR: "Unexpected server response: 503",
    Refusal.SUBPROTOCOL: "Server sent no subprotocol",
}


class Requestor:
    """One URL of the application, over as many sockets as it takes."""

    def __init__(self, link: int, url: str, profile: JambonzProfile, number: Callable[[], str]) -> None:
        self.link = link
        self.state = LinkState.IDLE
        self.connections = 0
        """Sockets that were opened."""
        self.call_sid: str | None = None
        self._url = url
        self._profile = profile
        self._number = number
        self._offer: Object = {}
        self._first: Question | None = None
        self._queue: deque[tuple[Notice, int]] = deque()
        self._queue_size = 0
        self._trigger: Notice | None = None
        self._in_flight: dict[str, tuple[Question, float]] = {}
        self._backoff = 0.5
        self._tries = 0
        self._is_last = False
        self._has_asked = False
        self._reconnect = ""
        self._deadline: float | None = None

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` is due."""
        found = [deadline for _, deadline in self._in_flight.values()]
        if self._deadline is not None:
            found.append(self._deadline)
        return min(found, default=None)

    def on_link(self, output: DialLink | Transmit | CloseLink) -> Said:
        return OnLink(self.link, output) if self.link else output

    # Saying

    def say(self, kind: type[Notice], data: Object, now: float, out: list[Said], hook: str | None = None) -> str:
        """Send a message, or queue it until there is a socket. Return its msgid."""
        values: dict[str, Any] = {"msgid": self._number(), "data": snake_cased(data)}
        if kind is SessionOffered:
            self._offer, self.call_sid = values["data"], data["call_sid"]
        if issubclass(kind, HookQuestion) or hook is not None:
            values["hook"] = hook or ""
        event = kind(call_sid=self.call_sid, **values)
        match self.state:
            case LinkState.OPEN:
                self._transmit(event, now, out)
            case LinkState.DEAD | LinkState.MUTE:
                if isinstance(event, Question):
                    out.append(AckMissing(event, in_time=False))
            case LinkState.IDLE | LinkState.BACKOFF if self.connections:
                # What makes jambonz dial goes behind what is queued meanwhile.
                if self._trigger is not None:
                    self._enqueue(self._trigger, out)
                self._trigger = event
                self._dial(now, out)
            case _:
                self._enqueue(event, out)
                if self.state is LinkState.IDLE:
                    self._dial(now, out)
        return event.msgid

    def _enqueue(self, event: Notice, out: list[Said]) -> None:
        size = len(encode_event(event).encode(errors="replace"))
        self._queue.append((event, size))
        self._queue_size += size
        profile = self._profile
        while len(self._queue) > profile.max_waiting or self._queue_size > profile.max_waiting_size:
            oldest, size = self._queue.popleft()
            self._queue_size -= size
            out.append(Dropped(oldest))
            if isinstance(oldest, Question):
                out.append(AckMissing(oldest, in_time=False))

    def _take_queue(self) -> list[Notice]:
        """Return what waits, what made jambonz dial last."""
        queue = [event for event, _ in self._queue]
        self._queue.clear()
        self._queue_size = 0
        if self._trigger is not None:
            queue.append(self._trigger)
            self._trigger = None
        return queue

    def _transmit(self, event: Notice, now: float, out: list[Said]) -> None:
        if isinstance(event, Question):
            if len(self._in_flight) >= self._profile.max_asked:
                oldest, _ = self._in_flight.pop(next(iter(self._in_flight)))
                out.append(AckMissing(oldest, in_time=False))
            if not self._has_asked:
                self._first = event
                self._has_asked = True
            self._in_flight[event.msgid] = (event, now + self._profile.ack_timeout)
        out.append(self.on_link(Transmit(encode_event(event))))

    def _dial(self, now: float, out: list[Said]) -> None:
        self.state = LinkState.DIALLING
        self._tries += 1
        self._deadline = now + self._profile.handshake_timeout
        out.append(self.on_link(DialLink(self._url, self._profile.headers, SUBPROTOCOL)))

    def _wait_to_dial(self, now: float) -> None:
        self.state = LinkState.BACKOFF
        self._deadline = now + self._backoff
        self._backoff = self._backoff * 2 if self._backoff < _STEP else self._backoff + _STEP

    # What becomes of the socket

    def opened(self, now: float, out: list[Said]) -> None:
        """Go on with a socket that is open."""
        if self.state is not LinkState.DIALLING:
            return
        is_first, self.connections = not self.connections, self.connections + 1
        self._deadline = None
        self.state = LinkState.OPEN
        if is_first or self._is_last:
            self._flush(now, out)
        else:
            self.state = LinkState.RESUMING
            self._deadline = now + self._profile.ack_timeout
            event = SessionReconnected(msgid=self._number(), call_sid=self.call_sid, data=self._offer)
            self._reconnect = event.msgid
            out.append(self.on_link(Transmit(encode_event(event))))
        if self._is_last:
            # The last word of a call is left on an open socket.
            self.state = LinkState.DEAD

    def _flush(self, now: float, out: list[Said]) -> None:
        for event in self._take_queue():
            self._transmit(event, now, out)

    def refused(self, refusal: Refusal, now: float, out: list[Said]) -> None:
        """Retry, or give up."""
        if self.state is not LinkState.DIALLING:
            return
        self._deadline = None
        may_retry = refusal.value in self._profile.retried and self._tries <= self._profile.max_connections
        if self._is_last:
            self.state = LinkState.DEAD
        elif self.connections or may_retry:
            # Where there was a socket before, it never gives up.
            self._wait_to_dial(now)
        else:
            self._give_up(_REFUSED[refusal], out)

    def _give_up(self, reason: str, out: list[Said]) -> None:
        self.state = LinkState.DEAD
        out.append(DialFailed(reason))
        self._drop_queue(out)

    def _drop_queue(self, out: list[Said]) -> None:
        out.extend(AckMissing(event, in_time=False) for event in self._take_queue() if isinstance(event, Question))

    def closed(self, code: int | None, now: float, out: list[Said]) -> None:
        """Dial again, unless the application said that it had no more to say."""
        if self.state is LinkState.RESUMING:
            self._deadline = None
            if code == 1000:
                # It waits for the ack all the same.
                self.state = LinkState.DEAD
                self._deadline = now + self._profile.ack_timeout
            else:
                self.state = LinkState.IDLE
                out.append(ResumeFailed())
            self._drop_queue(out)
            return
        if self.state not in (LinkState.OPEN, LinkState.MUTE):
            return
        waiting, self._in_flight = self._in_flight, {}
        lost = [question for question, _ in waiting.values() if question is not self._first]
        if code == 1000:
            self.state = LinkState.DEAD
            # The first ack is waited for all the same.
            self._in_flight = {msgid: asked for msgid, asked in waiting.items() if asked[0] is self._first}
        elif self._first is not None and not self._profile.loses_first_ack:
            self._give_up("the socket was lost before the first ack", out)
            return
        elif self.connections < self._profile.max_connections:
            self._wait_to_dial(now)
        else:
            self.state = LinkState.IDLE
        out.extend(AckMissing(question, in_time=False) for question in lost)

    # What the application says

    def acked(self, ack: Ack, now: float, out: list[Said]) -> None:
        """Take an ack; one for nothing is passed over."""
        if self.state is LinkState.RESUMING:
            if ack.msgid != self._reconnect:
                return
            self._deadline = None
            if self._first is not None:
                self.state = LinkState.MUTE
                out.append(AckCame(self._first, ack))
                self._first = None
                self._drop_queue(out)
                return
            self.state = LinkState.OPEN
            self._flush(now, out)
            return
        if self.state is not LinkState.OPEN:
            return
        self._first = None
        found = self._in_flight.pop(ack.msgid, None)
        if found is not None:
            out.append(AckCame(found[0], ack))

    # Time and the end

    def handle_timeout(self, now: float, out: list[Said]) -> None:
        """Do what is due."""
        for msgid, (question, deadline) in list(self._in_flight.items()):
            if deadline <= now:
                del self._in_flight[msgid]
                out.append(AckMissing(question))
        if self._deadline is None or self._deadline > now:
            return
        self._deadline = None
        if self.state is LinkState.BACKOFF:
            self._dial(now, out)
        elif self.state is LinkState.DIALLING:
            out.append(self.on_link(CloseLink(None)))
            if self.connections:
                self.refused(Refusal.CONNECTION, now, out)
            else:
                self._give_up("handshake timeout", out)
        else:
            if self.state is LinkState.RESUMING:
                self.state = LinkState.OPEN
            out.append(ResumeFailed())
            self._drop_queue(out)

    def _is_last_word(self, event: Notice) -> bool:
        # Of the call itself, whatever is told of other legs.
        return isinstance(event, CallStatusChanged) and event.leg == self._profile.call_sid

    def finish(self, code: int, out: list[Said]) -> None:
        """End; where the last word is still to be said, dial for it."""
        self._in_flight.clear()
        if self.state is LinkState.DIALLING and self.connections:
            last = [event for event in self._take_queue() if self._is_last_word(event)]
            if last:
                self._is_last = True
                self._trigger = last[-1]
                return
        if self.state in (LinkState.OPEN, LinkState.RESUMING, LinkState.MUTE):
            out.append(self.on_link(CloseLink(code)))
        elif self.state is LinkState.DIALLING:
            out.append(self.on_link(CloseLink(None)))
        self.state = LinkState.DEAD
        self._deadline = None
        self._take_queue()
