"""The control socket of a jambonz call, as a handler sees it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs
import structlog
import trio

from callstream_core.commands import HangUp, When
from callstream_core.errors import LocalProtocolError
from callstream_core.events import MessageIgnored, Side
from callstream_core.jambonz import ControlSession
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.call_memory import CallMemory
from callstream_core.jambonz.control_state import ControlCommand, ControlEvent
from callstream_core.jambonz.values import Verb
from callstream_trio.admission import Request
from callstream_trio.call_limits import CallEnded, CallLimits
from callstream_trio.link import Link

if TYPE_CHECKING:
    from callstream_trio.call import Call

__all__ = ["Control"]

_log = structlog.get_logger("callstream.jambonz")

Opening = Callable[[w.Question], Sequence[Verb]]

# Orders that may wait for jambonz to come back, and its questions that are remembered to be void then.
_MAX_HELD = 256
_MAX_ASKED = 64


def _size_of(said: ControlEvent) -> int:
    """Return the characters of the message that said it; the session's own words are short."""
    if isinstance(said, MessageIgnored):
        return len(said.message)
    return said.size if isinstance(said, w.Notice) else 0


class Control:
    """Verbs, commands and hooks of one jambonz call. Iterate over what jambonz says; what you say leaves at once.

    Hooks that nobody iterates over are acked without verbs, so that jambonz need not wait for them. Where the socket is
    lost and jambonz dials again, all goes on: with `SessionReconnected`, and with the orders that waited for it.
    """

    def __init__(self, opening: Opening | None = None, limits: CallLimits | None = None) -> None:
        """Take control of a call; `opening` gives the verbs that take it, else a handler acks the offer."""
        self.limits = limits or CallLimits()
        self.call: Call | None = None
        """The call whose audio jambonz streams to us, if it does."""
        self.ended: w.ControlClosed | None = None
        """How the socket ended, once it has for good."""
        self.request: Request | None = None
        """The HTTP request of the first socket: path, query, headers."""
        self.first: w.Question | None = None
        """What jambonz opened the socket for: `SessionOffered`, or a word of a call that it had before."""
        self.dropped = 0
        """Words that nobody iterated over in time."""
        self.tolerated: Counter[str] = Counter()
        """Every tolerance that its sockets needed, by name."""
        self.lost: w.ControlClosed | None = None
        """How the socket was lost, while jambonz may still come back."""
        self._held: list[ControlCommand] = []
        self._is_catching_up = False
        self._asked: deque[str] = deque(maxlen=_MAX_ASKED)
        self._void: frozenset[str] = frozenset()
        self._memory: CallMemory | None = None
        self._is_closing = False
        self._link: Link | None = None
        self._opening = opening
        self._has_reader = opening is None
        self._words: deque[ControlEvent] = deque()
        self._unread = 0
        self._when_ended: Callable[[], None] | None = None
        self._changed = trio.lowlevel.ParkingLot()

    # The link's side

    def attach(self, link: Link, request: Request | None = None) -> None:
        """Take the link of a socket, the first or a later one, and the request that opened it."""
        if self._link is not None:
            # jambonz knows that it is lost, even if we do not yet.
            self._link.drop()
        self._link = link
        self.request = self.request or request

    def hear(self, said: ControlEvent, now: float) -> Iterable[ControlCommand]:
        """Take what the session heard; ack what nobody else will."""
        self._is_catching_up = False
        if isinstance(said, w.ControlClosed):
            self._take_close(said)
            return ()
        if isinstance(said, w.Question):
            self.first = self.first or said
            self._asked.append(said.msgid)
        if isinstance(said, w.SessionReconnected) and self.lost is not None:
            self._come_back()
        self._keep(said)
        if isinstance(said, w.Acked) and self._held:
            self._is_catching_up = True
            held, self._held = self._held, []
            return held
        if self._opening is not None and said is self.first:
            if isinstance(said, w.LegPromoted):
                return (o.Redirect(self._opening(said)),)
            if isinstance(said, w.SessionOffered | w.SessionRedirected):
                return (o.Ack(said.msgid, self._opening(said)),)
        if not self._has_reader and isinstance(said, w.HookQuestion):
            return (o.Ack(said.msgid),)
        return ()

    def _keep(self, said: ControlEvent) -> None:
        self._words.append(said)
        self._unread += _size_of(said)
        # The newest is always there, and with it the end.
        while len(self._words) > 1 and (
            len(self._words) > self.limits.max_events or self._unread > self.limits.max_unread_text
        ):
            self.dropped += 1
            self._unread -= _size_of(self._words.popleft())
        self._changed.unpark_all()

    def refused(self) -> None:
        """Tell of an order that has waited in vain; where it was an ack, the session had acked by itself already."""
        if self._is_catching_up:
            _log.warning("an order came too late: the call has gone on", call=ascii(self.call_sid[:80]))

    def closed(self) -> None:
        """Take note that a socket is gone."""
        if self._link is not None and self._link.is_gone and self.lost is None and self.ended is None:
            self._take_close(
                w.ControlClosed(
                    initiator=Side.PLATFORM,
                    code=None,
                    reason="the connection was lost",
                    outcome=w.Outcome.LOST,
                    redials=w.Redial.SOON,
                    call_continues=True,
                )
            )
        self._changed.unpark_all()

    def _take_close(self, closed: w.ControlClosed) -> None:
        """The call goes on where only its socket was lost; jambonz repeats none of its questions."""
        session = self._link.session if self._link else None
        if isinstance(session, ControlSession):
            self._memory = session.memory
            self.tolerated.update(session.counters)
        if closed.outcome is not w.Outcome.LOST or self.first is None or self._is_closing:
            self._end(closed)
            return
        self.lost = closed
        self._void = frozenset(self._asked)
        self._held = [order for order in closed.unsent if isinstance(order, o.Order)] + self._held
        self._changed.unpark_all()

    def _come_back(self) -> None:
        self.lost = None
        if self._memory is not None:
            self.session.resume(self._memory)

    def give_up(self) -> None:
        """Wait for jambonz no longer."""
        if self.lost is not None and self.ended is None:
            self._end(attrs.evolve(self.lost, unsent=tuple(self._held)))

    def when_ended(self, act: Callable[[], None]) -> None:
        """Call `act` at the moment the socket ends."""
        self._when_ended = act

    def _end(self, ended: w.ControlClosed) -> None:
        self.ended = ended
        self._keep(ended)
        if self._when_ended is not None:
            self._when_ended()

    # Read-outs

    @property
    def session(self) -> ControlSession:
        """The engine underneath."""
        session = self._link.session if self._link else None
        if not isinstance(session, ControlSession):
            raise CallEnded("the call is over")
        return session

    @property
    def orders_audio(self) -> bool:
        """Whether the call is taken with audio."""
        return self._opening is not None

    @property
    def call_sid(self) -> str:
        """jambonz's name of the call."""
        return (self.first.leg if self.first else None) or ""

    # Commands

    def say(self, command: ControlCommand) -> None:
        """Say an ack or a command: at once, or when jambonz is back."""
        if self._link is None or self.ended is not None:
            raise CallEnded("the call is over")
        if isinstance(command, o.Ack) and command.msgid in self._void:
            if command.verbs:
                raise LocalProtocolError("the socket was lost, and jambonz went on without this ack: send a Redirect")
        elif self.lost is None:
            self._link.say(command)
        elif len(self._held) < _MAX_HELD:
            self._held.append(command)
        else:
            raise LocalProtocolError(f"{_MAX_HELD} orders wait for jambonz to come back; send this one later")

    async def send(self, command: ControlCommand) -> None:
        """Say an ack or a command; `LocalProtocolError` where that is a mistake."""
        self.say(command)
        await trio.lowlevel.checkpoint()

    async def ack(self, question: w.Question, *verbs: Verb) -> None:
        """Ack what jambonz asked: with verbs for it to run, or without."""
        await self.send(o.Ack(question.msgid, verbs or None))

    async def hang_up(self, when: When = When.AFTER_PLAYOUT) -> None:
        """End the call when the verbs that wait have run, or now. A call that was only offered is refused."""
        self._has_reader = False
        await self.send(HangUp(when))

    def close(self, code: int, reason: str = "") -> None:
        """End the call at once; where nothing can be said to jambonz, by closing the socket with a code."""
        if self._link is None or self.ended is not None:
            return
        self._is_closing = True
        if self.lost is not None:
            self.give_up()
            return
        try:
            # A close alone would have jambonz dial again.
            self.say(HangUp())
        except LocalProtocolError:
            self._link.fail(code, reason)

    def drop(self) -> None:
        """Cut the connection, if it is still there."""
        if self._link is not None:
            self._link.drop()

    # Hearing

    def __aiter__(self) -> Control:
        """Iterate over what jambonz says; the last is `ControlClosed`. A loop that was left can be taken up again."""
        return self

    async def __anext__(self) -> ControlEvent:
        """Wait for the next word. Questions want their ack within seconds."""
        self._has_reader = True
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._words:
            if self.ended is not None:
                raise StopAsyncIteration
            await self._changed.park()
        word = self._words.popleft()
        self._unread -= _size_of(word)
        return word

    async def wait_opened(self) -> bool:
        """Wait until jambonz has said what the socket is for; False if it ends before."""
        while self.first is None and self.ended is None:
            await self._changed.park()
        return self.first is not None

    async def wait_ended(self) -> w.ControlClosed:
        """Wait for the end of the call, or of the patience with a socket that was lost."""
        while self.ended is None:
            await self._changed.park()
        return self.ended

    async def wait_lost(self) -> bool:
        """Wait until the socket is lost; False where it ends for good."""
        while self.lost is None and self.ended is None:
            await self._changed.park()
        return self.ended is None

    async def wait_back(self) -> None:
        """Wait until jambonz is back, or all is over."""
        while self.lost is not None and self.ended is None:
            await self._changed.park()

    async def wait_gone(self, link: Link) -> None:
        """Wait until a socket is closed."""
        while not link.is_gone:
            await self._changed.park()
