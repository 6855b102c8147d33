"""What waits to be sent: audio in pieces, and commands between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from callstream_core.marks import Ordered


class Outbox:
    """A queue of audio and ordered commands. Its owner asks for `room` first: nothing is refused here."""

    __slots__ = ("_items", "_max_items", "_max_size", "pieces", "size")

    def __init__(self, *, max_size: int, max_items: int) -> None:
        self._max_size = max_size
        self._max_items = max_items
        self._items: deque[bytes | Ordered] = deque()
        self.pieces = 0
        """Pieces of audio: packets, where each leaves by itself."""
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

    def room(self, piece: int, *, begun: bool) -> int:
        """Return how many bytes fit that will be cut into pieces of this size; perhaps one is `begun` already."""
        pieces = self._max_items - len(self._items) - begun
        return max(min(self._max_size - self.size, pieces * piece), 0)

    def add_audio(self, audio: bytes, piece: int) -> int:
        """Append audio in pieces of at most this size; return their number."""
        pieces = [audio] if len(audio) <= piece else [audio[at : at + piece] for at in range(0, len(audio), piece)]
        self._items.extend(pieces)
        self.pieces += len(pieces)
        self.size += len(audio)
        return len(pieces)

    def add(self, command: Ordered) -> None:
        """Append a command."""
        self._items.append(command)

    def next_command(self) -> Ordered | None:
        """Remove and return the command whose turn it is; None if it is not a command's."""
        if self._items and isinstance(command := self._items[0], Ordered):
            self._items.popleft()
            return command
        return None

    def next_piece(self) -> bytes | None:
        """Return the audio whose turn it is; None if it is not audio's."""
        return piece if self._items and isinstance(piece := self._items[0], bytes) else None

    @property
    def is_flowing(self) -> bool:
        """True when it is audio's turn, and after that piece it will be again."""
        items = self._items
        return len(items) > 1 and type(items[0]) is bytes and type(items[1]) is bytes

    def take_packet(self) -> bytes:
        """Take the whole next piece, which must be there."""
        packet = self._items.popleft()
        assert isinstance(packet, bytes)
        self.pieces -= 1
        self.size -= len(packet)
        return packet

    def take_audio(self, piece: bytes, size: int) -> bytes:
        """Take up to `size` bytes of the next piece."""
        if size < len(piece):
            self._items[0] = piece[size:]
            piece = piece[:size]
            self.size -= size
            return piece
        return self.take_packet()

    def take_marks(self) -> list[Ordered]:
        """Remove and return the marks; the audio, and all else, stays in its order."""
        marks = [command for command in self.commands if command.wants_answer and not command.is_report]
        if marks:
            self._items = deque(item for item in self._items if item not in marks)
        return marks

    def recut(self, piece: int) -> None:
        """Cut the audio into pieces of at most this size."""
        items, self._items = self._items, deque()
        self.pieces = self.size = 0
        for item in items:
            if isinstance(item, Ordered):
                self._items.append(item)
            else:
                self.add_audio(item, piece)

    def clear(self) -> list[Ordered]:
        """Drop everything; return the commands."""
        commands = list(self.commands)
        self._items.clear()
        self.pieces = self.size = 0
        return commands
