"""Show a platform that we are there, where it hangs up on silence."""

from __future__ import annotations

from callstream_core.timers import Timer, TimerTable

_NEVER = float("inf")


class SignOfLife:
    """Knows when we spoke last; timer `HEARTBEAT` is its own."""

    __slots__ = ("_interval", "_timers", "spoke_at")

    def __init__(self, timers: TimerTable) -> None:
        self._timers = timers
        self._interval = _NEVER
        self.spoke_at = -_NEVER

    def begin(self, interval: float | None, now: float) -> None:
        """Watch that no `interval` of silence passes; without one there is nothing to watch."""
        if interval is not None:
            self._interval = interval
            self._timers.set(Timer.HEARTBEAT, now + interval)

    def is_due(self, now: float, played_at: float) -> bool:
        """Tell whether nothing has shown us lately, neither words nor audio; see to it that this is asked again."""
        spoke_at = max(self.spoke_at, played_at)
        is_due = spoke_at + self._interval <= now
        self.spoke_at = now if is_due else spoke_at
        self._timers.set(Timer.HEARTBEAT, self.spoke_at + self._interval)
        return is_due
