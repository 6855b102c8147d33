"""Processes that share a port hand connections to each other.

The system gives a new connection to any of them, but what it belongs to may live in another one: the ticket of a
jambonz call, a call that lost its socket, a call that waits for its application. Each process has a door, a Unix socket
in a directory of theirs alone, called by its number. Through it come a descriptor and what was read from it so far.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import attrs
import trio

from callstream_trio.wait import receive_some, send_all

_TAKEN = b"+"
# A message of the longest kind, and the request before it.
_MAX_DATA = 2 * 1024 * 1024
_BACKLOG = 256
# Seconds for an answer: jambonz, whose call is looked for, waits five.
_PATIENCE = 1.0


@attrs.frozen(kw_only=True)
class Visitor:
    """A connection on its way to another process."""

    peer: str
    """Where it comes from."""
    data: bytes
    """What was read from it, from its request on."""
    call_sid: str | None = None
    """It is a control socket already, and goes on with this call; None where the request has no answer yet."""


class Neighbours:
    """The other processes, as one of them knows them."""

    def __init__(self, directory: Path, number: int) -> None:
        self.number = number
        """This process."""
        self._directory = directory
        self._door = directory / str(number)

    def others(self) -> list[int]:
        """Return the numbers of all that are there now but ourselves."""
        return sorted({int(door.name) for door in self._directory.iterdir()} - {self.number})

    def open_door(self) -> socket.socket:
        """Let others hand connections over; return the socket where they come."""
        door = socket.socket(socket.AF_UNIX)
        try:
            door.setblocking(False)
            door.bind(str(self._door))
            door.listen(_BACKLOG)
        except OSError:
            door.close()
            raise
        return door

    def forget(self) -> None:
        """Let nobody come to our door any more."""
        self._door.unlink(missing_ok=True)

    def leave(self) -> None:
        """As the last one, whose parent is gone, take the directory away."""
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    async def find(self, call_sid: str) -> int | None:
        """Ask all others at once which of them has a call. One that does not answer in time has it not."""
        found: int | None = None
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + _PATIENCE

            async def ask(number: int) -> None:
                nonlocal found
                if await self._offer(number, None, Visitor(peer="", data=b"", call_sid=call_sid)):
                    found = number
                    nursery.cancel_scope.cancel()

            for number in self.others():
                nursery.start_soon(ask, number)
        return found

    async def hand_over(self, number: int, sock: socket.socket, visitor: Visitor) -> bool:
        """Offer a connection to another process; tell whether it was taken. Ours is still to be closed.

        The caller sets the deadline; when it is over, nobody knows who has the connection.
        """
        return await self._offer(number, sock, visitor)

    async def _offer(self, number: int, sock: socket.socket | None, visitor: Visitor) -> bool:
        header = json.dumps({"peer": visitor.peer, "call_sid": visitor.call_sid}).encode() + b"\n"
        data = header + visitor.data
        with socket.socket(socket.AF_UNIX) as door:
            door.setblocking(False)
            await trio.lowlevel.checkpoint()
            try:
                # It may be gone, or have more to do than it can.
                door.connect(str(self._directory / str(number)))
                # The descriptor travels with the first bytes.
                sent = socket.send_fds(door, [data], [sock.fileno()] if sock is not None else [])
                await send_all(door, data[sent:])
                door.shutdown(socket.SHUT_WR)
                return await receive_some(door, len(_TAKEN)) == _TAKEN
            except OSError:
                # Nothing is taken before everything was read, and that is said with the last breath.
                return False


async def receive(door: socket.socket) -> tuple[socket.socket | None, Visitor]:
    """Receive what another process offers, or asks: then there is no socket. `OSError` where that is nothing whole."""
    await trio.lowlevel.wait_readable(door)
    data, descriptors, _, _ = socket.recv_fds(door, 65536, 1)
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(fileno=descriptors[0])) if descriptors else None
        pieces = [data]
        size = len(data)
        while (piece := await receive_some(door, 65536)) and size <= _MAX_DATA:
            pieces.append(piece)
            size += len(piece)
        header, newline, rest = b"".join(pieces).partition(b"\n")
        if size > _MAX_DATA or not newline:
            raise OSError("nothing whole was handed over")
        try:
            found = json.loads(header)
            visitor = Visitor(peer=str(found["peer"]), data=rest, call_sid=found["call_sid"])
        except (ValueError, TypeError, LookupError):
            raise OSError("nobody knows what was handed over") from None
        if sock is not None:
            sock.setblocking(False)
        elif visitor.call_sid is None:
            raise OSError("nothing was handed over, and nothing asked")
        undo.pop_all()
    return sock, visitor


def accept(door: socket.socket) -> None:
    """Say yes: a connection is ours from now on. `OSError` where the other process has given up meanwhile."""
    door.send(_TAKEN)
