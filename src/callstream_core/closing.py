"""How a WebSocket ended, and the call on it, in words."""

from __future__ import annotations

import enum

NO_CODE = 1005
"""A close message without a code (RFC 6455, 7.1.5)."""

ABNORMAL = 1006
"""What some libraries report in place of a close message that never came; never on the wire."""

_REASONS = {
    None: "the connection was lost without a close",
    1000: "normal end",
    1001: "the peer went away",
    1002: "protocol error",
    1003: "unacceptable data",
    NO_CODE: "closed without a code",
    1007: "text that is not UTF-8",
    1008: "policy violation",
    1009: "message too big",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
}
_CLEAN = frozenset({1000, 1001, NO_CODE})


class Outcome(enum.Enum):
    """What became of a call, as its platform would write it down."""

    COMPLETED = "completed"
    """It was answered, and one side hung up."""
    BUSY = "busy"
    REJECTED = "rejected"
    NO_ANSWER = "no answer"
    CANCELLED = "cancelled"
    """The caller gave up before the answer."""
    FAILED = "failed"
    """The application never took it, or was lost."""


def reason_of(code: int | None, reason: str = "") -> str:
    """Return the peer's own reason, or what its code means."""
    return reason or _REASONS.get(code, f"close code {code}")


def is_clean(code: int | None) -> bool:
    """Tell whether a close code means an agreed end."""
    return code in _CLEAN
