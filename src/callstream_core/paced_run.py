"""Packets that leave by the clock alone: the part of a paced stream in which nothing else can happen."""

from __future__ import annotations

import math
from functools import lru_cache

MAX_PACKETS = 256
"""How many packets leave before the session looks again."""

# A part of a slot that floats may be off by: an event that is on time counts as on time.
ON_TIME = 1e-6


@lru_cache(maxsize=64)
def _patience(ptime: float, max_burst: int) -> float:
    """Return for how long no more packets are due than may leave at once: one number for all calls that are alike."""
    return ptime * (max_burst - ON_TIME)


class PacedRun:
    """The next packets of one call, lent by its session until anything but time interferes.

    A thousand calls have more state than a processor has near at hand: fetching it from memory is most of what a packet
    costs. So all that one needs is here, in a handful of numbers, and the session counts up when it is asked.
    """

    __slots__ = ("_audio", "_before", "_first", "_most", "_patience", "_ptime", "_size", "dry_at", "due", "taken")

    def __init__(self) -> None:
        self.due = math.inf
        """When to call `take`; or, at the end of the run, the session's `handle_timeout`. Infinite: nothing is lent."""
        self.dry_at = -math.inf
        """When all that was sent will have been played."""
        self.taken = 0
        """How many packets have left in this run."""
        self._before = 0
        self._most = 0
        self._audio = b""
        self._first = 0
        self._size = 0
        self._ptime = self._patience = 0.0

    def begin(
        self, audio: bytes, first: int, *, size: int, most: int, due: float, ptime: float, max_burst: int, dry_at: float
    ) -> None:
        """Lend up to `most` packets of `size` bytes, from `first` on; the first of them is `due`."""
        self.due = due
        self.dry_at = dry_at
        self._most = min(most, MAX_PACKETS)
        self._audio = audio
        self._first = first
        self._size = size
        self._ptime = ptime
        self._patience = _patience(ptime, max_burst)

    def end(self) -> int:
        """Take back what has not left; return how many packets have."""
        taken, self.taken = self.taken, 0
        self._before += taken
        self.due = math.inf
        self._audio = b""
        self._most = 0
        return taken

    @property
    def gone(self) -> int:
        """How many bytes of what is lent have left."""
        return self.taken * self._size

    @property
    def count(self) -> int:
        """How many packets have ever left from here."""
        return self._before + self.taken

    def take(self, now: float) -> bytes | None:
        """Return a packet that is due; None where none is, or so many that the session must decide.

        Late, there are several, one at each call, until `due` lies ahead.
        """
        due, taken = self.due, self.taken
        if now < due or now >= due + self._patience or taken == self._most:
            return None
        self.taken = taken + 1
        ptime = self._ptime
        self.due = due + ptime
        self.dry_at = (self.dry_at if now < self.dry_at else now) + ptime
        size = self._size
        at = self._first + taken * size
        return self._audio[at : at + size]
