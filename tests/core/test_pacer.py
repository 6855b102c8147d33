"""Packets leave on an absolute grid: no drift, no rush, no packet twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core.pacer import Pacer

PTIME = 0.02
QUICK = settings(derandomize=True, deadline=None, max_examples=200)
wakes = st.lists(st.floats(0, 0.3) | st.sampled_from([0.0, PTIME, PTIME / 2, 3 * PTIME]), max_size=60)


@QUICK
@given(wakes=wakes, start=st.sampled_from([0.0, 1e6 / 7, -3.3]))
def test_while_audio_waits_each_slot_is_taken_once_whenever_we_wake(wakes: list[float], start: float) -> None:
    pacer = Pacer(PTIME, max_burst_packets=10**6)
    pacer.begin(start)
    now, taken = start, 0
    for wait in [0.0, *wakes]:
        now += wait
        taken += pacer.take(now, 10**6)
        assert pacer.take(now, 10**6) == 0
        # The grid has not moved: as many packets as slots have begun.
        assert abs(taken - ((now - start) / PTIME + 1)) <= 1 + 1e-6
        assert pacer.next_due == pytest.approx(start + taken * PTIME)
        assert pacer.next_due > now


@QUICK
@given(wakes=wakes, burst=st.integers(2, 5))
def test_catching_up_is_bounded_and_complete(wakes: list[float], burst: int) -> None:
    pacer = Pacer(PTIME, max_burst_packets=burst)
    pacer.begin(0.0)
    now, taken, capped_at = 0.0, 0, -1.0
    for wait in [*wakes, *[PTIME] * 2000]:
        now += wait
        count = pacer.take(now, 10**6)
        taken += count
        assert count <= burst
        if count:
            # Behind a burst there is a rest.
            assert now >= capped_at + PTIME - 1e-9
        if count == burst:
            capped_at = now if pacer.next_due >= now + PTIME - 1e-9 and (taken + 1) * PTIME <= now else capped_at
    assert taken == pytest.approx(now / PTIME + 1, abs=1 + 1e-6)


@QUICK
@given(gaps=st.lists(st.floats(0, 0.1), min_size=1, max_size=40))
def test_packets_that_come_singly_are_never_rushed(gaps: list[float]) -> None:
    pacer = Pacer(PTIME, max_burst_packets=64)
    now, times = 0.0, []
    for gap in gaps:
        now += gap
        pacer.begin(now)
        now = max(now, pacer.next_due)
        assert pacer.take(now, 1) == 1
        times.append(now)
    for first, second, third in zip(times, times[1:], times[2:], strict=False):
        assert third - second >= -1e-9
        assert third - first >= PTIME - 1e-6


@QUICK
@given(counts=st.lists(st.integers(1, 9), max_size=20), start=st.sampled_from([0.0, 1e6 / 7, -3.3]))
def test_slots_that_are_skipped_are_used_up(counts: list[int], start: float) -> None:
    skipping, taking = (Pacer(PTIME, max_burst_packets=64) for _ in range(2))
    for pacer in (skipping, taking):
        pacer.begin(start)
    for count in counts:
        for _ in range(count):
            assert taking.take(taking.next_due, 1) == 1
        skipping.skip(count, taking.next_due - 1e-12)
        # The grid is as it was, and a number that differs in its last digits is on time.
        assert skipping.take(skipping.next_due, 1) == taking.take(taking.next_due, 1)
        assert skipping.next_due == taking.next_due


def test_early_is_nothing_and_late_is_everything_due() -> None:
    pacer = Pacer(PTIME, max_burst_packets=64)
    pacer.begin(1.0)
    assert pacer.take(1.0, 9) == 1
    assert pacer.take(1.019, 9) == 0
    assert pacer.take(1.021, 9) == 1
    assert pacer.take(1.111, 9) == 4
    assert pacer.next_due == pytest.approx(1.12)
    assert pacer.take(1.5, 3) == 3


def test_after_a_pause_there_is_no_rush_and_no_hurry() -> None:
    pacer = Pacer(PTIME, max_burst_packets=64)
    pacer.begin(1.0)
    pacer.take(1.0, 9)
    # Shorter than a slot: the grid stays.
    pacer.resume(1.01)
    assert pacer.next_due == pytest.approx(1.02)
    pacer.resume(1.5)
    assert pacer.take(1.5, 9) == 1
    assert pacer.take(1.5, 9) == 0
    pacer.begin(1.53)
    assert pacer.next_due == pytest.approx(1.52)
    pacer.begin(1.54)
    assert pacer.next_due == pytest.approx(1.54)


def test_behind_a_capped_burst_there_is_a_rest() -> None:
    pacer = Pacer(PTIME, max_burst_packets=3)
    pacer.begin(1.0)
    assert pacer.take(1.5, 99) == 3
    assert pacer.next_due == 1.5 + PTIME
    assert pacer.take(1.51, 99) == 0
    assert pacer.take(1.52, 99) == 3
