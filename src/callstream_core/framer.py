"""Any sizes in, whole frames out."""

from __future__ import annotations


class Framer:
    """Cut a byte stream into whole frames. Padding happens only in `finish`, at the end of an utterance."""

    __slots__ = ("_leftover", "frame_size")

    def __init__(self, frame_size: int) -> None:
        if frame_size < 1:
            raise ValueError(f"a frame has at least one byte, not {frame_size}")
        self.frame_size = frame_size
        self._leftover = b""

    @property
    def leftover(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._leftover)

    def feed(self, data: bytes) -> bytes:
        """Take any number of bytes; return all whole frames, in one piece."""
        if self._leftover:
            data = self._leftover + data
        rest = len(data) % self.frame_size
        if rest:
            self._leftover = data[-rest:]
            return data[:-rest]
        self._leftover = b""
        return data

    def finish(self, silence: bytes) -> bytes:
        """Return the last frame filled up with `silence` (one byte, repeated), or nothing if none was begun."""
        leftover, self._leftover = self._leftover, b""
        return leftover + silence * (self.frame_size - len(leftover)) if leftover else b""

    def take(self) -> bytes:
        """Return the unfinished frame as it is, and forget it."""
        leftover, self._leftover = self._leftover, b""
        return leftover
