"""Audio that comes before the platform has said what it is."""

from __future__ import annotations

from collections import Counter

from callstream_core.limits import Limits


class EarlyAudio:
    """Keeps it until the opening message: drivers of Asterisk up to 22.7 let audio overtake that (asterisk#1712)."""

    __slots__ = ("_counters", "_limits", "_pieces")

    def __init__(self, limits: Limits, counters: Counter[str]) -> None:
        self._limits = limits
        self._counters = counters
        self._pieces: list[bytes] = []

    def keep(self, audio: bytes) -> None:
        """Keep a piece, within the limits; either way it is counted."""
        pieces, limits = self._pieces, self._limits
        kept = sum(map(len, pieces))
        if kept + len(audio) > limits.max_early_audio or len(pieces) >= limits.max_early_messages:
            self._counters["early_audio_dropped"] += 1
        else:
            self._counters["early_audio_kept"] += 1
            pieces.append(audio)

    def take(self) -> list[bytes]:
        """Return what was kept, and forget it."""
        pieces, self._pieces = self._pieces, []
        return pieces
