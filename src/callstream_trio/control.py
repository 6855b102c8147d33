"""The control socket of a jambonz call, as a handler sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from callstream_core.commands import HangUp, When
from callstream_core.errors import LocalProtocolError
from callstream_core.events import Side
from callstream_core.jambonz import ControlSession
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.control_state import ControlCommand, ControlEvent
from callstream_core.jambonz.values import Verb
from callstream_trio.admission import Request
from callstream_trio.call_limits import CallEnded, CallLimits
from callstream_trio.link import Link

if TYPE_CHECKING:
    from callstream_trio.call import Call

__all__ = ["Control"]

Opening = Callable[[w.SessionOffered], Sequence[Verb]]


class Control:
    """Verbs, commands and hooks of one jambonz call. Iterate over what jambonz says; what you say leaves at once.

    Hooks that nobody iterates over are acked without verbs, so that jambonz need not wait for them.
    """

    def __init__(self, opening: Opening | None = None, limits: CallLimits | None = None) -> None:
        """Take control of a call; `opening` gives the verbs that take it, else a handler acks the offer."""
        self.limits = limits or CallLimits()
        self.call: Call | None = None
        """The call whose audio jambonz streams to us, if it does."""
        self.ended: w.ControlClosed | None = None
        """How the socket ended, once it has."""
        self.request: Request | None = None
        """The HTTP request of the socket: path, query, headers."""
        self.first: w.Question | None = None
        """What jambonz opened the socket for: `SessionOffered`, or a word of a call that it had before."""
        self.dropped = 0
        """Words that nobody iterated over in time."""
        self._link: Link | None = None
        self._opening = opening
        self._has_reader = opening is None
        self._words: deque[ControlEvent] = deque()
        self._when_ended: Callable[[], None] | None = None
        self._is_gone = False
        self._changed = trio.lowlevel.ParkingLot()

    # The link's side

    def attach(self, link: Link, request: Request | None = None) -> None:
        """Take the link of the socket, and the request that opened it."""
        self._link = link
        self.request = request

    def hear(self, said: ControlEvent, now: float) -> Iterable[ControlCommand]:
        """Take what the session heard; ack what nobody else will."""
        if self.first is None and isinstance(said, w.Question):
            self.first = said
        if len(self._words) >= self.limits.max_events:
            self.dropped += 1
            self._words.popleft()
        self._words.append(said)
        if isinstance(said, w.ControlClosed):
            self._end(said)
        self._changed.unpark_all()
        if self._opening is not None and isinstance(said, w.SessionOffered):
            return (o.Ack(said.msgid, self._opening(said)),)
        if not self._has_reader and isinstance(said, w.HookQuestion):
            return (o.Ack(said.msgid),)
        return ()

    def refused(self) -> None:
        """The session had acked by itself already."""

    def closed(self) -> None:
        """Take note that the socket is gone."""
        self._is_gone = True
        if self.ended is None:
            lost = w.ControlClosed(
                initiator=Side.PLATFORM,
                code=None,
                reason="the connection was lost",
                outcome=w.Outcome.LOST,
                redials=w.Redial.SOON,
                call_continues=True,
            )
            self._words.append(lost)
            self._end(lost)
        self._changed.unpark_all()

    def when_ended(self, act: Callable[[], None]) -> None:
        """Call `act` at the moment the socket ends."""
        self._when_ended = act

    def _end(self, ended: w.ControlClosed) -> None:
        self.ended = ended
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
        """Say an ack or a command, at once."""
        if self._link is None or self.ended is not None:
            raise CallEnded("the call is over")
        self._link.say(command)

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
        try:
            # A close alone would have jambonz dial again.
            self.say(HangUp())
        except LocalProtocolError:
            self._link.fail(code, reason)

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
        return self._words.popleft()

    async def wait_opened(self) -> bool:
        """Wait until jambonz has said what the socket is for; False if it ends before."""
        while self.first is None and self.ended is None:
            await self._changed.park()
        return self.first is not None

    async def wait_ended(self) -> w.ControlClosed:
        """Wait for the end of the socket, which is that of the call unless it was lost."""
        while self.ended is None:
            await self._changed.park()
        return self.ended

    async def wait_gone(self) -> None:
        """Wait until the socket is closed."""
        while not self._is_gone:
            await self._changed.park()
