"""A call over a WebSocket that somebody else's library has opened."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import structlog
import trio

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.errors import LocalProtocolError
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Transmit
from callstream_core.sockets import LinkClosed, Socket
from callstream_trio.call import Call, CallLimits
from callstream_trio.deadlines import Timed
from callstream_trio.handling import Handler, run_handler
from callstream_trio.hub import clock
from callstream_trio.link_limits import LinkLimits, MessageRate
from callstream_trio.owner import Owner, Session

_log = structlog.get_logger("callstream.link")


class Carriage:
    """Drives one session over one socket, in two tasks: one reads, the other writes and keeps time."""

    def __init__(self, socket: Socket, session: AppSession, owner: Owner, limits: LinkLimits) -> None:
        self.session: Session | None = session
        self.messages_received = 0
        self.messages_sent = 0
        self._socket = socket
        self._session = session
        self._owner = owner
        self._limits = limits
        self._outgoing: deque[str | bytes | CloseLink] = deque()
        self._unsent = 0
        self._wake = trio.Event()
        self._wakes_at = math.inf
        self._timed: Timed | None = None
        self._is_lost = False
        self._rate = MessageRate(limits.max_messages, clock())

    # The call's side

    def say(self, word: Any) -> None:
        """Say a command, at once."""
        self._perform(self._session.send(word, clock()))

    def offer(self, word: Any) -> bool:
        """Say something for another call's sake; tell whether it was taken. A fault here harms this call alone."""
        try:
            self.say(word)
        except LocalProtocolError:
            return False
        except Exception as error:
            _log.error("call failed", exc_info=error)
            self._outgoing.append(CloseLink(1011, "internal error"))
            self._wake.set()
        return True

    def schedule(self, timed: Timed, deadline: float) -> None:
        """Call `timed.handle_deadline` at `deadline`; there is nobody but the call that asks for it."""
        self._timed = timed
        timed.scheduled = deadline
        if deadline < self._wakes_at:
            self._wake.set()

    def fail(self, code: int, reason: str) -> None:
        """End the call with a close code."""
        self._perform(self._session.fail(code, reason, clock()))

    def _perform(self, outputs: list[Any]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self._outgoing.append(output.message)
                self._unsent += len(output.message)
            elif isinstance(output, CloseLink):
                self._outgoing.append(output)
            else:
                for reply in self._owner.hear(output, clock()):
                    if not self.offer(reply):
                        self._owner.refused()
        if self._unsent > self._limits.max_unsent and self._session.state is not State.CLOSED:
            # What waits would come minutes late.
            self._outgoing.clear()
            self._unsent = 0
            self.fail(1008, "the peer does not read what we send")
        due = self._session.next_timeout()
        if self._outgoing or (due is not None and due < self._wakes_at):
            self._wake.set()

    # Tasks

    async def run(self) -> None:
        """Carry the call until the socket is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                await self._write()
                nursery.cancel_scope.cancel()
        finally:
            self._perform(self._session.receive_close(None, clock()))
            self._owner.closed()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                self.messages_received += 1
                if self._rate.is_flood(1, clock()):
                    self.fail(1008, f"more than {self._limits.max_messages} messages in a second")
                self._perform(self._session.receive(message, clock()))
        except LinkClosed as closed:
            self._perform(self._session.receive_close(closed.code, clock()))
            self._is_lost = True
            self._wake.set()

    async def _write(self) -> None:
        while not self._is_lost or self._outgoing:
            while self._outgoing:
                if not await self._send(self._outgoing.popleft()):
                    return
            await self._wait()
            now = clock()
            self._perform(self._session.handle_timeout(now))
            if self._timed is not None and self._timed.scheduled is not None and self._timed.scheduled <= now:
                self._timed.scheduled = None
                self._timed.handle_deadline(now)

    async def _send(self, message: str | bytes | CloseLink) -> bool:
        """Send a message; False when there will be no more."""
        if isinstance(message, CloseLink):
            with trio.move_on_after(self._limits.close_timeout):
                await self._socket.close(message.code or 1000, message.reason)
            return False
        self._unsent -= len(message)
        self.messages_sent += 1
        try:
            with trio.move_on_after(self._limits.send_timeout) as sending:
                await self._socket.send(message)
        except LinkClosed:
            return False
        return not sending.cancelled_caught

    async def _wait(self) -> None:
        others = self._timed.scheduled if self._timed is not None else None
        self._wakes_at = min(
            (due for due in (self._session.next_timeout(), others) if due is not None), default=math.inf
        )
        with trio.move_on_after(max(self._wakes_at - clock(), 0)):
            await self._wake.wait()
        self._wakes_at = -math.inf
        self._wake = trio.Event()


async def carry(
    handler: Handler,
    socket: Socket,
    *,
    dialect: str = "asterisk",
    profile: object = None,
    grace: float = 5.0,
    limits: Limits | None = None,
    playout: PlayoutSettings | None = None,
    call_limits: CallLimits | None = None,
    link_limits: LinkLimits | None = None,
) -> None:
    """Run `handler` for the call on a WebSocket of any library, and return when the socket is closed.

    `socket` is any object with the three methods of `Socket`. A handler that fails ends its own call, with 1011, and
    is logged; nothing is raised for it.
    """
    call = Call(call_limits)
    session = AppSession(dialects.get(dialect), profile, limits=limits, settings=playout, now=clock())
    carriage = Carriage(socket, session, call, link_limits or LinkLimits())
    call.attach(carriage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carriage.run)
        if await call.wait_opened():
            await run_handler(handler, call, grace=grace, peer=type(socket).__name__)
