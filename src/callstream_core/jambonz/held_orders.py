"""Commands that wait for jambonz to begin to listen."""

from __future__ import annotations

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz.limits import ControlLimits
from callstream_core.jambonz.orders import Order


class HeldOrders:
    """Commands with their messages, in order, within bounds."""

    __slots__ = ("_limits", "_size", "_waiting")

    def __init__(self, limits: ControlLimits) -> None:
        self._limits = limits
        self._waiting: list[tuple[Order, str]] = []
        self._size = 0

    @property
    def orders(self) -> tuple[Order, ...]:
        """What waits."""
        return tuple(order for order, _ in self._waiting)

    def check(self, message: str) -> None:
        """Raise `LocalProtocolError` where one more would be too much."""
        is_full = self._size + len(message) > self._limits.max_held_text
        if is_full or len(self._waiting) >= self._limits.max_held:
            raise LocalProtocolError(
                f"{len(self._waiting)} commands of {self._size} characters wait for jambonz to listen; "
                "send this one later"
            )

    def add(self, order: Order, message: str) -> None:
        """Let a command wait."""
        self._waiting.append((order, message))
        self._size += len(message)

    def take(self) -> list[tuple[Order, str]]:
        """Return all that waits, which it does no more."""
        taken, self._waiting, self._size = self._waiting, [], 0
        return taken
