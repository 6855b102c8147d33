"""Who a link works for, and what it tells him."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from callstream_core.app_session import AppSession
from callstream_core.commands import Command
from callstream_core.events import Event
from callstream_core.outputs import FramePlayed
from callstream_core.platform_session import PlatformSession

Session = AppSession | PlatformSession
Said = Event | Command | FramePlayed
"""What a session heard, or played: all outputs that are not for the link itself."""


class Owner(Protocol):
    """Who a link works for."""

    def hear(self, said: Said, now: float) -> Iterable[Event | Command]:
        """Take what the session heard; return what to say in reply, at once."""
        ...

    def refused(self) -> None:
        """Count a reply that the session would not say now."""
        ...

    def closed(self) -> None:
        """Take note that the socket is gone."""
        ...
