"""Who a link works for, what it drives, and what it tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from callstream_core.commands import Command
from callstream_core.events import Event
from callstream_core.outputs import FramePlayed
from callstream_trio.deadlines import Timed

Said = Event | Command | FramePlayed
"""What a session of audio heard, or played: all outputs that are not for the link itself."""


class Session(Protocol):
    """One end of one conversation: of audio, or of a control socket. Each input returns what must happen next."""

    counters: Counter[str]
    """Every tolerance that was needed, by name."""

    def receive(self, message: str | bytes, now: float) -> list[Any]:
        """Take a message."""
        ...

    def receive_close(self, code: int | None, now: float, reason: str = "") -> list[Any]:
        """Take the end of the WebSocket."""
        ...

    def send(self, word: Any, now: float, /) -> list[Any]:
        """Say something; raise `LocalProtocolError` where that is a mistake."""
        ...

    def fail(self, code: int, reason: str, now: float) -> list[Any]:
        """End with a close code. The last output is the last event of all."""
        ...

    def handle_timeout(self, now: float) -> list[Any]:
        """Do what is due."""
        ...

    def next_timeout(self) -> float | None:
        """Return when something is."""
        ...


class Owner(Protocol):
    """Who a link works for."""

    def hear(self, said: Any, now: float) -> Iterable[Any]:
        """Take what the session heard; return what to say in reply, at once."""
        ...

    def refused(self) -> None:
        """Count a reply that the session would not say now."""
        ...

    def closed(self) -> None:
        """Take note that the socket is gone."""
        ...


class _Nobody:
    """Hears nothing and says nothing."""

    def hear(self, _said: object, _now: float) -> tuple[()]:
        return ()

    def refused(self) -> None: ...

    def closed(self) -> None: ...


NOBODY = _Nobody()
"""Whom a link works for when it is gone."""


class Carrier(Protocol):
    """What carries a call: a link, or a WebSocket of somebody else's library."""

    session: Session | None

    @property
    def messages_received(self) -> int:
        """Messages that have come, whole."""
        ...

    @property
    def messages_sent(self) -> int:
        """Messages that were sent, or wait for it."""
        ...

    def say(self, word: object) -> None:
        """Say a command now. Raise `LocalProtocolError` where that is a mistake."""
        ...

    def schedule(self, timed: Timed, deadline: float) -> None:
        """Call `timed.handle_deadline` at `deadline`. Only an earlier one than before needs to be said."""
        ...

    def offer(self, word: object) -> bool:
        """Say something for another call's sake; tell whether it was taken. A fault here harms this call alone."""
        ...

    def fail(self, code: int, reason: str) -> None:
        """End the call with a close code."""
        ...
