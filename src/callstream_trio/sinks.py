"""What can be done with a caller's audio without waking a task: it happens inside the hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from callstream_core.commands import Command, SendAudio
from callstream_core.errors import Unsupported
from callstream_core.events import AudioReceived
from callstream_core.resample import Converter

if TYPE_CHECKING:
    from callstream_trio.call import Call


class Sink(Protocol):
    """Takes a caller's audio as it arrives. Must not block."""

    def take(self, audio: AudioReceived, now: float) -> Iterable[Command]:
        """Take one piece; return what to say to the caller at once."""
        ...


class Echo:
    """Sends every piece back."""

    def take(self, audio: AudioReceived, _now: float) -> Iterable[Command]:
        """Return the piece itself."""
        return (SendAudio(audio.data),)


class Bridge:
    """Plays every piece on another call. Connect one each way, and two callers talk to each other.

    The formats may differ. What would be heard more than `max_lag` seconds late is dropped: the other platform's clock
    may be slower, or it may have stopped.

    Raises:
        Unsupported: if one format cannot be turned into the other, or nothing can be played on the target.
    """

    def __init__(self, source: Call, target: Call, *, max_lag: float = 0.5) -> None:
        reply = target.info.reply_format
        if reply is None:
            raise Unsupported("that platform only listens: nothing can be played on its call")
        if source.info.capabilities.has_tracks:
            raise Unsupported("every party of the source has a track of its own: which one should be played?")
        self.dropped = 0
        """Bytes that were not played, in the target's format."""
        self._convert = Converter(source.info.caller_format, reply).feed
        self._target = target
        self._max_lag = max_lag

    def take(self, audio: AudioReceived, _now: float) -> Iterable[Command]:
        """Play the piece on the other call."""
        data = self._convert(audio.data)
        target = self._target
        if data and (target.ended or target.backlog > self._max_lag or not target.offer(SendAudio(data))):
            self.dropped += len(data)
        return ()
