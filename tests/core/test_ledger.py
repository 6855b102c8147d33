"""What was accepted, sent, heard and cleared adds up, and the platform's word corrects it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core.ledger import Clearing, Ledger

RATE = 8000.0
steps = st.lists(
    st.tuples(
        st.sampled_from(["accept", "send", "wait", "hold", "release", "know", "end", "clear"]),
        st.integers(0, 20),
    ),
    max_size=60,
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(steps=steps)
def test_every_unit_is_somewhere(steps: list[tuple[str, int]]) -> None:
    ledger = Ledger(RATE)
    now, pending, position = 100.0, 0, 0
    open_clears: list[tuple[Clearing, int]] = []
    for act, amount in steps:
        units = amount * 160
        if act == "accept":
            ledger.accepted += units
            pending += units
        elif act == "send":
            units = min(units, pending)
            pending -= units
            ledger.send(units, now)
        elif act == "wait":
            now += amount * 0.013
        elif act == "hold":
            ledger.hold(now)
        elif act == "release":
            ledger.release(now)
        elif act == "know":
            ledger.acknowledge(ledger.sent - units, now)
            position = min(position, ledger.position(now))
        elif act == "end":
            ledger.end_utterance(pending)
        else:
            clearing = ledger.clear(pending, ledger.position(now), now)
            assert clearing.heard >= 0
            assert clearing.discarded * RATE == pytest.approx(clearing.sent - clearing.position + pending)
            pending = 0
            ledger.settle(clearing, clearing.sent - units)
            assert clearing.acknowledged <= clearing.position <= clearing.sent
            open_clears.append((clearing, units))
        assert position <= ledger.position(now) <= ledger.sent
        assert ledger.acknowledged <= ledger.position(now)
        position = ledger.position(now)
        heard, waiting = ledger.heard_to(position), ledger.sent - position
        assert ledger.accepted == heard + waiting + pending + ledger.cleared
        assert ledger.unheard(now) * (1 / RATE) == pytest.approx(ledger.backlog(now), abs=1 / RATE)
        assert ledger.debt >= 0


def test_playout_is_one_clock() -> None:
    ledger = Ledger(RATE)
    assert (ledger.position(5.0), ledger.backlog(5.0), ledger.is_settled) == (0, 0.0, True)
    ledger.send(800, 10.0)
    ledger.send(800, 10.05)
    assert ledger.position(10.1) == 800
    assert ledger.backlog(10.1) == pytest.approx(0.1)
    assert ledger.time_of(400) == pytest.approx(10.05)
    # Dry at 10.2: what comes later starts anew.
    ledger.send(800, 11.0)
    assert ledger.position(11.05) == 2000
    assert not ledger.is_settled


def test_a_hold_stops_the_clock() -> None:
    ledger = Ledger(RATE)
    ledger.send(800, 10.0)
    ledger.hold(10.05)
    ledger.hold(10.07)
    ledger.send(800, 10.06)
    assert ledger.is_held
    assert ledger.time_of(400) is None
    assert ledger.position(99.0) == 400
    ledger.release(20.0)
    ledger.release(30.0)
    assert ledger.position(20.05) == 800
    ledger.hold(20.05)
    ledger.acknowledge(600, 20.05)
    assert ledger.backlog(50.0) == pytest.approx(0.125)


def test_the_platform_knows_better() -> None:
    ledger = Ledger(RATE)
    ledger.send(8000, 10.0)
    ledger.acknowledge(2400, 10.5)
    assert ledger.position(10.5) == 2400
    assert ledger.debt == pytest.approx(0.2)
    ledger.acknowledge(2400, 10.6)
    assert ledger.debt == pytest.approx(0.3)
    # Faster than thought: the debt shrinks, but is no credit.
    ledger.acknowledge(7200, 10.6)
    assert ledger.debt == 0.0
    # Neither the past nor the future can be meant.
    for nonsense in (2400, 9000, -1):
        ledger.acknowledge(nonsense, 10.6)
        assert ledger.position(10.6) == 7200
    ledger.acknowledge(8000, 10.6)
    assert (ledger.is_settled, ledger.debt, ledger.backlog(10.6)) == (True, 0.0, 0.0)


def test_a_clear_tells_of_the_utterance_that_was_playing() -> None:
    def cleared_at(position: int) -> tuple[float, float]:
        ledger = Ledger(RATE)
        for pending in (800, 1600, 2400):
            ledger.end_utterance(pending)
            ledger.end_utterance(pending)
        ledger.send(2400, 0.0)
        clearing = ledger.clear(0, position, 0.0)
        return clearing.heard * RATE, clearing.discarded * RATE

    assert cleared_at(0) == (0, 2400)
    assert cleared_at(799) == (799, 1601)
    assert cleared_at(800) == (0, 1600)
    assert cleared_at(1000) == (200, 1400)
    # All was heard, and nothing has begun: the last utterance is the one that the caller has in his ear.
    assert cleared_at(2400) == (800, 0)


def test_what_has_been_passed_is_no_step_back() -> None:
    ledger = Ledger(RATE)
    ledger.send(8000, 0.0)
    # We believe that 0.5 s are played; the platform tells of 0.2 s, some time ago.
    ledger.passed(1600, 0.5)
    assert (ledger.position(0.5), ledger.acknowledged) == (4000, 1600)
    # Here it is ahead of what we believe.
    ledger.passed(6400, 0.6)
    assert (ledger.position(0.6), ledger.acknowledged) == (6400, 6400)
    ledger.passed(800, 0.7)
    assert ledger.acknowledged == 6400


def test_a_clear_begins_a_new_account() -> None:
    ledger = Ledger(RATE)
    ledger.send(1600, 0.0)
    first = ledger.clear(160, 800, 0.1)
    assert (first.heard, first.discarded) == (0.1, 0.12)
    assert (ledger.position(0.1), ledger.heard_to(1600), ledger.cleared) == (1600, 800, 960)
    ledger.settle(first, 640)
    assert (first.heard, first.discarded) == (0.08, 0.14)
    assert (ledger.heard_to(1600), ledger.cleared) == (640, 1120)
    ledger.settle(first, -5)
    ledger.settle(first, 99999)
    assert (first.position, ledger.heard_to(1600), ledger.cleared) == (1600, 1600, 160)
    ledger.send(800, 0.2)
    second = ledger.clear(0, 1, 0.25)
    # Nobody can have heard less than the platform told us.
    assert (second.heard, second.discarded) == (0.0, 0.1)


def test_utterances_are_remembered_within_bounds() -> None:
    ledger = Ledger(RATE)
    for _ in range(1000):
        ledger.send(160, 0.0)
        ledger.end_utterance(0)
        ledger.acknowledge(ledger.sent, 0.0)
    ledger.send(160, 0.0)
    clearing = ledger.clear(0, ledger.sent - 80, 0.01)
    assert len(clearing.boundaries) <= 2
    assert clearing.heard == 0.01
    for _ in range(1000):
        ledger.send(160, 0.0)
        ledger.end_utterance(0)
    clearing = ledger.clear(0, ledger.sent - 80, 0.01)
    assert len(clearing.boundaries) <= 65
    assert clearing.heard == 0.01
