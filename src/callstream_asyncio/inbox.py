"""What a call has said and nobody has taken yet, with silence where the platform sends none."""

from __future__ import annotations

import asyncio

from callstream_asyncio.backlog import Backlog
from callstream_asyncio.call import Call
from callstream_core import events as e

# Asterisk drops comfort noise, and sends nothing while the caller is silent.
_SILENT_AFTER = 2
# A timer that comes so late was held up, and so was the caller's audio.
_LATE = 0.01


class Inbox:
    """Waits for a call's events. While the platform sends no audio, silence comes in its place, frame by frame."""

    def __init__(self, call: Call, *, fills_silence: bool = True, max_waiting: int = 500) -> None:
        self.fills_silence = fills_silence
        audio = call.info.caller_format
        self._silence = e.AudioReceived(audio.silence(audio.frame_size))
        self._ptime = audio.ptime
        self._loop = asyncio.get_running_loop()
        self._waiting = Backlog(max_waiting)
        self._arrived = asyncio.Event()
        self._silent_at = self._loop.time() + _SILENT_AFTER * self._ptime
        call.listen(self._hear)

    @property
    def dropped(self) -> int:
        """Events that were not taken in time; audio goes first."""
        return self._waiting.dropped

    def _hear(self, event: e.Event) -> None:
        self._waiting.put(event)
        self._arrived.set()

    async def next(self) -> e.Event:
        """Return the next event; the last is `SessionClosed`."""
        while not self._waiting:
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(self._silent_at if self.fills_silence else None):
                    await self._arrived.wait()
            except TimeoutError:
                now = self._loop.time()
                if now - self._silent_at < _LATE:
                    self._silent_at += self._ptime
                    return self._silence
                self._silent_at = now + self._ptime
        event = self._waiting.take()
        if isinstance(event, e.AudioReceived):
            self._silent_at = self._loop.time() + _SILENT_AFTER * self._ptime
        return event
