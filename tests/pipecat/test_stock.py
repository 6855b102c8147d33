"""The benchmark beside Pipecat's stock transport: each of them speaks, is interrupted, and costs something."""

from __future__ import annotations

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from benchmarks.pipecat_stock import WAYS, cost, measure


@pytest.mark.parametrize("way", WAYS)
def test_a_short_speech_is_measured(way: str) -> None:
    outcome = measure(way, seconds=0.4)
    # The stock transport hangs up on what is still queued.
    assert 15 <= len(outcome.played) <= 20
    assert outcome.stopped_at > outcome.played[0]
    assert outcome.hung_up_at > outcome.played[0]
    assert "ms" in outcome.row


@pytest.mark.parametrize("way", WAYS)
def test_an_interruption_is_measured(way: str) -> None:
    outcome = measure(way, seconds=2.0, interrupted_after=0.5)
    assert outcome.cleared_at >= outcome.interrupted_at > 0
    assert 15 <= len(outcome.played) <= 50
    if way.startswith("stock"):
        assert outcome.heard is None
    else:
        assert outcome.heard == pytest.approx(len(outcome.played) * 0.02, abs=0.0201)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_work_of_a_call_is_measured(way: str) -> None:
    figures = cost(way, calls=1, seconds=1.0)
    assert 0 < figures.work < 1
    assert figures.heard > 0.5
