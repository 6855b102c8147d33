"""When audio arrives, and what that tells of its rate."""

from __future__ import annotations

import pytest

from callstream_core.audio import linear
from callstream_core.cadence import Cadence

RATES = (8000, 16000)


def names(arrivals: list[float], *, rate: int = 8000, ptime: float = 0.08, rates: tuple[int, ...] = RATES) -> list[str]:
    """Return what is odd about frames that arrive at these times."""
    audio = linear(rate, ptime=ptime)
    cadence = Cadence("t", audio, rates)
    return [said.name for at in arrivals for said in cadence.arrived(audio.frame_size, at)]


def steady(count: int, step: float = 0.08, start: float = 5.0) -> list[float]:
    return [start + number * step for number in range(count)]


@pytest.mark.parametrize(
    "arrivals",
    [
        steady(200),
        steady(200, 0.075),
        steady(200, 0.09),
        # Two at a time.
        sorted(steady(100, 0.16) + steady(100, 0.16)),
        # What waited while the socket opened.
        [5.0] * 30 + steady(100),
        [],
        [5.0] * 40,
    ],
)
def test_audio_at_its_rate_is_not_remarked_on(arrivals: list[float]) -> None:
    assert names(arrivals) == []


@pytest.mark.parametrize(
    "arrivals",
    [
        # A stall that is caught up, and a silence that is not.
        steady(10) + [7.5] * 21 + steady(50, start=7.58),
        steady(10) + steady(100, start=12.0),
    ],
)
def test_a_gap_is_told_and_no_rate_is_suspected(arrivals: list[float]) -> None:
    assert names(arrivals) == ["gap"]


def test_a_party_with_many_pauses_keeps_its_rate() -> None:
    arrivals = [at for number in range(20) for at in steady(5, start=5.0 + number)]
    assert names(arrivals) == ["gap"] * 19
    # On the whole it is half of it, as the other rate would be.
    arrivals = [at for number in range(20) for at in steady(12, 0.04, start=5.0 + number)]
    assert names(arrivals, rate=16000, ptime=0.04) == ["gap"] * 19
    # Too fast in every stretch, but not on the whole: it may be either.
    arrivals = [at for number in range(20) for at in steady(10, 0.04, start=5.0 + number)]
    assert set(names(arrivals)) == {"gap"}


@pytest.mark.parametrize(("step", "measured"), [(0.04, 16000), (0.05, 12800)])
def test_the_other_rate_is_suspected_once(step: float, measured: int) -> None:
    audio = linear(8000, ptime=0.08)
    cadence = Cadence("t", audio, RATES)
    told = [(at, said) for at in steady(200, step) for said in cadence.arrived(audio.frame_size, at)]
    [(at, said)] = told
    assert at - 5.0 == pytest.approx(2.0, abs=step + 0.01)
    assert said.detail == f"t: about {measured} samples per second arrive; configured are 8000"


def test_a_gap_tells_what_is_missing() -> None:
    audio = linear(16000, ptime=0.04)
    cadence = Cadence("t", audio, RATES)
    assert list(cadence.arrived(1280, 1.0)) == []
    assert list(cadence.arrived(1280, 1.11)) == []
    [said] = cadence.arrived(1280, 1.55)
    assert said.detail == "t: 400 ms without audio"


def test_frames_of_no_size_prove_nothing() -> None:
    cadence = Cadence("t", linear(8000), RATES)
    assert [said for at in steady(300, 0.02) for said in cadence.arrived(0, at)] == []
