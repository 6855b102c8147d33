"""Compare one track's audio with the clock: where no message tells the sample rate, the pace of the audio may."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from callstream_core.audio import AudioFormat
from callstream_core.events import Tolerated

# Seconds of steady audio after which the rate is judged.
_WINDOW = 2.0
# Frames that a network may delay without anybody calling it a gap.
_MAX_DELAY = 3
# What waited while the socket opened comes at once: this much of a frame's time apart, or less.
_BURST = 0.25


class Cadence:
    """Watches when a track's audio arrives. Says once whether it looks like another rate, and tells every gap."""

    __slots__ = ("_active", "_active_size", "_audio", "_begun", "_is_judged", "_last", "_rates", "_size", "_track")

    def __init__(self, track: str, audio: AudioFormat, rates: Sequence[int]) -> None:
        """Watch a track whose format is `audio`, if the configuration is right; else its rate is another of `rates`."""
        self._track = track
        self._audio = audio
        self._rates = rates
        self._begun: float | None = None
        self._last = 0.0
        # All that came since the beginning, and what came without gaps.
        self._size = 0
        self._active = 0.0
        self._active_size = 0
        self._is_judged = False

    def arrived(self, size: int, now: float) -> Iterator[Tolerated]:
        """Take note of `size` bytes; yield what is odd about when they come."""
        if not size:
            return
        if self._begun is None:
            self._begun = self._last = now
            return
        waited = now - self._last
        self._last = now
        ptime = self._audio.ptime
        is_gap = waited > _MAX_DELAY * ptime
        if is_gap:
            missing = waited - self._audio.seconds(size)
            yield Tolerated("gap", f"{self._track}: {missing * 1000:.0f} ms without audio")
        if self._is_judged:
            return
        if not self._size and waited < _BURST * ptime:
            self._begun = now
            return
        self._size += size
        if not is_gap:
            self._active += waited
            self._active_size += size
        if self._active >= _WINDOW:
            self._is_judged = True
            yield from self._judge(now - self._begun)

    def _judge(self, elapsed: float) -> Iterator[Tolerated]:
        # A stall that is caught up distorts one of the two, a silence that is not distorts the other.
        found = {self._nearest(self._size, elapsed), self._nearest(self._active_size, self._active)}
        if self._audio.rate not in found:
            measured = self._audio.seconds(self._active_size) / self._active * self._audio.rate
            found_out = f"about {measured:.0f} samples per second arrive; configured are {self._audio.rate}"
            yield Tolerated("rate_mismatch_suspected", f"{self._track}: {found_out}")

    def _nearest(self, size: int, elapsed: float) -> int:
        rate = self._audio.seconds(size) / elapsed * self._audio.rate
        return min(self._rates, key=lambda known: abs(math.log(known / rate)))
