"""How long the hub rests between two turns."""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW = 0.05
"""Seconds over which the processor's share is taken."""


class Rest:
    """Seconds that pass at least from one turn to the next: few while there is time, more as the thread gets busy.

    A turn costs some 60 microseconds, whatever there is to do. While the processor is less busy than `light`, packets
    leave as punctually as that allows; from `heavy` on, waking up costs as little as it can.
    """

    __slots__ = ("_heavy", "_least", "_light", "_most", "_since", "_used", "_used_time", "seconds")

    def __init__(
        self,
        least: float,
        most: float,
        *,
        light: float = 0.6,
        heavy: float = 0.9,
        used_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self.seconds = least
        self._least = least
        self._most = most
        self._light = light
        self._heavy = heavy
        self._used_time = used_time
        self._used = 0.0
        self._since = float("-inf")

    def look(self, now: float) -> None:
        """See how busy this thread has been lately. To be called at each turn."""
        lasted = now - self._since
        if lasted < _WINDOW:
            return
        used = self._used_time()
        share = (used - self._used) / lasted
        part = (share - self._light) / (self._heavy - self._light)
        wanted = self._least + (self._most - self._least) * min(max(part, 0.0), 1.0)
        # Half way at a time: the share follows the rest, and the two would swing.
        self.seconds = (self.seconds + wanted) / 2
        self._used, self._since = used, now
