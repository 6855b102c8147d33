"""What a WebSocket stream says, and the rules a receiving end holds it to."""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs


@attrs.frozen
class Ping:
    """The peer asks for a pong with the same payload."""

    payload: bytes


@attrs.frozen
class Pong:
    """The peer answers a ping, or just shows that it lives."""

    payload: bytes


@attrs.frozen
class Close:
    """The peer closes; nothing follows."""

    code: int | None
    """None where the peer gave no code."""
    reason: str = ""


@attrs.frozen
class Failure:
    """The stream is broken: close with this code and reason; nothing more is parsed."""

    code: int
    reason: str


Incoming: TypeAlias = str | bytes | Ping | Pong | Close | Failure


class Fragments(enum.Enum):
    """What becomes of a message that comes in several frames."""

    REASSEMBLE = enum.auto()
    """Join it, as RFC 6455 wants."""
    REFUSE = enum.auto()
    """Fail with 1003 (chan_websocket from 22.8 to 22.9)."""
    ASTERISK = enum.auto()
    """Join small ones, mangle the rest (chan_websocket since 22.10); holds too little to count pieces."""


@attrs.frozen(kw_only=True)
class WebSocketRules:
    """What a receiving end enforces."""

    max_message: int
    """Payload bytes of one message, joined; and of a control frame past 125. Beyond: 1009."""
    max_frame: int | None = None
    """Header and payload bytes of one frame. Beyond: 1009, said before the payload arrives."""
    max_fragments: int
    """Frames of one joined message, for empty ones cost time but no bytes. Beyond: 1008."""
    fragments: Fragments = Fragments.REASSEMBLE
    is_strict: bool = True
    """False tolerates wrong masks, reserved bits, bad UTF-8, padded lengths, odd control frames and codes."""


# A megabyte is half a minute of 16 kHz audio: no platform says more in one message.
STRICT = WebSocketRules(max_message=2**20, max_fragments=1024)


def asterisk_rules(fragments: Fragments = Fragments.ASTERISK) -> WebSocketRules:
    """Return what Asterisk enforces; its releases differ only in how they treat `fragments`."""
    # Its read buffer holds a frame of 65,535 bytes with the header; earlier fragments may come on top.
    return WebSocketRules(
        max_message=2**16 if fragments is Fragments.REASSEMBLE else 2**17,
        max_frame=65535,
        max_fragments=65535,
        fragments=fragments,
        is_strict=False,
    )
