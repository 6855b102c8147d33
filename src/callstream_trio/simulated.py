"""One simulated caller: what it does and when, and what is made of what it hears."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.closing import reason_of
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_core.outputs import FramePlayed
from callstream_core.pacer import Pacer
from callstream_core.platform_session import PlatformSession
from callstream_trio.dial import DialFailed, DialSettings, open_platform_link
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link, Said
from callstream_trio.report import CallReport, EchoCheck, Meter, Spread
from callstream_trio.sound import write_heard
from callstream_trio.voice import Voice

# Between two calls' places in the test signal: audio that reaches the wrong call shows as damaged.
_STRIDE = 37
_DIGIT_INTERVAL = 0.5
_COMMA = 1.0
_MAX_NOTES = 20


@attrs.frozen(kw_only=True)
class CallPlan:
    """What each simulated caller does."""

    platform: str = "asterisk"
    profile: Profile = attrs.field(factory=AsteriskProfile)
    voice: Voice | None = None
    """What it says; None for the test signal."""
    digits: str = ""
    """Keys it presses, half a second apart, from one second after the answer on; a comma waits a second more."""
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
        times: list[tuple[float, str]] = []
        at = 1.0
        for key in self.digits:
            if key == ",":
                at += _COMMA
            else:
                times.append((at, key))
                at += _DIGIT_INTERVAL
        return times


class SimulatedCaller:
    """One call: owner of its link, and one of the hub's deadlines of its own for what it says when."""

    def __init__(self, hub: Hub, url: str, plan: CallPlan, voice: Voice, number: int) -> None:
        self.number = number
        self.scheduled: float | None = None
        self.report: CallReport | None = None
        """The outcome, once the call is over."""
        self.frames_sent = 0
        self.digits_sent = 0
        self.echo = EchoCheck(voice, number * _STRIDE)
        self._hub = hub
        self._url = url
        self._plan = plan
        self._profile = _profile_for(plan.profile, number)
        opening = self._profile.opening()
        traits = self._profile.playout
        self.meter = Meter(
            opening.caller_format,
            is_packets=traits.is_packets,
            period=traits.period,
            silence=bytes(2 * traits.format.frame_samples) if traits.fills_silence else None,
        )
        audio = opening.caller_format
        self._pacer = Pacer(audio.ptime, max_burst_packets=1000)
        self._frames = 0 if self._profile.direction is e.Direction.OUT else round(plan.duration / audio.ptime)
        self._digits = plan.digit_times
        self._tracks = self._profile.tracks
        self._heard: list[FramePlayed] | None = [] if plan.record else None
        self._link: Link | None = None
        self._dialled_at = self._opened_at = self._ended_at = 0.0
        self._is_answered = False
        self._is_interrupted = False
        self._started_at: float | None = None
        self._closed: e.SessionClosed | None = None
        self._ended_by = ""
        self._failures: list[str] = []
        self._misbehaved = 0
        self._gone = trio.Event()

    @property
    def state(self) -> str:
        """Where the call stands, in a word."""
        if self.report is not None:
            return "ok" if self.report.is_ok else "failed"
        if self._link is None:
            return "dialling"
        return "talking" if self._started_at is not None else "ringing"

    # The link's side

    def hear(self, said: Said, now: float) -> tuple[()]:
        """Take what the session heard."""
        kind = type(said)
        if kind is c.SendAudio:
            pieces = self.meter.pieces(said.data)  # type: ignore[union-attr]
            self.meter.arrived(said.data, len(pieces), now)  # type: ignore[union-attr]
            for piece in pieces:
                self.echo.take(piece)
        elif kind is FramePlayed:
            self.meter.played(said)  # type: ignore[arg-type]
            if self._heard is not None:
                self._heard.append(said)  # type: ignore[arg-type]
        else:
            self._hear_word(said, now)
        return ()

    def _hear_word(self, said: Said, now: float) -> None:
        match said:
            case c.Answer():
                self._is_answered = True
                self._begin(now)
            case c.PlaceMark() | c.StopBuffering():
                self.meter.marked(self._queue_length())
            case c.ClearPlayout():
                self.meter.cleared()
            case c.HangUp() | c.Reject():
                self._ended_by = "application"
            case e.PeerMisbehaved(reason=reason):
                self._misbehaved += 1
                self._fail(f"the application misbehaved: {reason}")
            case e.SessionClosed():
                self._closed = said
                self._ended_at = now
                self._ended_by = self._ended_by or "application"
                self.meter.finish()

    def refused(self) -> None:
        """Nothing is said in reply here."""

    def closed(self) -> None:
        """Take note that the socket is gone."""
        self._gone.set()

    def _fail(self, reason: str) -> None:
        if len(self._failures) < _MAX_NOTES and reason not in self._failures:
            self._failures.append(reason)

    def _queue_length(self) -> int:
        session = self._link.session if self._link else None
        return session.playout.queue_length if isinstance(session, PlatformSession) else 0

    # What the caller does, in the hub

    def _begin(self, now: float) -> None:
        """Start to talk, as soon as there is a link and the call is answered."""
        if self._link is not None and self._is_answered and self._started_at is None:
            self._started_at = now
            self._pacer.begin(now)
            self._schedule(now)

    def _schedule(self, now: float) -> None:
        start = self._opened_at if self._started_at is None else self._started_at
        times = [start + self._plan.duration]
        if times[0] <= now:
            # Only the end is left: look again when the next frame may have come back.
            times = [now + self.meter.audio.ptime]
        if self._started_at is not None:
            if self.frames_sent < self._frames:
                times.append(self._pacer.next_due)
            if self._digits:
                times.append(start + self._digits[0][0])
        deadline = min(times)
        if self.scheduled is None or deadline < self.scheduled:
            self._hub.schedule(self, deadline)

    def handle_deadline(self, now: float) -> None:
        """Say what is due."""
        if self._closed is not None or self._link is None:
            return
        start = self._started_at
        if start is not None:
            self._talk(now, start)
        end = (self._opened_at if start is None else start) + self._plan.duration
        if now < end or (start is not None and not self._may_end(now, end)):
            self._schedule(now)
            return
        if start is None:
            self._fail("the application never answered the call")
        self._hang_up()

    def interrupt(self) -> None:
        """Hang up before the time has come."""
        if self.report is None:
            self._fail("the call was interrupted")
            self._is_interrupted = True
            self._hang_up()

    def _hang_up(self) -> None:
        if self._link is not None and self._closed is None:
            self._ended_by = "caller"
            self._link.say(e.SessionEnding())

    def _talk(self, now: float, start: float) -> None:
        link = self._link
        assert link is not None
        for _ in range(self._pacer.take(now, self._frames - self.frames_sent)):
            said = self.frames_sent
            frame = self.echo.frame(said)
            self.frames_sent += 1
            self.echo.sent = self.frames_sent
            for place, track in enumerate(self._tracks):
                # Each party has its own place in the signal, too.
                link.say(e.AudioReceived(frame if place == 0 else self.echo.frame(said + place * _STRIDE), track))
                if self._closed is not None:
                    return
        while self._digits and start + self._digits[0][0] <= now:
            link.say(e.DigitReceived(self._digits.pop(0)[1]))
            self.digits_sent += 1

    def _may_end(self, now: float, end: float) -> bool:
        """Whether everything was said and, by an echo, given back."""
        is_said = self.frames_sent == self._frames and not self._digits
        has_time = now < end + self._plan.echo_patience
        if self.echo.is_echo and has_time:
            # A frame that has arrived is played within two ticks.
            return is_said and self.echo.is_complete and not self._queue_length()
        return is_said

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        self._fail(f"the simulated caller failed: {error!r}")
        if self._link is not None:
            self._link.drop()

    # The task around it

    async def run(self) -> CallReport:
        """Dial, wait for the end, and judge. Always ends."""
        plan = self._plan
        self._dialled_at = clock()
        try:
            link = await open_platform_link(
                self._url,
                self._hub,
                self,
                as_platform=plan.platform,
                profile=self._profile,
                settings=plan.dialling,
            )
        except DialFailed as error:
            self._fail(str(error))
        else:
            self._link = link
            self._opened_at = clock()
            self._begin(self._opened_at)
            if self._is_interrupted:
                self._hang_up()
            if self._closed is None:
                self._schedule(self._opened_at)
            with trio.move_on_after(plan.duration + plan.echo_patience + plan.margin):
                await self._gone.wait()
            if not link.is_gone:
                self._fail("the call did not end in time")
                link.drop()
        if self._heard and plan.record:
            path = plan.record if self.number == 0 else plan.record.with_stem(f"{plan.record.stem}-{self.number + 1}")
            await trio.to_thread.run_sync(write_heard, path, self._heard, self._profile.playout)
            self._heard = None
        self.report = self._judge()
        return self.report

    def _judge(self) -> CallReport:
        meter, echo, link, closed = self.meter, self.echo, self._link, self._closed
        is_echo = echo.is_echo
        # Whoever is hung up on cannot expect his last words back.
        is_over = self._ended_by == "caller" and not self._is_interrupted
        lost = echo.lost(has_ended=is_over) if is_echo else 0
        if lost:
            self._fail(f"the echo lost {'a frame' if lost == 1 else 'frames'}")
        if is_echo and echo.foreign:
            self._fail("the echo damaged what it gave back")
        if closed is not None and link is not None:
            self._judge_end(closed, link)
        samples = meter.lateness(is_steady=is_echo)
        first = meter.first_arrival
        return CallReport(
            number=self.number,
            failures=tuple(self._failures),
            set_up=self._opened_at - self._dialled_at if link else None,
            first_audio=max(first - self._opened_at, 0.0) if first is not None else None,
            duration=max(self._ended_at - self._opened_at, 0.0) if link else 0.0,
            frames_sent=self.frames_sent * len(self._tracks),
            frames_received=meter.frames_received,
            frames_played=meter.frames_played,
            gaps=meter.gaps(is_steady=is_echo),
            marks_placed=meter.marks_placed,
            marks_answered=meter.marks_answered,
            digits_sent=self.digits_sent,
            misbehaved=self._misbehaved,
            ended_by=self._ended_by,
            close_code=closed.code if closed else None,
            is_echo=is_echo,
            echo_intact=echo.intact if is_echo else 0,
            echo_lost=lost,
            echo_damaged=echo.foreign if is_echo else 0,
            lateness=Spread.of(samples),
            samples=samples,
        )

    def _judge_end(self, closed: e.SessionClosed, link: Link) -> None:
        if self._ended_by == "caller":
            if not link.is_close_heard:
                self._fail("the application did not answer the close of the WebSocket")
        elif closed.initiator is e.Side.PLATFORM:
            self._fail(f"the application broke the WebSocket: {closed.reason} (close code {closed.code})")
        elif closed.code is None:
            self._fail(f"the connection was lost: {closed.reason}")
        elif closed.code not in (1000, 1005):
            self._fail(f"the application closed with {closed.code}: {reason_of(closed.code, closed.reason)}")


@runtime_checkable
class _Countable(Protocol):
    """A profile that can make others like it."""

    def for_call(self, number: int) -> Profile:
        """Return the profile of one of many calls, with ids of its own."""
        ...


def _profile_for(profile: Profile, number: int) -> Profile:
    return profile.for_call(number) if isinstance(profile, _Countable) else profile
