"""One simulated caller: what it does and when, and how that is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import attrs
import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_core.jambonz import JambonzProfile as ControlProfile
from callstream_trio.dial import DialFailed, DialSettings, open_platform_link
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link
from callstream_trio.owner import Said
from callstream_trio.report import CallReport
from callstream_trio.script import Script, key_times
from callstream_trio.sound import write_heard
from callstream_trio.talk import STRIDE, Talk, figures
from callstream_trio.voice import Voices, said_format

_MAX_NOTES = 20
# How long after the answer the first key is pressed.
_FIRST_KEY = 1.0
# How soon to look again whether a call may end now.
_LOOK_AGAIN = 0.02


@attrs.frozen(kw_only=True)
class CallPlan:
    """What each simulated caller does."""

    platform: str = "asterisk"
    profile: Profile | ControlProfile = attrs.field(factory=AsteriskProfile)
    """The platform's own description of the call; that of jambonz's control makes it a call with all its sockets."""
    voices: Voices = attrs.field(factory=Voices)
    """What it says: a test signal, or a sound file."""
    digits: str = ""
    """Keys it presses, half a second apart, from one second after the answer on; a comma waits a second more."""
    script: Script = attrs.field(factory=Script)
    """What happens to a jambonz call."""
    channel_rate: int = 8000
    """Samples per second of the telephone's codec, in a jambonz call."""
    duration: float = 10.0
    """Seconds from the answer until it hangs up."""
    record: Path | None = None
    """A WAV file for what it hears; with several calls, the number of the call is added to the name."""
    echo_patience: float = 2.0
    """Seconds that an echo may take for the last frames, before the caller hangs up."""
    margin: float = 10.0
    """Seconds past `duration` after which a call is cut."""
    dialling: DialSettings = attrs.field(factory=lambda: DialSettings(attempts=1))

    @property
    def digit_times(self) -> list[tuple[float, str]]:
        """When each key is pressed, counted from the answer."""
        return key_times(self.digits, _FIRST_KEY)


class Line(Protocol):
    """How a caller reaches the application: by one socket, or by all those of a jambonz call."""

    @property
    def talks(self) -> Sequence[Talk]:
        """The audio, as far as there was any."""
        ...

    async def run(self) -> None:
        """Call, and return when no socket is left; `DialFailed` where none comes about."""
        ...

    def press(self, digit: str) -> None:
        """Press a key."""
        ...

    def hang_up(self) -> None:
        """End the call, as the caller."""
        ...

    def drop(self) -> None:
        """Cut all sockets."""
        ...

    def judge(self) -> dict[str, Any]:
        """Tell the caller what went wrong, and return what else the report should have."""
        ...


class SimulatedCaller:
    """One call by a plan. It is one of the hub's deadlines; what it is told comes from its line."""

    def __init__(self, hub: Hub, plan: CallPlan, number: int) -> None:
        self.number = number
        self.plan = plan
        self.line: Line
        self.scheduled: float | None = None
        self.report: CallReport | None = None
        """The outcome, once the call is over."""
        self.digits_sent = 0
        self.ended_by = ""
        self.is_interrupted = False
        self._hub = hub
        self._digits = plan.digit_times
        self._dialled_at = 0.0
        self._opened_at: float | None = None
        self._answered_at: float | None = None
        self._ended_at: float | None = None
        self._failures: list[str] = []
        self._misbehaved = 0
        self._scope = trio.CancelScope()

    @property
    def talks(self) -> Sequence[Talk]:
        """The audio of the call, as far as there is any."""
        return self.line.talks

    @property
    def state(self) -> str:
        """Where the call stands, in a word."""
        if self.report is not None:
            return "ok" if self.report.is_ok else "failed"
        if self._opened_at is None:
            return "dialling"
        return "talking" if self._answered_at is not None else "ringing"

    # What the line tells

    def opened(self, now: float) -> None:
        """Take note that the call is announced."""
        if self._opened_at is None:
            self._opened_at = now
            self._limit()
            if self.is_interrupted:
                self._hang_up()
            self._schedule(now)

    def answered(self, now: float) -> None:
        """Take note that the application has taken the call."""
        if self._answered_at is None:
            self._answered_at = now
            self._limit()
            self._schedule(now)

    def ended(self, now: float, by: str = "") -> None:
        """Take note of the end of the call; whoever was said to have ended it first has."""
        if self._ended_at is None:
            self._ended_at = now
        self.ended_by = self.ended_by or by

    def left(self) -> None:
        """Take note that the caller himself ends the call, unless it has ended."""
        if self._ended_at is None:
            self.ended_by = self.ended_by or "caller"

    def fail(self, reason: str) -> None:
        """Take note of what went wrong."""
        if len(self._failures) < _MAX_NOTES and reason not in self._failures:
            self._failures.append(reason)

    def complain(self, reason: str) -> None:
        """Take note of what the platform cannot use."""
        self._misbehaved += 1
        self.fail(reason)

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        self.fail(f"the simulated caller failed: {error!r}")
        self.line.drop()

    def _limit(self) -> None:
        plan = self.plan
        self._scope.deadline = trio.current_time() + plan.duration + plan.echo_patience + plan.margin

    # What the caller does, in the hub

    @property
    def until(self) -> float:
        """When it hangs up, if all goes well."""
        start = self._opened_at if self._answered_at is None else self._answered_at
        return (self._dialled_at if start is None else start) + self.plan.duration

    def _schedule(self, now: float) -> None:
        times = [self.until if self.until > now else now + _LOOK_AGAIN]
        if self._digits and self._answered_at is not None:
            times.append(self._answered_at + self._digits[0][0])
        deadline = min(times)
        if self.scheduled is None or deadline < self.scheduled:
            self._hub.schedule(self, deadline)

    def handle_deadline(self, now: float) -> None:
        """Do what is due."""
        if self._ended_at is not None or self._opened_at is None:
            return
        start = self._answered_at
        while start is not None and self._digits and start + self._digits[0][0] <= now:
            self.line.press(self._digits.pop(0)[1])
            self.digits_sent += 1
        if now < self.until or (start is not None and not self._may_end(now)):
            self._schedule(now)
            return
        if start is None:
            self.fail("the application never answered the call")
        self._hang_up()

    def _may_end(self, now: float) -> bool:
        is_patient = now < self.until + self.plan.echo_patience
        return not self._digits and all(talk.ended or talk.may_end(is_patient=is_patient) for talk in self.talks)

    def interrupt(self) -> None:
        """Hang up before the time has come."""
        if self.report is None:
            self.fail("the call was interrupted")
            self.is_interrupted = True
            self._hang_up()

    def _hang_up(self) -> None:
        if self._opened_at is not None and self._ended_at is None:
            self.ended_by = "caller"
            for talk in self.talks:
                talk.expects_all = talk.ended is None and not self.is_interrupted
            self.line.hang_up()

    # The task around it

    async def run(self) -> CallReport:
        """Call, wait for the end, and judge. Always ends."""
        self._dialled_at = clock()
        try:
            with self._scope:
                await self.line.run()
        except DialFailed as error:
            self.fail(str(error))
        if self._scope.cancelled_caught:
            self.fail("the call did not end in time")
        await self._record()
        self.report = self._judge()
        return self.report

    async def _record(self) -> None:
        path = self.plan.record
        for place, talk in enumerate(self.talks):
            heard, talk.heard = talk.heard, None
            if path is not None and heard:
                suffix = (f"-{self.number + 1}" if self.number else "") + (f".{place + 1}" if place else "")
                target = path.with_name(f"{path.stem}{suffix}{path.suffix}")
                await trio.to_thread.run_sync(write_heard, target, heard, talk.profile.playout)

    def _judge(self) -> CallReport:
        opened_at = self._opened_at
        more = self.line.judge()
        for talk in self.talks:
            for failure in talk.failures():
                self.fail(failure)
        return CallReport(
            number=self.number,
            failures=tuple(self._failures),
            set_up=None if opened_at is None else opened_at - self._dialled_at,
            duration=0.0 if opened_at is None else max((self._ended_at or clock()) - opened_at, 0.0),
            digits_sent=self.digits_sent,
            misbehaved=self._misbehaved,
            ended_by=self.ended_by,
            **figures(self.talks, opened_at or 0.0),
            **more,
        )


