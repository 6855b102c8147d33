"""What is due when: never too early, soon after, and nothing that no longer holds stays for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callstream_trio.deadlines import NEVER, Deadlines

times = st.floats(0, 1e6)


class Bell:
    def __init__(self) -> None:
        self.scheduled: float | None = None

    def handle_deadline(self, now: float) -> None: ...

    def abandon(self, error: Exception) -> None: ...


def test_nothing_is_due_where_nothing_was_added() -> None:
    deadlines = Deadlines()
    assert deadlines.earliest == NEVER
    assert deadlines.take(1e9) == []


@given(st.lists(times, min_size=1), times)
def test_what_is_taken_is_due_and_what_stays_is_not(all_times: list[float], now: float) -> None:
    deadlines = Deadlines()
    bells = [Bell() for _ in all_times]
    for bell, time in zip(bells, all_times, strict=True):
        deadlines.add(bell, time)
    taken = deadlines.take(now)
    assert len(taken) + len(deadlines) == len(bells)
    for bell, time in zip(bells, all_times, strict=True):
        # A tenth of a millisecond is one slot; at such times a float is good for a billionth.
        assert (time < now - 0.0001001) <= (bell in taken) <= (time <= now)


@given(st.lists(times, min_size=1))
def test_all_are_taken_in_order_by_looking_when_told(all_times: list[float]) -> None:
    deadlines = Deadlines()
    for time in all_times:
        deadlines.add(Bell(), time)
    seen = []
    while (now := deadlines.earliest) < NEVER:
        taken = deadlines.take(now)
        assert taken
        seen += [bell.scheduled for bell in taken if bell.scheduled is not None]
        assert max(seen) <= now <= min(seen[-len(taken) :]) + 0.0001001
    assert sorted(seen) == sorted(all_times)


def test_entries_that_no_longer_hold_do_not_pile_up() -> None:
    deadlines = Deadlines()
    kept = Bell()
    deadlines.add(kept, 500_000.0)
    for number in range(10_000):
        bell = Bell()
        deadlines.add(bell, 1000.0 + number)
        bell.scheduled = None
    assert len(deadlines) < 600
    assert kept in deadlines.take(500_001.0)


def test_an_earlier_deadline_takes_the_place_of_a_later_one() -> None:
    deadlines = Deadlines()
    bell = Bell()
    deadlines.add(bell, 20.0)
    deadlines.add(bell, 10.0)
    assert bell.scheduled == 10.0
    assert deadlines.take(11.0) == [bell]
