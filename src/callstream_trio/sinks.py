"""What can be done with a caller's audio without waking a task: it happens inside the hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from callstream_core.commands import Command, SendAudio
from callstream_core.events import AudioReceived


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
