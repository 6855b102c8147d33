"""Caller audio that waits to be read, where every party of a call has a track of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import attrs

from callstream_core import events as e
from callstream_core.audio import AudioFormat

# What a whole call may leave unread, in tracks that are full.
_MAX_FULL = 8
# Tracks that are remembered; the first that has ended makes room for a new one.
_MAX_TRACKS = 256


@attrs.define(eq=False)
class Track:
    """One party's audio, as far as nobody has read it."""

    format: AudioFormat
    is_ended: bool = False
    size: int = 0
    """Bytes that wait."""
    dropped: int = 0
    """Pieces that nobody read in time."""
    pieces: deque[tuple[bytes, float]] = attrs.field(factory=deque)
    """What waits, and when it came."""

    def take(self) -> bytes:
        """Return all that waits, or one packet; nothing where nothing does."""
        if self.format.is_packets and self.pieces:
            data, _ = self.pieces.popleft()
            self.size -= len(data)
            return data
        data = b"".join(piece for piece, _ in self.pieces)
        self.pieces.clear()
        self.size = 0
        return data

    def drop(self) -> None:
        """Lose the oldest piece."""
        data, _ = self.pieces.popleft()
        self.size -= len(data)
        self.dropped += 1


class Tracks:
    """All parties of a call. Of each waits so much at most, and of all together no more than of a few."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tracks: dict[str, Track] = {}
        self._lost = 0

    @property
    def open(self) -> list[str]:
        """The parties that have not left."""
        return [name for name, track in self._tracks.items() if not track.is_ended]

    @property
    def dropped(self) -> dict[str, int]:
        """Pieces that nobody read in time, by track."""
        return {name: track.dropped for name, track in self._tracks.items() if track.dropped}

    @property
    def all_dropped(self) -> int:
        """Their sum, with those of tracks that are forgotten."""
        return self._lost + sum(track.dropped for track in self._tracks.values())

    def find(self, name: str) -> Track:
        """Return a party's track; `ValueError` where there is none."""
        try:
            return self._tracks[name]
        except KeyError:
            raise ValueError(f"there is no track {name!r}; there are {', '.join(self._tracks) or 'none yet'}") from None

    def hear(self, event: e.Event) -> None:
        """Begin and end tracks. One that begins again goes on where it was."""
        if isinstance(event, e.TrackStarted):
            track = self._tracks.get(event.track)
            if track is None:
                self._make_room()
                track = self._tracks[event.track] = Track(event.format)
            track.is_ended = False
        elif isinstance(event, e.TrackEnded) and event.track in self._tracks:
            self._tracks[event.track].is_ended = True

    def _make_room(self) -> None:
        if len(self._tracks) >= _MAX_TRACKS:
            name = next((name for name, track in self._tracks.items() if track.is_ended), None)
            if name is not None:
                gone = self._tracks.pop(name)
                self._lost += gone.dropped + len(gone.pieces)

    def keep(self, audio: e.AudioReceived, now: float) -> None:
        """Have a piece wait to be read; the oldest goes where that is too much."""
        track = self._tracks.get(audio.track)
        if track is None:
            # It was never announced.
            self._lost += 1
            return
        track.pieces.append((audio.data, now))
        track.size += len(audio.data)
        count = self._seconds / track.format.ptime
        bound = count * track.format.frame_size or float("inf")
        while track.size > bound or len(track.pieces) > 2 * count:
            track.drop()
        if len(self._tracks) > _MAX_FULL:
            while sum(each.size for each in self._tracks.values()) > _MAX_FULL * bound:
                max(self._tracks.values(), key=lambda each: each.size).drop()

    def empty(self) -> Iterator[tuple[e.AudioReceived, float]]:
        """Hand out all that waits, in the order in which it came."""
        waiting = [(at, name, data) for name, track in self._tracks.items() for data, at in track.pieces]
        for track in self._tracks.values():
            track.take()
        for at, name, data in sorted(waiting, key=lambda piece: piece[0]):
            yield e.AudioReceived(data, name), at


@attrs.frozen
class Listening:
    """Caller audio, piece by piece."""

    read: Callable[[], Awaitable[bytes]]
    """Wait for audio; nothing at the end."""
    convert: Callable[[bytes], bytes] | None

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over what has not been read."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next piece."""
        while data := await self.read():
            piece = self.convert(data) if self.convert else data
            if piece:
                return piece
        raise StopAsyncIteration
