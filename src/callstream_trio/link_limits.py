"""How much one connection may hold, and how fast and how long it may talk."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class LinkLimits:
    """The bounds of one connection."""

    max_unsent: int = 1024 * 1024
    """Bytes that may wait for a peer that does not read."""
    send_timeout: float = 10.0
    """Seconds that a peer may leave them there without taking any."""
    max_messages: int = 5000
    """Messages and control frames that a platform may send in one second; a minute's audio after a stall is 3,000."""
    close_timeout: float = 1.0
    """Seconds for the peer to agree to our close."""
    first_message_timeout: float = 10.0
    """Seconds for the first message, where it must tell the dialect."""


class MessageRate:
    """Tells who sends more than `most` messages in a second. The clock is looked at once for so many."""

    __slots__ = ("_count", "_most", "_since")

    def __init__(self, most: float, now: float) -> None:
        self._most = most
        self._count = 0
        self._since = now

    def is_flood(self, count: int, now: float) -> bool:
        """Count more messages; a slower peer begins anew."""
        self._count += count
        if self._count <= self._most:
            return False
        since, self._since, self._count = self._since, now, 0
        return count > self._most or now - since < 1
