"""Which tracks of a session are open, and what is remarked of their audio."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from callstream_core import events as e
from callstream_core.audio import linear
from callstream_core.dialect import Capabilities
from callstream_core.outputs import Output
from callstream_core.tracks import Tracks


def take(tracks: Tracks, event: Any, now: float = 0.0) -> list[Output]:
    out: list[Output] = []
    Tracks.heard[type(event)](tracks, event, now, out)
    return out


@pytest.mark.parametrize(("rates", "told"), [((), 0), ((8000, 16000), 2)])
def test_only_rates_that_nobody_tells_are_held_against_the_clock(rates: tuple[int, ...], told: int) -> None:
    counters: Counter[str] = Counter()
    tracks = Tracks(Capabilities(has_tracks=True, unannounced_rates=rates), counters)
    take(tracks, e.TrackStarted(track="a", format=linear(8000)))
    heard = [said for at in (0.0, 1.0, 2.0) for said in take(tracks, e.AudioReceived(bytes(320), "a"), at)]
    assert len(heard) == 3 + told
    assert counters == ({"gap": 2} if told else {})


def test_what_is_open_at_the_end_is_ended_with_the_reason() -> None:
    tracks = Tracks(Capabilities(has_tracks=True), Counter())
    for track in "abc":
        take(tracks, e.TrackStarted(track=track, format=linear(8000)))
    assert take(tracks, e.TrackEnded("b")) == [e.TrackEnded("b")]
    # A track may end that was never heard of; its audio may come, too.
    assert take(tracks, e.TrackEnded("x")) == [e.TrackEnded("x")]
    assert take(tracks, e.AudioReceived(b"", "x")) == [e.AudioReceived(b"", "x")]
    out: list[Output] = []
    tracks.close("the line is dead", out)
    tracks.close("again", out)
    assert out == [e.TrackEnded("a", "the line is dead"), e.TrackEnded("c", "the line is dead")]
