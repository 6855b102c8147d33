"""What waits to be sent: audio, and commands between its pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from callstream_core.marks import Ordered

# Bytes of a piece that others may join: whoever sends frame by frame has them copied, and not too often.
_MAX_JOINED = 65536


class Outbox:
    """A queue of audio and ordered commands. Its owner asks for `room` first: nothing is refused here.

    Audio stays in one piece as it was given, and is cut where it leaves: a second of it is one object, not fifty.
    """

    __slots__ = ("_at", "_items", "_max_items", "_max_size", "pieces", "size")

    def __init__(self, *, max_size: int, max_items: int) -> None:
        self._max_size = max_size
        self._max_items = max_items
        self._items: deque[bytes | Ordered] = deque()
        # Where the first item goes on, if that is audio.
        self._at = 0
        self.pieces = 0
        """Pieces of audio, as they were given; the first may have left in part."""
        self.size = 0
        """Bytes of audio."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def commands(self) -> Iterator[Ordered]:
        """The commands, in order."""
        return (item for item in self._items if isinstance(item, Ordered))

    @property
    def is_full(self) -> bool:
        """True when nothing more fits, however small."""
        return len(self._items) >= self._max_items

    def room(self, *, is_begun: bool) -> int:
        """Return how many bytes fit into one more piece; perhaps another `is_begun`, and will need its place."""
        if len(self._items) + is_begun >= self._max_items:
            return 0
        return max(self._max_size - self.size, 0)

    def add_audio(self, audio: bytes, *, joins: bool = False) -> None:
        """Append a piece of audio; one that `joins` becomes part of the piece before it, while that is short."""
        items = self._items
        self.size += len(audio)
        if joins and items and type(last := items[-1]) is bytes and len(last) + len(audio) <= _MAX_JOINED:
            if len(items) == 1 and self._at:
                last, self._at = last[self._at :], 0
            items[-1] = last + audio
        else:
            items.append(audio)
            self.pieces += 1

    def add(self, command: Ordered) -> None:
        """Append a command."""
        self._items.append(command)

    def next_command(self) -> Ordered | None:
        """Remove and return the command whose turn it is; None if it is not a command's."""
        if self._items and isinstance(command := self._items[0], Ordered):
            self._items.popleft()
            return command
        return None

    def next_size(self) -> int:
        """Return how many bytes of audio are left of the piece whose turn it is; 0 if it is not audio's."""
        return len(piece) - self._at if self._items and isinstance(piece := self._items[0], bytes) else 0

    def take_audio(self, size: int) -> bytes:
        """Take so many bytes of the piece whose turn it is, which must have them."""
        piece = self._items[0]
        assert isinstance(piece, bytes)
        at = self._at
        self._at = end = at + size
        self.size -= size
        if end == len(piece):
            self._items.popleft()
            self.pieces -= 1
            self._at = 0
        return piece[at:end]

    def lend(self) -> tuple[bytes, int]:
        """Return the whole piece whose turn it is, which must be audio, and where it goes on."""
        piece = self._items[0]
        assert isinstance(piece, bytes)
        return piece, self._at

    def skip(self, size: int) -> None:
        """Take so many bytes of the piece that was lent, which leave more behind."""
        self._at += size
        self.size -= size

    def take_marks(self) -> list[Ordered]:
        """Remove and return the marks; the audio, and all else, stays in its order."""
        marks = [command for command in self.commands if command.wants_answer and not command.is_report]
        if marks:
            self._items = deque(item for item in self._items if item not in marks)
        return marks

    def clear(self) -> list[Ordered]:
        """Drop everything; return the commands."""
        commands = list(self.commands)
        self._items.clear()
        self._at = self.pieces = self.size = 0
        return commands
