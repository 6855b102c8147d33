"""Who waits for news of a call."""

from __future__ import annotations

import trio

from callstream_trio.owner import Carrier


class Waiters:
    """Two lots: audio comes fifty times a second, and wakes its readers only. Whoever wakes looks if it was for him."""

    __slots__ = ("_audio", "_news", "scheduled")

    def __init__(self) -> None:
        self.scheduled: float | None = None
        self._news = trio.lowlevel.ParkingLot()
        # Most calls that are many give their audio to a sink.
        self._audio: trio.lowlevel.ParkingLot | None = None

    def wake(self) -> None:
        """Wake all."""
        self._news.unpark_all()
        self.wake_readers()

    def wake_readers(self) -> None:
        """Wake who waits for audio."""
        if self._audio is not None:
            self._audio.unpark_all()

    async def news(self) -> None:
        """Wait for news."""
        await self._news.park()

    async def audio(self) -> None:
        """Wait for audio, or for news."""
        if self._audio is None:
            self._audio = trio.lowlevel.ParkingLot()
        await self._audio.park()

    async def wait_until(self, carrier: Carrier, deadline: float) -> None:
        """Wait for news, or for a moment; there may be neither."""
        # A timeout of Trio's own is a cancellation: five times as much work as being woken.
        if self.scheduled is None or deadline < self.scheduled:
            carrier.schedule(self, deadline)
        await self._news.park()

    def handle_deadline(self, _now: float) -> None:
        """Wake who waits for this moment."""
        self._news.unpark_all()

    def abandon(self, _error: Exception) -> None:
        """Nothing here fails; were it to, the call itself would not suffer."""
