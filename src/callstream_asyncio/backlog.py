"""Events that wait for whoever takes them, bounded in pieces and in bytes."""

from __future__ import annotations

from collections import deque

from callstream_core import events as e

_MAX_BYTES = 1024 * 1024


class Backlog:
    """A queue of events. What it has no room for is dropped: audio first, everything else at twice as much.

    The end of the call always has room.
    """

    def __init__(self, max_pieces: int) -> None:
        self.dropped = 0
        """Events that came when there was no room for them."""
        self._max_pieces = max_pieces
        self._events: deque[e.Event] = deque()
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: e.Event) -> None:
        """Add an event, if there is room."""
        room = 1 if isinstance(event, e.AudioReceived) else 2
        size = _size(event)
        is_full = len(self._events) >= room * self._max_pieces or self._size + size > room * _MAX_BYTES
        if is_full and not isinstance(event, e.SessionClosed):
            self.dropped += 1
        else:
            self._events.append(event)
            self._size += size

    def take(self) -> e.Event:
        """Return the oldest event."""
        event = self._events.popleft()
        self._size -= _size(event)
        return event


def _size(event: e.Event) -> int:
    if isinstance(event, e.AudioReceived):
        return len(event.data)
    return len(event.message) if isinstance(event, e.MessageIgnored) else 0
