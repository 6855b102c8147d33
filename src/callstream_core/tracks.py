"""The tracks of a session: which are open, and how their audio comes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from callstream_core import events as e
from callstream_core.cadence import Cadence
from callstream_core.dialect import Capabilities
from callstream_core.outputs import Output


class Tracks:
    """What an application's session knows of the parties whose audio it hears. `heard` maps events to its methods."""

    __slots__ = ("_counters", "_open", "_rates")

    def __init__(self, capabilities: Capabilities, counters: Counter[str]) -> None:
        self._rates = capabilities.unannounced_rates
        self._counters = counters
        self._open: dict[str, Cadence | None] = {}

    def close(self, reason: str, out: list[Output]) -> None:
        """End what is open: the session is over."""
        out.extend(e.TrackEnded(track, reason) for track in self._open)
        self._open.clear()

    def _hear_started(self, event: e.TrackStarted, _now: float, out: list[Output]) -> None:
        self._open[event.track] = Cadence(event.track, event.format, self._rates) if self._rates else None
        out.append(event)

    def _hear_audio(self, event: e.AudioReceived, now: float, out: list[Output]) -> None:
        cadence = self._open.get(event.track)
        if cadence is not None:
            for oddity in cadence.arrived(len(event.data), now):
                self._counters[oddity.name] += 1
                out.append(oddity)
        out.append(event)

    def _hear_ended(self, event: e.TrackEnded, _now: float, out: list[Output]) -> None:
        self._open.pop(event.track, None)
        out.append(event)

    heard: Mapping[type, Callable[[Tracks, Any, float, list[Output]], None]] = {
        e.TrackStarted: _hear_started,
        e.AudioReceived: _hear_audio,
        e.TrackEnded: _hear_ended,
    }
