"""What a session hands back besides the events and commands it heard."""

from __future__ import annotations

import attrs

from callstream_core.commands import Command
from callstream_core.events import Event


# Not frozen, though never changed: see `AudioReceived`.
@attrs.define(unsafe_hash=True)
class Transmit:
    """Send this message as one unfragmented WebSocket message, in one write."""

    message: str | bytes


@attrs.frozen
class CloseLink:
    """Close the WebSocket; nothing is transmitted after it. Without a code: drop the connection unannounced."""

    code: int | None
    reason: str = ""


@attrs.frozen(kw_only=True)
class FramePlayed:
    """The platform end hands audio to the caller: what is heard, and when."""

    data: bytes
    at: float


Output = Event | Command | Transmit | CloseLink | FramePlayed
