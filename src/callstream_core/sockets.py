"""A WebSocket as a shell wants it, whatever library it is of. Nothing here does anything."""

from __future__ import annotations

from typing import Protocol


class LinkClosed(Exception):
    """The WebSocket is closed; `code` is the close code, 1005 for a close without one, None for a lost connection."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}" if code is not None else "connection lost")
        self.code = code


class Socket(Protocol):
    """One WebSocket. `receive` may be cancelled without losing a message."""

    async def receive(self) -> str | bytes:
        """Wait for a message. Raise `LinkClosed` when there will be no more."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send one message, unfragmented. Raise `LinkClosed` when that cannot be."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close; harmless when that has happened already."""
        ...
