"""The control sockets of jambonz's calls: new ones, and those with which it comes back to a call."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import trio

from callstream_core.errors import Malformed
from callstream_core.jambonz import ControlSession
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import decode_event
from callstream_core.jambonz.limits import ControlLimits
from callstream_core.websocket import STRICT, FrameDecoder, Ping, Pong
from callstream_trio.admission import Request
from callstream_trio.control import Control
from callstream_trio.guest import Guest
from callstream_trio.handling import run_handler
from callstream_trio.hub import Hub, clock
from callstream_trio.jambonz import TicketOffice, end_audio
from callstream_trio.link import Link
from callstream_trio.neighbours import Neighbours

if TYPE_CHECKING:
    from callstream_trio.server import ServerSettings

# Bytes of a first message: an offer carries a whole INVITE. And characters of the name of a call.
_MAX_FIRST = 1024 * 1024 + 1024
_MAX_SID = 200


class Exchange:
    """Ties each control socket to its call, wherever that is."""

    def __init__(
        self, hub: Hub, settings: ServerSettings, tickets: TicketOffice, neighbours: Neighbours | None = None
    ) -> None:
        self.controls: set[Control] = set()
        """Those that are here, and those that jambonz may come back to."""
        self.endings: Counter[str] = Counter()
        """How many ended in which way."""
        self.tolerated: Counter[str] = Counter()
        """Tolerances that they needed."""
        self._hub = hub
        self._settings = settings
        self._tickets = tickets
        self._neighbours = neighbours
        self._lost: set[Control] = set()

    @property
    def lines(self) -> int:
        """Sockets that are here now."""
        return len(self.controls) - len(self._lost)

    def find(self, call_sid: str) -> Control | None:
        """Return the control of a call that jambonz may come back to."""
        return next((each for each in self.controls if each.call_sid == call_sid and each.ended is None), None)

    async def serve(self, guest: Guest, request: Request, early: bytes) -> None:
        """Run a socket that was admitted, to its end; or let another process have it, whose call it belongs to."""
        began = clock()
        control = self._tickets.take_call(request)
        self.controls.add(control)
        try:
            early, call_sid = await _read_first(guest, early)
            found = self.find(call_sid) if call_sid else None
            if found is not None:
                self.controls.discard(control)
                await found.wait_gone(self._connect(found, guest, request, early, began))
            elif not call_sid or not await self._send_elsewhere(guest, early, call_sid):
                await self._run(control, guest, request, early, began)
        finally:
            self.controls.discard(control)

    async def _send_elsewhere(self, guest: Guest, early: bytes, call_sid: str) -> bool:
        neighbours = self._neighbours if guest.visitor is None else None
        holder = await neighbours.find(call_sid) if neighbours else None
        if neighbours is None or holder is None:
            return False
        with trio.move_on_after(self._settings.limits.handshake_timeout):
            return await guest.hand_over(neighbours, holder, early, call_sid=call_sid)
        # Nobody knows whether it was taken.
        guest.abort()
        return True

    def _connect(self, control: Control, guest: Guest, request: Request, early: bytes, began: float) -> Link:
        session = ControlSession(now=began)
        limits = self._settings.link_limits
        link = Link(self._hub, guest.sock, session, control, is_client=False, tls=guest.tls, limits=limits)
        control.attach(link, request)
        link.start(early)
        return link

    async def _run(self, control: Control, guest: Guest, request: Request, early: bytes, began: float) -> None:
        settings = self._settings
        try:
            async with trio.open_nursery() as nursery:
                link = self._connect(control, guest, request, early, began)
                nursery.start_soon(self._wait_over, control)
                verbs = settings.jambonz.verbs
                if verbs is not None and await control.wait_opened():
                    await run_handler(verbs, control, grace=settings.limits.handler_grace, peer=guest.peer)
            await control.wait_gone(link)
            await end_audio(control)
        finally:
            control.close(1001, "the server stops")
            control.drop()
            self._tickets.forget(control)
            ended = control.ended
            self.endings["control broken" if ended is None else f"control {ended.outcome.value}"] += 1
            self.tolerated.update(control.tolerated)

    async def _wait_over(self, control: Control) -> None:
        """Wait until a call's control has ended for good: each time that it is lost, jambonz has time to come back."""
        while await control.wait_lost():
            self._lost.add(control)
            with trio.move_on_after(self._settings.jambonz.return_timeout):
                await control.wait_back()
            self._lost.discard(control)
            control.give_up()


async def _read_first(guest: Guest, early: bytes) -> tuple[bytes, str | None]:
    """Return all that came up to a socket's first message, and the call that jambonz comes back to with it, if any.

    Everything else about that message, and about one that does not come, is for the session, which has it all again.
    """
    decoder = FrameDecoder(masked=True, rules=STRICT)
    first: str | None = None
    pieces: list[bytes] = []
    size = 0
    piece = early
    with trio.move_on_after(ControlLimits().opening_timeout), contextlib.suppress(OSError):
        while piece or not pieces:
            pieces.append(piece)
            size += len(piece)
            heard = [message for message in decoder.feed(piece) if not isinstance(message, Ping | Pong)]
            if heard or size > _MAX_FIRST:
                first = heard[0] if heard and isinstance(heard[0], str) else None
                break
            piece = await guest.receive()
    return b"".join(pieces), _call_of(first) if first else None


def _call_of(message: str) -> str | None:
    try:
        event = decode_event(message)
    except Malformed:
        return None
    leg = event.leg if isinstance(event, w.SessionReconnected) else None
    return leg if leg and len(leg) <= _MAX_SID else None
