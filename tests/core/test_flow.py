"""How far ahead of playout audio may be sent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core.flow import Flow


@pytest.mark.parametrize(
    ("send_ahead", "max_queue", "ahead"),
    [(1.0, 900, 8000), (0.1, None, 800), (None, 900, 144_000), (30.0, 900, 144_000), (0.001, 900, 160)],
)
def test_the_least_bound_counts(send_ahead: float | None, max_queue: int | None, ahead: int) -> None:
    flow = Flow(send_ahead=send_ahead, max_queue=max_queue, ptime=0.02, rate=8000.0)
    assert flow.max_ahead == ahead
    assert flow.room(ahead - 1) == 1
    assert flow.room(ahead) == flow.room(ahead + 5) == 0


def test_without_any_bound_there_is_always_room() -> None:
    assert Flow(send_ahead=None, max_queue=None, ptime=0.02, rate=8000.0).room(10**15) > 10**15


def test_a_stop_leaves_no_room() -> None:
    flow = Flow(send_ahead=1.0, max_queue=None, ptime=0.02, rate=8000.0)
    flow.is_paused = True
    assert flow.room(0) == 0


@settings(derandomize=True, deadline=None)
@given(frame_size=st.integers(1, 8000), ptime=st.sampled_from([0.01, 0.02, 0.03, 0.06]), frames=st.integers(1, 900))
def test_room_is_whole_frames_whatever_floats_do(frame_size: int, ptime: float, frames: int) -> None:
    flow = Flow(send_ahead=None, max_queue=frames, ptime=ptime, rate=frame_size / ptime)
    assert flow.max_ahead == frames * frame_size
