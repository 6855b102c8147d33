"""Who waits for news of a call."""

from __future__ import annotations

import trio

from callstream_trio.owner import Carrier


class Waiters:
    """Two lots: audio comes fifty times a second, and wakes its readers only. Whoever wakes looks if it was for him."""

    __slots__ = ("for_audio", "for_news", "scheduled")

    def __init__(self) -> None:
        self.for_news = trio.lowlevel.ParkingLot()
        self.for_audio = trio.lowlevel.ParkingLot()
        self.scheduled: float | None = None

    def wake(self) -> None:
        """Wake all."""
        self.for_news.unpark_all()
        self.for_audio.unpark_all()

    async def wait_until(self, carrier: Carrier, deadline: float) -> None:
        """Wait for news, or for a moment; there may be neither."""
        # A timeout of Trio's own is a cancellation: five times as much work as being woken.
        if self.scheduled is None or deadline < self.scheduled:
            carrier.schedule(self, deadline)
        await self.for_news.park()

    def handle_deadline(self, _now: float) -> None:
        """Wake who waits for this moment."""
        self.for_news.unpark_all()

    def abandon(self, _error: Exception) -> None:
        """Nothing here fails; were it to, the call itself would not suffer."""
