"""The sockets of a simulated jambonz call, between their links and the call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

import trio

from callstream_core.commands import ReportFailure
from callstream_core.errors import LocalProtocolError
from callstream_core.events import SessionClosed
from callstream_core.jambonz.running import Running
from callstream_core.outputs import CloseLink, Transmit
from callstream_trio.hub import clock
from callstream_trio.link import Link
from callstream_trio.owner import Owner


class AudioEnd(Owner, Protocol):
    """Who talks and listens on an audio socket."""

    def attach(self, link: Link) -> None:
        """Take the link."""
        ...

    def hang_up(self) -> None:
        """Close it, as jambonz does when the verb is over."""
        ...


class ControlSide(Protocol):
    """What a control socket tells."""

    def hear(self, socket: ControlSocket, message: str | bytes, now: float) -> None:
        """Take a message."""
        ...

    def hear_close(self, socket: ControlSocket, code: int | None, reason: str, now: float) -> None:
        """Take the end of the conversation."""
        ...

    def forget_socket(self, link: Link, *, is_silent: bool) -> None:
        """Take note that the socket is gone."""
        ...


class AudioSide(Protocol):
    """What an audio socket tells."""

    def end_verb(self, stream: Stream, data: dict[str, Any]) -> None:
        """Let the verb come to its end."""
        ...

    def forget(self, stream: Stream) -> None:
        """Take note that the socket is gone."""
        ...


class ControlSocket:
    """One control socket, both as its link's session and owner: all it brings goes to the call, and back from there."""

    def __init__(self, call: ControlSide, number: int) -> None:
        self.counters: Counter[str] = Counter()
        self.is_closing = False
        """We have said close."""
        self.number = number
        self._call = call
        self._link: Link | None = None
        self._is_announced = False
        self._closed: tuple[int | None, str] | None = None

    def attach(self, link: Link) -> None:
        """Take the link."""
        self._link = link

    def announce(self) -> None:
        """Tell from now on what becomes of the socket; it may have ended with the upgrade already."""
        self._is_announced = True
        if self._closed is not None:
            self._call.hear_close(self, *self._closed, clock())

    def say(self, order: Transmit | CloseLink) -> None:
        """Say something, or close."""
        assert self._link is not None
        self.is_closing = self.is_closing or isinstance(order, CloseLink)
        self._link.perform([order])

    def drop(self) -> None:
        """Cut it."""
        assert self._link is not None
        self._link.drop()

    # The link's session

    def receive(self, message: str | bytes, now: float) -> list[Any]:
        """Take a message; after a close nobody listens."""
        if self._closed is None and not self.is_closing:
            self._call.hear(self, message, now)
        return []

    def receive_close(self, code: int | None, now: float, reason: str = "") -> list[Any]:
        """Take the end; a close is answered with its own code."""
        if self._closed is None:
            self._closed = (code, reason)
            if self._is_announced:
                self._call.hear_close(self, code, reason, now)
        return [] if code is None else [CloseLink(None if code == 1005 else code)]

    def fail(self, code: int, reason: str, now: float) -> list[Any]:
        """End it because of something that only the link can see."""
        self.receive_close(None, now, reason)
        return [CloseLink(code, reason)]

    def send(self, _word: object, _now: float) -> list[Any]:
        """Whatever is said comes from the call."""
        raise LocalProtocolError("a control socket says nothing of its own; say it through the call")

    def handle_timeout(self, _now: float) -> list[Any]:
        """The deadlines are the call's."""
        return []

    def next_timeout(self) -> float | None:
        """The deadlines are the call's."""
        return None

    # The link's owner

    def hear(self, _said: object, _now: float) -> tuple[()]:
        """What is heard, the call has heard."""
        return ()

    def refused(self) -> None:
        """Nothing is said in reply here."""

    def closed(self) -> None:
        """Take note that the socket is gone."""
        link = self._link
        assert link is not None
        self.receive_close(None, clock(), "the connection is gone")
        self._call.forget_socket(link, is_silent=self.is_closing and not link.is_close_heard)


class Stream:
    """The audio socket of one run of a `listen`; between the link and who talks there."""

    def __init__(self, call: AudioSide, running: Running) -> None:
        self.running = running
        self.end: AudioEnd | None = None
        self.link: Link | None = None
        self.scope = trio.CancelScope()
        self.is_tapped = False
        """The verb has ended by an `error`, which leaves the socket open until the call ends."""
        self._call = call

    def hang_up(self) -> None:
        """Close it, or do not open it."""
        if self.link is None:
            self.scope.cancel()
        elif self.end is not None:
            self.end.hang_up()

    def hear(self, said: Any, now: float) -> Iterable[Any]:
        """Take what the session heard; the end of the socket is that of the verb."""
        assert self.end is not None
        replies = self.end.hear(said, now)
        kind = type(said)
        if kind is SessionClosed or kind is ReportFailure:
            self.is_tapped = kind is ReportFailure
            self._call.end_verb(self, {"dial_call_duration": int(now - self.running.since)})
        return replies

    def refused(self) -> None:
        """Nothing is said in reply here."""

    def closed(self) -> None:
        """Take note that the socket is gone."""
        if self.end is not None:
            self.end.closed()
        self._call.forget(self)