class SocketLine:
    """The one socket of all platforms but jambonz, and its audio."""

    def __init__(self, hub: Hub, url: str, caller: SimulatedCaller) -> None:
        plan = caller.plan
        assert not isinstance(plan.profile, ControlProfile)
        self._hub = hub
        self._url = url
        self._caller = caller
        self._profile = _profile_for(plan.profile, caller.number)
        voice = plan.voices.of(said_format(self._profile))
        place = caller.number * STRIDE
        self._talk = Talk(hub, self._profile, voice, place, self, records=plan.record is not None)
        self.talks = [self._talk]
        self._link: Link | None = None
        self._is_answered = False
        self._gone = trio.Event()

    async def run(self) -> None:
        """Dial, and wait for the end."""
        plan = self._caller.plan
        link = await open_platform_link(
            self._url,
            self._hub,
            self._talk,
            as_platform=plan.platform,
            profile=self._profile,
            settings=plan.dialling,
        )
        self._link = link
        self._talk.attach(link)
        now = clock()
        try:
            self._caller.opened(now)
            self._begin(now)
            await self._gone.wait()
        finally:
            self.drop()

    def _begin(self, now: float) -> None:
        """Start to talk, as soon as there is a link and the call is answered."""
        if self._link is not None and self._is_answered:
            self._caller.answered(now)
            self._talk.begin(now, self._caller.until)

    # The talk's side

    def hear_word(self, said: Said, now: float) -> None:
        """Take what the talk has heard."""
        match said:
            case c.Answer():
                self._is_answered = True
                self._begin(now)
            case c.HangUp() | c.Reject():
                self._caller.ended_by = "application"
            case e.PeerMisbehaved(reason=reason):
                self._caller.complain(f"the application misbehaved: {reason}")
            case e.SessionClosed():
                self._caller.ended(now, "application")

    def talk_closed(self) -> None:
        """Take note that the socket is gone."""
        self._gone.set()

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        self._caller.abandon(error)

    # The caller's side

    def press(self, digit: str) -> None:
        """Press a key."""
        self._talk.press(digit)

    def hang_up(self) -> None:
        """End the call."""
        self._talk.hang_up()

    def drop(self) -> None:
        """Cut the socket."""
        if self._link is not None and not self._link.is_gone:
            self._link.drop()

    def judge(self) -> dict[str, Any]:
        """Return how the socket was closed."""
        closed = self._talk.ended
        return {"close_code": closed.code if closed else None}


@runtime_checkable
class _Countable(Protocol):
    """A profile that can make others like it."""

    def for_call(self, number: int) -> Profile:
        """Return the profile of one of many calls, with ids of its own."""
        ...


def _profile_for(profile: Profile, number: int) -> Profile:
    return profile.for_call(number) if isinstance(profile, _Countable) else profile
