"""Named deadlines: the earliest is always known, and each is due once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core.timers import Timer, TimerTable

acts = st.tuples(st.sampled_from(["set", "cancel", "take", "clear"]), st.sampled_from(Timer), st.integers(0, 20))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(acts=st.lists(acts, max_size=40))
def test_the_table_is_a_map_with_a_minimum(acts: list[tuple[str, Timer, int]]) -> None:
    table, model = TimerTable(), dict[Timer, float]()
    for act, timer, at in acts:
        if act == "set":
            table.set(timer, at)
            model[timer] = at
        elif act == "cancel":
            table.cancel(timer)
            model.pop(timer, None)
        elif act == "clear":
            table.clear()
            model.clear()
        else:
            due = table.take_due(at)
            times = [model.pop(timer) for timer in due]
            assert times == sorted(times)
            assert all(time <= at for time in times)
            assert all(deadline > at for deadline in model.values())
        assert table.earliest == min(model.values(), default=None)
        assert all(table.is_set(timer) == (timer in model) for timer in Timer)


def test_what_is_due_comes_earliest_first() -> None:
    table = TimerTable()
    table.set(Timer.PUMP, 3.0)
    table.set(Timer.MARKS, 1.0)
    table.set(Timer.SYNC, 9.0)
    assert table.take_due(0.5) == []
    assert table.take_due(3.0) == [Timer.MARKS, Timer.PUMP]
    assert table.take_due(3.0) == []
    assert table.earliest == 9.0
