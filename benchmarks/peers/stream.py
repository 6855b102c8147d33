"""The stream that a duplex server sends: each frame carries when it was due, and its number."""

from __future__ import annotations

import struct
import time

PERIOD = 0.02
SIZE = 320

clock = time.monotonic
_pack = struct.Struct("<QQ").pack
_REST = b"\x11\x22" * ((SIZE - 16) // 2)


class Stream:
    """Frames on an absolute grid that begins now."""

    __slots__ = ("count", "start")

    def __init__(self) -> None:
        self.start = clock()
        self.count = 0

    @property
    def due(self) -> float:
        """When the next frame is due."""
        return self.start + self.count * PERIOD

    def frame(self) -> bytes:
        """Return the next frame, stamped."""
        number = self.count
        self.count = number + 1
        return _pack(int((self.start + number * PERIOD) * 1e9), number) + _REST

    def frames(self, count: int) -> bytes:
        """Return the next frames, as one piece of audio."""
        first, start = self.count, self.start
        self.count = first + count
        return b"".join(
            [_pack(int((start + number * PERIOD) * 1e9), number) + _REST for number in range(first, first + count)]
        )


async def send_stream(stream: Stream, send, sleep) -> None:  # type: ignore[no-untyped-def]
    """Send each frame when it is due, as a task of its own does: late ones at once, none is skipped."""
    while True:
        wait = stream.due - clock()
        await sleep(wait if wait > 0 else 0)
        await send(stream.frame())
