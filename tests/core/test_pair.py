"""Both ends of a call at once: whatever they do to each other, audio, marks and ends stay in order."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.asterisk import DIALECT, AsteriskProfile, Generation, Syntax
from callstream_core.errors import LocalProtocolError, PendingAudioFull
from callstream_core.limits import PlayoutSettings
from callstream_core.machine import State
from callstream_core.platform_session import PlatformSession
from tests.pair import Pair

MAX_QUEUE = 1000


def profiles() -> list[AsteriskProfile]:
    """Every generation, in both syntaxes where it has both, framed and passed through."""
    found = []
    for generation in Generation:
        for syntax in Syntax:
            if syntax is Syntax.JSON and generation < Generation.G3:
                continue
            for format, passthrough in (("ulaw", False), ("slin16", False), ("opus", False), ("ulaw", True)):
                found.append(
                    AsteriskProfile(generation=generation, syntax=syntax, format=format, passthrough=passthrough)
                )
    return [*found, AsteriskProfile(format="g723"), AsteriskProfile(format="gsm", syntax=Syntax.JSON)]


def content(start: int, size: int) -> bytes:
    """Return a part of an endless stream in which no two frames are alike, and none is silence."""
    first, last = start // 4, (start + size) // 4 + 1
    words = b"".join((0x01000000 + word).to_bytes(4) for word in range(first, last))
    return words[start - 4 * first : start - 4 * first + size]


@attrs.define
class Stretch:
    """What the application said between two clears, in frames or packets."""

    frames: list[bytes] = attrs.field(factory=list)
    boundaries: list[int] = attrs.field(factory=lambda: [0])
    begun: bytes = b""
    marks: list[str] = attrs.field(factory=list)


@attrs.define
class Reply:
    """The model: what the application has said, frame by frame."""

    frame_size: int
    silence: bytes
    stretches: list[Stretch] = attrs.field(factory=lambda: [Stretch()])
    size: int = 0

    @property
    def last(self) -> Stretch:
        return self.stretches[-1]

    def say(self, data: bytes) -> None:
        self.size += len(data)
        if not self.frame_size:
            self.last.frames += [data] if data else []
            return
        data = self.last.begun + data
        end = len(data) - len(data) % self.frame_size
        self.last.frames += [data[at : at + self.frame_size] for at in range(0, end, self.frame_size)]
        self.last.begun = data[end:]

    def end_utterance(self) -> None:
        if self.last.begun:
            self.last.frames.append(self.last.begun.ljust(self.frame_size, self.silence))
            self.last.begun = b""
        self.last.boundaries.append(len(self.last.frames))

    def clear(self) -> None:
        self.stretches.append(Stretch())

    def heard(self, played: list[bytes]) -> list[int]:
        """Check that of each stretch a beginning was played, in order, and nothing else; return how much."""
        counts, at = [], 0
        for stretch in self.stretches:
            count = 0
            while at < len(played) and count < len(stretch.frames) and played[at] == stretch.frames[count]:
                at += 1
                count += 1
            counts.append(count)
        assert at == len(played), f"frame {at} of {len(played)} was never said, or is out of order"
        return counts


class TwoEnds(RuleBasedStateMachine):
    """Speaks, marks, clears, pauses, waits and hangs up at will."""

    steps = 0
    max_queue = MAX_QUEUE
    hang_up_word: type = c.HangUp

    @initialize(
        profile=st.sampled_from(profiles()),
        send_ahead=st.sampled_from([None, 0.1, 1.0]),
        delay=st.sampled_from([0.0, 0.003, 0.05, 0.3]),
        status_interval=st.sampled_from([None, 5.0]),
        knows_profile=st.booleans(),
        start=st.sampled_from([0.0, 12345.678]),
    )
    def start(
        self,
        profile: AsteriskProfile,
        send_ahead: float | None,
        delay: float,
        status_interval: float | None,
        knows_profile: bool,
        start: float,
    ) -> None:
        self.profile = profile
        if profile.format == "g723":
            # Asterisk's ticks are 1 % too long for it: only questions for the queue level keep the ledger right.
            status_interval = 5.0
        # Generation 2 ignores marks, and option `p` shows nowhere: only a profile tells.
        self.is_known = knows_profile or profile.generation is Generation.G2 or profile.passthrough
        self.begin(
            AppSession(
                DIALECT,
                profile if self.is_known else None,
                settings=PlayoutSettings(send_ahead=send_ahead, status_interval=status_interval),
                now=start,
            ),
            delay,
            start,
        )

    def begin(self, app: AppSession, delay: float, start: float) -> None:
        self.pair = Pair(app, PlatformSession(app.dialect, self.profile), delay=delay, now=start)
        self.pair.open()
        audio = self.profile.audio
        self.is_packets = self.profile.playout.is_packets
        self.frame_size = 0 if self.is_packets else audio.frame_size
        self.rate = 1 / audio.ptime
        self.reply = Reply(self.frame_size, audio.silence(1))
        self.marks: list[str] = []
        self.clears = 0
        self.caller_audio: list[bytes] = []
        self.digits = ""
        self.disturbances = 0
        self.is_dropped = False
        self.finishing_at: float | None = None
        self.has_lagged = False

    @property
    def app(self) -> AppSession:
        return self.pair.app

    def is_open(self) -> bool:
        return hasattr(self, "pair") and self.app.state is State.OPEN

    def played(self) -> list[bytes]:
        silence = bytes(2 * self.profile.audio.frame_samples) if self.profile.playout.fills_silence else None
        return [frame.data for frame in self.pair.played if frame.data != silence]

    # What the application does

    @precondition(is_open)
    @rule(
        pieces=st.lists(
            st.one_of(st.integers(0, 3000), st.sampled_from([1, 159, 160, 161, 640, 8000, 8001])),
            min_size=1,
            max_size=5,
        )
    )
    def speak(self, pieces: list[int]) -> None:
        for size in pieces:
            if self.is_packets:
                size %= 400
            data = content(self.reply.size, size)
            try:
                self.pair.say(c.SendAudio(data))
            except PendingAudioFull:
                assert self.app.room < len(data)
            except LocalProtocolError:
                assert self.app.direction is e.Direction.IN
            else:
                self.reply.say(data)

    @precondition(is_open)
    @rule(seconds=st.sampled_from([0.5, 2.0, 21.0]), is_real_time=st.booleans())
    def speak_at_length(self, seconds: float, is_real_time: bool) -> None:
        for _ in range(round(seconds * self.rate)):
            self.speak([self.frame_size or 80])
            if is_real_time:
                self.pair.run(1 / self.rate)
                if not self.is_open():
                    return

    @precondition(is_open)
    @rule(name=st.none() | st.sampled_from("abc"))
    def end_utterance(self, name: str | None) -> None:
        try:
            self.pair.say(c.EndUtterance(name))
        except LocalProtocolError:
            assert name is not None
            assert self.app.direction is e.Direction.IN
        else:
            self.reply.end_utterance()
            if name is not None:
                self.marks.append(name)

    @precondition(is_open)
    @rule(names=st.lists(st.sampled_from(["a", "b", "c", "last word"]), min_size=1, max_size=3))
    def mark(self, names: list[str]) -> None:
        assume(self.app.direction is not e.Direction.IN)
        for name in names:
            self.pair.say(c.PlaceMark(name))
            self.marks.append(name)

    @precondition(is_open)
    @rule(times=st.integers(1, 3))
    def clear(self, times: int) -> None:
        for _ in range(times):
            self.clears += 1
            self.pair.say(c.ClearPlayout())
            self.reply.clear()
        assert self.app.pending == 0
        assert not self.app.is_flow_paused or self.is_packets

    # Generation 1 does not understand it, and does not say so.
    @precondition(lambda self: self.is_open() and self.profile.generation is not Generation.G1)
    @rule(command=st.sampled_from([c.PausePlayout(), c.ResumePlayout()]))
    def pause_or_resume(self, command: c.Command) -> None:
        assume(self.app.direction is not e.Direction.IN)
        self.disturbances += 1
        self.pair.say(command)

    @precondition(is_open)
    @rule(command=st.sampled_from([c.RequestStatus(), c.ReportDrained()]), times=st.integers(1, 3))
    def ask(self, command: c.Command, times: int) -> None:
        for _ in range(times):
            self.pair.say(command)

    @precondition(lambda self: self.is_open() and self.app.capabilities.has_direction)
    @rule(direction=st.sampled_from(e.Direction))
    def set_direction(self, direction: e.Direction) -> None:
        assume(self.profile.generation >= Generation.G4)
        self.disturbances += 1
        self.pair.say(c.SetDirection(direction))

    @precondition(lambda self: self.is_open() and self.steps > 12)
    @rule(when=st.sampled_from(c.When))
    def hang_up(self, when: c.When) -> None:
        assume(self.app.direction is not e.Direction.IN or when is c.When.NOW)
        if when is c.When.AFTER_PLAYOUT:
            self.finishing_at = self.pair.now
            self.has_lagged = self.pair.app_lag > 0
            self.reply.end_utterance()
        self.pair.say(c.HangUp(when))

    # What the platform and the wire do

    @precondition(lambda self: hasattr(self, "pair") and self.pair.platform.state is State.OPEN)
    @rule(size=st.sampled_from([0, 50, 160, 240]), digit=st.sampled_from(["", "1", "#"]))
    def caller_speaks(self, size: int, digit: str) -> None:
        data = b"%d" % len(self.caller_audio) + bytes(size)
        self.pair.say_event(e.AudioReceived(data))
        if self.pair.platform.direction is not e.Direction.OUT:
            self.caller_audio.append(data)
        if digit:
            self.digits += digit
            self.pair.say_event(e.DigitReceived(digit))

    @precondition(lambda self: hasattr(self, "pair") and self.pair.platform.state is State.OPEN and self.steps > 20)
    @rule(is_dropped=st.booleans())
    def caller_hangs_up(self, is_dropped: bool) -> None:
        self.is_dropped = True
        if is_dropped:
            self.pair.drop()
        else:
            self.pair.say_event(e.SessionEnding())

    @precondition(lambda self: hasattr(self, "pair"))
    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.2, 1.0, 5.0]) | st.floats(0, 0.3))
    def wait(self, seconds: float) -> None:
        self.pair.run(seconds)

    @precondition(lambda self: hasattr(self, "pair"))
    @rule(lag=st.sampled_from([0.0, 0.0, 0.004, 0.03, 0.2]))
    def wake_late(self, lag: float) -> None:
        self.pair.app_lag = lag
        self.has_lagged = self.has_lagged or lag > 0

    @precondition(lambda self: hasattr(self, "pair"))
    @rule()
    def wake_early(self) -> None:
        due = self.app.next_timeout()
        assume(due is None or due > self.pair.now)
        assert self.app.handle_timeout(self.pair.now) == []

    # What must hold

    @invariant()
    def a_step_is_taken(self) -> None:
        self.steps += 1

    @invariant()
    def queues_stay_under_their_limits(self) -> None:
        if hasattr(self, "pair"):
            limits = self.app.limits
            assert self.pair.platform.playout.queue_length < self.max_queue
            assert self.app.pending <= limits.max_pending_audio

    @invariant()
    def the_heard_position_is_what_was_played(self) -> None:
        if not self.is_open() or self.is_packets or self.clears or self.pair.app_lag:
            return
        played = len(self.played()) / self.rate
        # News takes the wire's delay, and playout moves by ticks. A pause may fall anywhere between two of these.
        slack = (2 + 2 * self.disturbances) / self.rate + 2 * self.pair.delay
        assert abs(self.app.heard(self.pair.now) - played) <= slack + 0.01 * played

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.end()
            self.check_the_end()

    def end(self) -> None:
        pair = self.pair
        pair.app_lag = 0.0
        if self.app.state is State.OPEN:
            if self.app.direction is e.Direction.IN:
                pair.say(c.SetDirection(e.Direction.BOTH))
            self.finishing_at = pair.now
            self.has_lagged = False
            self.reply.end_utterance()
            pair.say(c.HangUp(c.When.AFTER_PLAYOUT))
        # Longer than anything that can wait to be played.
        waiting = self.app.backlog(pair.now) + 1100 / self.rate
        assert pair.run_until(lambda: self.app.state is State.CLOSED, pair.now + waiting), "the application's end stays"
        assert pair.run_until(lambda: pair.platform.state is State.CLOSED, pair.now + 10), "the platform's end stays"

    def check_the_end(self) -> None:
        pair = self.pair
        for end, heard in ((self.app, pair.heard_by_app), (pair.platform, pair.heard_by_platform)):
            assert isinstance(heard[-1][1], e.SessionClosed)
            assert sum(isinstance(output, e.SessionClosed) for _, output in heard) == 1
            assert end.next_timeout() is None
            assert end.handle_timeout(pair.now + 1) == []
        marks = pair.app_heard(e.MarkReached)
        assert [mark.name for mark in marks if isinstance(mark, e.MarkReached)] == self.marks
        assert len(pair.app_heard(e.PlayoutCleared)) == self.clears
        for said in (pair.app_heard(e.PeerMisbehaved), pair.platform_heard(e.PeerMisbehaved)):
            assert not said or self.may_complain()
            assert not any("dropped" in str(reason) for reason in said)
        caller_audio = [said.data for said in pair.app_heard(e.AudioReceived) if isinstance(said, e.AudioReceived)]
        digits = [said.digit for said in pair.app_heard(e.DigitReceived) if isinstance(said, e.DigitReceived)]
        assert caller_audio == self.caller_audio[: len(caller_audio)]
        assert digits == list(self.digits[: len(digits)])
        counts = self.reply.heard(self.played())
        self.check_clears(counts)
        if self.finishing_at is not None and not self.is_dropped:
            assert counts[-1] == len(self.reply.last.frames), "the goodbye was cut"
            self.check_hang_up(self.finishing_at)

    def may_complain(self) -> bool:
        return self.profile.generation < Generation.G3

    def check_clears(self, counts: list[int]) -> None:
        for stretch, count, cleared in zip(
            self.reply.stretches, counts, self.pair.app_heard(e.PlayoutCleared), strict=False
        ):
            assert isinstance(cleared, e.PlayoutCleared)
            if not cleared.is_estimated and not self.is_packets:
                start = max(b for b in stretch.boundaries if b <= count and (b < len(stretch.frames) or not b))
                begun = len(stretch.begun) / self.frame_size
                assert cleared.heard == pytest.approx((count - start) / self.rate)
                assert cleared.discarded == pytest.approx((len(stretch.frames) + begun - count) / self.rate)

    def check_hang_up(self, finishing_at: float) -> None:
        hung_up = [at for at, said in self.pair.heard_by_platform if isinstance(said, self.hang_up_word)]
        assert len(hung_up) == 1
        last = [frame.at for frame in self.pair.played if [frame.data] == self.reply.last.frames[-1:]][-1:]
        if last and not self.has_lagged:
            # An empty queue shows with the second tick after the last frame, where a mark takes the first.
            patience = max(0.05, 2.1 / self.rate)
            # The news of it goes to us, and the hang-up back; who asks only afterwards asks first.
            delay = self.pair.delay
            assert hung_up[0] <= max(last[0] + 2 * delay, finishing_at + 3 * delay) + patience


PAIR_SETTINGS = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.slow
def test_two_ends_whatever_they_do() -> None:
    run_state_machine_as_test(TwoEnds, settings=PAIR_SETTINGS)
