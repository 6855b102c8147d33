"""The benchmark beside hand-written outputs: each of them plays, and is interrupted."""

from __future__ import annotations

import pytest

pytest.importorskip("livekit.agents", reason="livekit-agents is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

from benchmarks.livekit_stock import WAYS, Plan, measure


@pytest.mark.parametrize("way", WAYS)
def test_a_short_speech_is_measured(way: str) -> None:
    outcome = measure(Plan(way=way, seconds=0.4))
    assert len(outcome.played) == 20
    assert outcome.position == pytest.approx(0.4)
    assert outcome.told_at > outcome.played[0]
    assert outcome.work > 0
    assert "s" in outcome.row


@pytest.mark.parametrize("way", WAYS)
def test_an_interruption_is_measured(way: str) -> None:
    outcome = measure(Plan(way=way, seconds=2.0, interrupted_at=0.5))
    assert 0.3 < outcome.position < 1.0
    assert 15 <= len(outcome.played) <= 50
