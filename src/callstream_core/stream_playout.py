"""A platform that plays a stream of samples: it holds the last of it back, and has marks among the samples."""

from __future__ import annotations

from collections import deque

import attrs

from callstream_core.dialect import PlayoutTraits, Prebuffer
from callstream_core.events import Event, MarkOutcome, MarkReached
from callstream_core.outputs import FramePlayed
from callstream_core.playout import Played, Playout


@attrs.frozen(eq=False)
class _Mark:
    """One mark: itself, whatever its name."""

    name: str


class StreamPlayout(Playout):
    """The playout of a platform with a `Prebuffer`.

    A mark waits for the next message and enters the stream before it, where it takes the place of a sample. One
    that waits when nothing is left to play is reached by that.
    """

    __slots__ = (
        "_attached",
        "_had_mark",
        "_held",
        "_held_samples",
        "_prebuffer",
        "_stream",
        "_swallows",
        "_threshold",
        "_waiting",
    )

    def __init__(self, traits: PlayoutTraits, prebuffer: Prebuffer) -> None:
        super().__init__(traits)
        self._prebuffer = prebuffer
        self._threshold = prebuffer.first
        self._held: list[bytes | _Mark] = []
        self._held_samples = 0
        self._stream: deque[bytes | _Mark] = deque()
        self._waiting: deque[_Mark] = deque()
        self._attached: deque[_Mark] = deque()
        self._swallows = 0
        self._had_mark = False

    # What the application sends

    def add(self, data: bytes) -> list[Played]:
        """Take a message; marks that waited for one go before it."""
        if data:
            for mark in self._waiting:
                self._hold(mark, 1)
            self._attached += self._waiting
            self._waiting.clear()
        for at in range(0, len(data), self._prebuffer.piece):
            piece = self._leftover + data[at : at + self._prebuffer.piece]
            whole = len(piece) - len(piece) % 2
            self._leftover = piece[whole:]
            if whole:
                self._hold(piece[:whole], whole // 2)
            if self._held_samples >= self._threshold:
                self._release()
        return []

    def _hold(self, item: bytes | _Mark, samples: int) -> None:
        self._held.append(item)
        self._held_samples += samples

    def _release(self) -> None:
        for item in self._held:
            if isinstance(item, bytes):
                self.queue_length += 1
            elif self._prebuffer.loses_marks and self._had_mark:
                continue
            else:
                self._had_mark = True
            self._stream.append(item)
        self._held.clear()
        self._held_samples = 0
        self._threshold = self._prebuffer.release

    def add_notice(self, event: Event) -> None:
        """Take a mark; one too many is dropped."""
        assert isinstance(event, MarkReached)
        if len(self._waiting) + len(self._attached) < self._prebuffer.max_marks:
            self._waiting.append(_Mark(event.name))

    def clear(self, now: float) -> list[Played]:
        """Drop what is queued, but not what is held back; tell of each mark that it was cleared."""
        cleared = [*self._attached, *self._waiting]
        self.forget_marks()
        self._stream.clear()
        self.queue_length = 0
        return [MarkReached(mark.name, MarkOutcome.CLEARED) for mark in cleared]

    def forget_marks(self) -> None:
        """Forget all marks, without a word."""
        if self._prebuffer.swallows_marks:
            self._swallows += len(self._attached)
        self._attached.clear()
        self._waiting.clear()

    # The clock

    def _has_work(self) -> bool:
        return bool(self._stream or self._waiting)

    def _serve(self, at: float) -> list[Played]:
        if not self._stream:
            return [_reached(self._waiting.popleft())]
        events: list[Played] = []
        audio: list[bytes] = []
        room = self._traits.format.frame_samples
        while room and self._stream:
            item = self._stream.popleft()
            if isinstance(item, bytes):
                if len(item) > 2 * room:
                    self._stream.appendleft(item[2 * room :])
                    item = item[: 2 * room]
                else:
                    self.queue_length -= 1
                room -= len(item) // 2
                audio.append(item)
                events += self._mistaken(item)
            else:
                room -= 1
                events += self._reach(item)
        return [FramePlayed(data=b"".join(audio), at=at), *events] if audio else events

    def _mistaken(self, audio: bytes) -> list[Played]:
        """Tell of the marks that the audio itself is taken for."""
        sample = self._prebuffer.mark_sample
        if sample is None or not self._attached:
            return []
        count = sum(audio[at : at + 2] == sample for at in range(0, len(audio), 2))
        return [_reached(self._attached.popleft()) for _ in range(min(count, len(self._attached)))]

    def _reach(self, mark: _Mark) -> list[Played]:
        """Tell what the platform makes of a mark that comes out of the stream."""
        if self._prebuffer.swallows_marks:
            if self._swallows:
                self._swallows -= 1
                return []
            return [_reached(self._attached.popleft())] if self._attached else []
        if mark not in self._attached:
            return []
        self._attached.remove(mark)
        return [_reached(mark)]


def _reached(mark: _Mark) -> MarkReached:
    return MarkReached(mark.name)
