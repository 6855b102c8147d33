"""The platform's playout queue: what comes in, what the caller hears, and when."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callstream_core.audio import AudioFormat
from callstream_core.dialect import PlayoutTraits
from callstream_core.events import (
    BufferingCompleted,
    FlowPaused,
    FlowResumed,
    MarkReached,
    PeerMisbehaved,
    PlayoutDrained,
    StatusReported,
)
from callstream_core.outputs import FramePlayed
from callstream_core.playout import Played, Playout

TICK = 0.02
TRAITS = PlayoutTraits(
    format=AudioFormat(encoding="ulaw", rate=8000, frame_size=4, ptime=TICK),
    period=TICK,
    xoff_level=5,
    xon_level=3,
    max_queue=7,
)


def playout(**traits: Any) -> Playout:
    """Return a running playout whose ticks are multiples of its period."""
    made = Playout(attrs.evolve(TRAITS, **traits))
    made.start(0.0)
    return made


def frames(happened: list[Played]) -> list[bytes]:
    return [thing.data for thing in happened if isinstance(thing, FramePlayed)]


def test_it_plays_one_frame_per_tick() -> None:
    queue = playout()
    assert queue.add(b"aaaabbbb") == []
    assert queue.queue_length == 2
    assert queue.next_tick() == TICK
    assert queue.tick(TICK) == [FramePlayed(data=b"aaaa", at=TICK)]
    assert queue.tick(TICK) == []
    assert queue.tick(2 * TICK) == [FramePlayed(data=b"bbbb", at=2 * TICK)]
    assert queue.queue_length == 0
    assert queue.next_tick() is None


def test_it_does_nothing_while_it_is_stopped() -> None:
    queue = Playout(TRAITS)
    queue.add(b"aaaa")
    assert (queue.next_tick(), queue.tick(1.0)) == (None, [])
    queue.skip_idle(1.0)
    queue.start(1.0)
    assert queue.next_tick() == 1.0 + TICK
    queue.stop()
    assert (queue.next_tick(), queue.queue_length) == (None, 1)


def test_an_early_tick_is_none() -> None:
    queue = playout()
    queue.add(b"aaaa")
    assert queue.tick(TICK * 0.999) == []
    assert queue.next_tick() == TICK


def test_ticks_that_passed_are_served_in_order_and_the_grid_stays() -> None:
    queue = playout()
    queue.add(b"aaaabbbbcccc")
    assert queue.tick(2.5 * TICK) == [
        FramePlayed(data=b"aaaa", at=TICK),
        FramePlayed(data=b"bbbb", at=2 * TICK),
    ]
    assert queue.next_tick() == 3 * TICK


def test_late_ticks_can_be_merged() -> None:
    queue = playout(merges_ticks=True)
    queue.add(b"aaaabbbb")
    assert queue.tick(3.5 * TICK) == [FramePlayed(data=b"aaaa", at=3 * TICK)]
    assert queue.next_tick() == 4 * TICK


def test_missed_ticks_play_nothing() -> None:
    queue = playout()
    queue.tick(10 * TICK)
    queue.miss_ticks(2)
    # Idle ticks are nothing to lose.
    queue.tick(20 * TICK)
    queue.add(b"aaaa")
    assert queue.tick(22 * TICK) == []
    assert queue.tick(23 * TICK) == [FramePlayed(data=b"aaaa", at=23 * TICK)]


def test_what_comes_between_ticks_waits_for_the_next() -> None:
    queue = playout()
    queue.skip_idle(99.5 * TICK)
    queue.add(b"aaaa")
    assert queue.next_tick() == 100 * TICK


def test_what_comes_with_a_tick_is_served_by_it() -> None:
    queue = playout()
    queue.skip_idle(100 * TICK)
    queue.add(b"aaaa")
    assert queue.next_tick() == 100 * TICK


def test_a_tick_is_not_served_twice() -> None:
    queue = playout()
    queue.add(b"aaaa")
    queue.tick(TICK)
    queue.skip_idle(TICK)
    queue.add(b"bbbb")
    assert queue.next_tick() == 2 * TICK


@pytest.mark.parametrize("origin", [0.0, 1e-9, 123456.789, 1.8e9, 2.0**40])
@pytest.mark.parametrize("period", [TICK, 1 / 33, 1 / 3000])
def test_a_handled_tick_moves_on_any_clock(origin: float, period: float) -> None:
    queue = Playout(attrs.evolve(TRAITS, period=period, max_queue=None, xoff_level=None))
    queue.start(origin)
    queue.add(bytes(4 * 1000))
    for _ in range(1000):
        due = queue.next_tick()
        assert due is not None
        [frame] = queue.tick(due)
        assert isinstance(frame, FramePlayed)
        assert frame.at == due
    assert queue.next_tick() is None


@pytest.mark.parametrize("origin", [0.0, 123456.789, 1.8e9])
def test_the_instant_before_a_tick_is_too_early(origin: float) -> None:
    for n in range(1, 500):
        queue = Playout(TRAITS)
        queue.start(origin)
        queue.pass_until(origin + (n - 0.5) * TICK)
        queue.add(b"aaaa")
        due = queue.next_tick()
        assert due == origin + n * TICK
        assert queue.tick(math.nextafter(due, 0)) == []
        assert queue.tick(due) != []


def test_a_rest_of_a_frame_is_lost() -> None:
    queue = playout()
    assert queue.add(b"aaaab") == [PeerMisbehaved("1 bytes of audio dropped: not a whole frame of 4")]
    assert queue.add(b"bbb") == [PeerMisbehaved("3 bytes of audio dropped: not a whole frame of 4")]
    assert queue.add(b"") == []
    assert frames(queue.tick(1.0)) == [b"aaaa"]


def test_buffering_joins_messages() -> None:
    queue = playout()
    queue.is_buffering = True
    assert [queue.add(data) for data in (b"aa", b"", b"a", b"abbbbc", b"c")] == [[]] * 5
    assert queue.queue_length == 2
    assert queue.end_buffering(BufferingCompleted("x")) == []
    assert queue.queue_length == 3
    assert [frames(queue.tick(n * TICK)) for n in (1, 2, 3)] == [[b"aaaa"], [b"bbbb"], [b"cc"]]
    assert queue.tick(4 * TICK) == [BufferingCompleted("x")]


def test_notices_come_when_all_before_them_was_taken() -> None:
    queue = playout()
    queue.add_notice(MarkReached("a"))
    queue.add(b"aaaa")
    queue.add_notice(MarkReached("b"))
    queue.add_notice(MarkReached("c"))
    queue.reports_drained = True
    assert queue.queue_length == 1
    assert queue.tick(TICK) == [MarkReached("a"), FramePlayed(data=b"aaaa", at=TICK)]
    assert queue.tick(2 * TICK) == [MarkReached("b"), MarkReached("c")]
    assert queue.tick(3 * TICK) == [PlayoutDrained()]
    assert (queue.tick(4 * TICK), queue.next_tick()) == ([], None)


def test_full_and_empty() -> None:
    queue = playout()
    assert queue.add(b"aaaa" * 6) == [FlowPaused()]
    assert queue.add(b"aaaa" * 6) == []
    assert queue.queue_length == 12
    assert queue.add(b"aaaa") == [PeerMisbehaved("4 bytes of audio dropped: 12 frames are queued")]
    assert queue.status() == StatusReported(queue_length=12, xon_level=3, xoff_level=5, is_full=True)
    assert len(frames(queue.tick(10 * TICK))) == 10
    assert queue.tick(11 * TICK) == [FlowResumed(), FramePlayed(data=b"aaaa", at=11 * TICK)]
    assert not queue.is_full


def test_go_is_said_before_the_frame_of_its_tick() -> None:
    queue = playout()
    queue.add(b"aaaa" * 5)
    assert len(queue.tick(3 * TICK)) == 3
    assert queue.tick(4 * TICK) == [FlowResumed(), FramePlayed(data=b"aaaa", at=4 * TICK)]


def test_a_flush_keeps_pause_fullness_and_the_wanted_report() -> None:
    queue = playout()
    queue.is_buffering = queue.is_paused = queue.reports_drained = True
    queue.add(b"aaaa" * 5 + b"a")
    queue.add_notice(MarkReached("a"))
    queue.flush()
    assert queue.status() == StatusReported(
        queue_length=0, xon_level=3, xoff_level=5, is_full=True, is_paused=True, is_buffering=False
    )
    assert (queue.next_tick(), queue.tick(TICK)) == (None, [])
    queue.is_paused = False
    assert queue.tick(2 * TICK) == [FlowResumed(), PlayoutDrained()]


def test_packets_are_queued_as_they_come() -> None:
    queue = playout(is_packets=True, pads_short_frames=True)
    assert queue.add(b"aaaaaaaaa") == []
    assert queue.add(b"") == []
    assert frames(queue.tick(2 * TICK)) == [b"aaaaaaaaa", b""]


def test_silence_fills_idle_ticks_and_short_frames() -> None:
    queue = playout(fills_silence=True, pads_short_frames=True)
    queue.is_buffering = True
    queue.add(b"a")
    assert queue.next_tick() == TICK
    assert frames(queue.tick(TICK)) == [bytes(320)]
    queue.end_buffering(MarkReached("a"))
    assert queue.tick(2 * TICK) == [FramePlayed(data=b"a\xff\xff\xff", at=2 * TICK)]
    assert queue.tick(3 * TICK) == [MarkReached("a"), FramePlayed(data=bytes(320), at=3 * TICK)]


def test_an_unfinished_frame_may_leak() -> None:
    queue = playout(leaks_leftover=True)
    queue.is_buffering = queue.is_paused = True
    queue.add(b"aaaab")
    assert queue.next_tick() == TICK
    assert frames(queue.tick(TICK)) == [b"b"]
    assert queue.next_tick() is None
    queue.is_paused = False
    queue.reports_drained = True
    queue.add(b"c")
    assert frames(queue.tick(2 * TICK)) == [b"aaaa"]
    assert queue.tick(3 * TICK) == [PlayoutDrained(), FramePlayed(data=b"c", at=3 * TICK)]


def test_without_levels_it_never_says_stop() -> None:
    queue = playout(xoff_level=None, xon_level=None, max_queue=None)
    assert queue.add(b"aaaa" * 5000) == []
    assert not queue.is_full


def test_without_a_level_to_go_it_stays_full() -> None:
    queue = playout(xon_level=None)
    assert queue.add(b"aaaa" * 5) == [FlowPaused()]
    assert len(frames(queue.tick(6 * TICK))) == 5
    assert queue.is_full


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 9), st.booleans())
def test_buffered_audio_comes_out_whole_however_it_is_cut(messages: list[bytes], size: int, late: bool) -> None:
    queue = playout(
        format=attrs.evolve(TRAITS.format, frame_size=size), max_queue=None, xoff_level=None, xon_level=None
    )
    queue.is_buffering = True
    for message in messages:
        assert queue.add(message) == []
    queue.end_buffering(BufferingCompleted())
    whole = b"".join(messages)
    played = frames(queue.tick(1e4) if late else [thing for n in range(700) for thing in queue.tick(n * TICK)])
    assert b"".join(played) == whole
    assert [len(frame) for frame in played[:-1]] == [size] * (len(played) - 1)


class PlayoutMachine(RuleBasedStateMachine):
    """A playout beside a model that knows only the stated rules."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = playout(max_queue=9)
        self.now = 0.0
        self.expected: list[bytes | MarkReached] = []
        self.marks = 0
        self.sent = 0

    @rule(size=st.integers(0, 14))
    def sends_audio(self, size: int) -> None:
        length = self.queue.queue_length
        data = bytes(n % 251 for n in range(self.sent, self.sent + size))
        self.sent += size
        self.queue.skip_idle(self.now)
        happened = self.queue.add(data)
        if length < 9:
            self.expected += [data[at : at + 4] for at in range(0, size - size % 4, 4)]
        assert (PeerMisbehaved in map(type, happened)) == (length >= 9 or size % 4 > 0)

    @rule()
    def places_a_mark(self) -> None:
        self.marks += 1
        self.queue.skip_idle(self.now)
        self.queue.add_notice(mark := MarkReached(str(self.marks)))
        self.expected.append(mark)

    @rule()
    def flushes(self) -> None:
        self.queue.flush()
        self.expected.clear()

    @rule(is_paused=st.booleans())
    def pauses(self, is_paused: bool) -> None:
        self.queue.skip_idle(self.now)
        self.queue.is_paused = is_paused

    @rule()
    def wants_a_report(self) -> None:
        self.queue.skip_idle(self.now)
        self.queue.reports_drained = True

    @rule(count=st.integers(1, 5))
    def loses_ticks(self, count: int) -> None:
        self.queue.miss_ticks(count)

    @rule(passed=st.floats(0, 6 * TICK))
    def time_passes(self, passed: float) -> None:
        self.now += passed
        self.heard(self.queue.tick(self.now))
        due = self.queue.next_tick()
        assert due is None or due > self.now

    @precondition(lambda self: self.queue.next_tick() is not None)
    @rule()
    def a_tick_is_handled(self) -> None:
        due = self.queue.next_tick()
        assume(due is not None)
        assert due is not None
        self.now = max(self.now, due)
        self.heard(self.queue.tick(self.now))
        after = self.queue.next_tick()
        assert after is None or after > due

    def heard(self, happened: list[Played]) -> None:
        for thing in happened:
            if isinstance(thing, FramePlayed | MarkReached):
                said = thing.data if isinstance(thing, FramePlayed) else thing
                assert said == self.expected.pop(0)
            elif isinstance(thing, PlayoutDrained):
                assert not self.expected

    @invariant()
    def counts_are_right(self) -> None:
        queue = self.queue
        assert queue.queue_length == sum(isinstance(item, bytes) for item in self.expected)
        assert queue.queue_length < 9 + 4
        wants = bool(self.expected) or queue.is_full or queue.reports_drained
        assert (queue.next_tick() is not None) == (wants and not queue.is_paused)


TestPlayoutMachine = PlayoutMachine.TestCase
TestPlayoutMachine.settings = settings(deadline=None)
