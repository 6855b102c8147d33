"""Questions behind audio: each is answered exactly once, marks in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.ledger import Ledger
from callstream_core.marks import Ordered, Questions
from callstream_core.outputs import Output
from callstream_core.timers import Timer, TimerTable

RATE = 8000.0
SLACK, TICK = 2.0, 0.02


def questions() -> tuple[Questions, Ledger, TimerTable]:
    timers = TimerTable()
    return Questions(slack=SLACK, tick=TICK, timers=timers), Ledger(RATE), timers


def mark(name: str, *, is_native: bool = True, is_ours: bool = False) -> Ordered:
    return Ordered(c.PlaceMark(name), (), is_native, is_ours)


def report(*, is_native: bool = True, is_ours: bool = False) -> Ordered:
    return Ordered(c.ReportDrained(), (), is_native, is_ours)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["ask", "ask", "answer", "answer", "send", "wait", "overdue", "clear", "hold", "emulate"]),
            st.sampled_from("abc"),
        ),
        max_size=50,
    )
)
def test_each_mark_is_answered_once_in_order(acts: list[tuple[str, str]]) -> None:
    asked: list[str] = []
    out: list[Output] = []
    open_marks, ledger, timers = questions()
    now = 10.0
    for act, name in acts:
        if act == "ask":
            open_marks.ask(mark(name), ledger, now)
            asked.append(name)
        elif act == "answer":
            open_marks.reached(e.MarkReached(name), out)
        elif act == "send":
            ledger.send(1600, now)
        elif act == "wait":
            now += 0.7
        elif act == "overdue":
            open_marks.answer_overdue(ledger, now, out)
            due = timers.earliest
            assert due is None or due > now
        elif act == "clear":
            open_marks.clear([mark(name)], ledger, now, out)
            asked.append(name)
        elif act == "hold" and ledger.is_held:
            ledger.release(now)
        elif act == "hold":
            ledger.hold(now)
        else:
            open_marks.emulate(ledger.sent)
        assert len(open_marks) == len(asked) - len(out)
    open_marks.clear([], ledger, now, out)
    assert [answer.name for answer in out if isinstance(answer, e.MarkReached)] == asked


def test_a_mark_on_an_idle_queue_waits_for_the_platform_all_the_same() -> None:
    open_marks, ledger, timers = questions()
    open_marks.ask(mark("m"), ledger, 100.0)
    assert timers.earliest == 100.0 + SLACK
    out: list[Output] = []
    assert open_marks.answer_overdue(ledger, 101.0, out) == 0
    assert open_marks.answer_overdue(ledger, 102.0, out) == 1
    assert out == [e.MarkReached("m", is_estimated=True)]
    assert open_marks.is_late(e.MarkReached("m"))
    assert not timers.is_set(Timer.MARKS)


def test_a_mark_that_the_platform_never_answers_is_ours_after_a_tick() -> None:
    open_marks, ledger, timers = questions()
    ledger.send(8000, 10.0)
    open_marks.ask(mark("m", is_native=False), ledger, 10.0)
    assert timers.earliest == 11.0 + TICK
    ledger.hold(10.5)
    open_marks.watch(ledger)
    assert timers.earliest is None


def test_a_report_waits_for_what_is_sent_after_it() -> None:
    open_marks, ledger, timers = questions()
    open_marks.ask(report(is_native=False), ledger, 10.0)
    ledger.send(8000, 10.01)
    out: list[Output] = []
    assert open_marks.answer_overdue(ledger, 10.5, out) == 0
    assert out == []
    assert timers.earliest == ledger.dry_at + TICK
    open_marks.answer_overdue(ledger, 11.1, out)
    assert out == [e.PlayoutDrained(is_estimated=True)]
    # It does not bound what was heard, as a mark does.
    open_marks.ask(report(), ledger, 11.1)
    assert open_marks.bound(99) == 99
    open_marks.ask(mark("m"), ledger, 11.1)
    assert open_marks.bound(9999) == 8000
    assert open_marks.bound(99) == 99


def test_one_empty_queue_answers_all_who_asked_before() -> None:
    open_marks, ledger, _ = questions()
    out: list[Output] = []
    assert open_marks.drained(0, out) is None
    assert out == [e.PlayoutDrained()]
    for _ in range(2):
        open_marks.ask(report(), ledger, 10.0)
    ledger.send(8000, 10.0)
    open_marks.ask(report(), ledger, 10.0)
    out.clear()
    # The last one asked behind audio that cannot be over yet.
    assert open_marks.drained(100, out) == 0
    assert (out, len(open_marks)) == ([e.PlayoutDrained()], 1)
    assert open_marks.drained(100, out) == 8000
    assert (out, len(open_marks)) == ([e.PlayoutDrained()] * 2, 0)


def test_the_last_word_is_not_over_because_an_earlier_one_was() -> None:
    open_marks, ledger, _ = questions()
    ledger.send(8000, 10.0)
    open_marks.ask(report(is_ours=True), ledger, 10.0)
    out: list[Output] = []
    assert open_marks.drained(100, out) is None
    assert (out, open_marks.is_finished) == ([e.PlayoutDrained()], False)
    assert open_marks.drained(8000, out) == 8000
    assert (out, open_marks.is_finished) == ([e.PlayoutDrained()], True)


def test_our_own_mark_is_not_news() -> None:
    open_marks, ledger, _ = questions()
    open_marks.ask(mark("last word", is_ours=True), ledger, 10.0)
    out: list[Output] = []
    open_marks.reached(e.MarkReached("last word"), out)
    assert (out, open_marks.is_finished) == ([], True)


def test_a_clear_keeps_what_the_platform_owes() -> None:
    open_marks, ledger, _ = questions()
    out: list[Output] = []
    sent, waiting = report(), report()
    open_marks.ask(sent, ledger, 10.0)
    start = Ordered(c.StartBuffering(), ("START",))
    stop = Ordered(c.StopBuffering("s"), ("STOP s",))
    assert open_marks.clear([start, waiting, stop], ledger, 10.0, out) == [waiting]
    assert out == [e.MarkReached("s", e.MarkOutcome.CLEARED)]
    assert len(open_marks) == 1
    assert (start.name, stop.answer(e.MarkOutcome.PLAYED, is_estimated=True)) == (
        "",
        e.MarkReached("s", is_estimated=True),
    )
