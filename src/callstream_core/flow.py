"""How far ahead of playout we may send: the platform's XOFF and XON, and our own cap."""

from __future__ import annotations

_UNBOUNDED = 1 << 62


class Flow:
    """Counts in the ledger's units. `max_ahead` is the least of the send-ahead and what the platform's queue holds."""

    __slots__ = ("is_paused", "max_ahead")

    def __init__(self, *, send_ahead: float | None, max_queue: int | None, ptime: float, rate: float) -> None:
        limits = [_UNBOUNDED]
        if send_ahead is not None:
            limits.append(round(max(send_ahead, ptime) * rate))
        # A platform that can say stop has said so before its queue is full, but news takes time: never send
        # more than fits below the level at which it speaks.
        if max_queue is not None:
            limits.append(round(max_queue * ptime * rate))
        self.max_ahead = min(limits)
        self.is_paused = False

    def room(self, unheard: int) -> int:
        """Return how many units may be sent while `unheard` are on their way to the caller's ear."""
        return 0 if self.is_paused else max(self.max_ahead - unheard, 0)
