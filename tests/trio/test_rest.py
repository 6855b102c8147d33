"""How long the hub rests follows what its thread uses of the processor."""

from __future__ import annotations

import pytest

from callstream_trio.rest import Rest

LEAST, MOST = 0.00025, 0.002


def rest_at(*shares: float) -> float:
    """Return the rest after each share was used for a tenth of a second."""
    used = 0.0
    rest = Rest(LEAST, MOST, light=0.6, heavy=0.9, used_time=lambda: used)
    now = 50.0
    rest.look(now)
    for share in shares:
        now += 0.1
        used += share * 0.1
        rest.look(now)
    return rest.seconds


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_an_idle_thread_rests_as_little_as_it_may(share: float) -> None:
    assert rest_at(share, share) == pytest.approx(LEAST)


def test_a_busy_one_rests_longer() -> None:
    assert rest_at(*[0.75] * 20) == pytest.approx((LEAST + MOST) / 2, rel=1e-3)


@pytest.mark.parametrize("share", [0.9, 1.0, 7.0])
def test_but_never_longer_than_a_tick(share: float) -> None:
    assert rest_at(*[share] * 20) == pytest.approx(MOST, rel=1e-3)
    assert rest_at(*[share] * 20, *[0.1] * 20) == pytest.approx(LEAST, rel=1e-3)


def test_it_changes_half_way_at_a_time() -> None:
    assert rest_at(1.0) == pytest.approx((LEAST + MOST) / 2)


def test_turns_that_follow_at_once_are_one_window() -> None:
    asked = 0

    def used_time() -> float:
        nonlocal asked
        asked += 1
        return 0.0

    rest = Rest(LEAST, MOST, used_time=used_time)
    for number in range(1000):
        rest.look(number * 0.001)
    assert 15 <= asked <= 21
