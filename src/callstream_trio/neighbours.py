"""Processes that share a port hand connections to each other.

The system gives a new connection to any of them, but what it belongs to may live in another one: the ticket of a
jambonz call, a call that lost its socket, a call that waits for its application. Each process has a door, a Unix socket
in a directory of theirs alone, called by its number. Through it come a descriptor and what was read from it so far.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import attrs
import trio

from callstream_trio.wait import receive_some, send_all

_TAKEN = b"+"
# A message of the longest kind, and the request before it.
_MAX_DATA = 2 * 1024 * 1024
_BACKLOG = 256


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

    async def hand_over(self, sock: socket.socket, visitor: Visitor, numbers: Iterable[int]) -> bool:
        """Offer a connection to some of the others, one by one; tell whether one took it. Ours is still to be closed.

        `OSError` where one went away, and nobody knows whether it had taken it.
        """
        header = json.dumps({"peer": visitor.peer, "call_sid": visitor.call_sid}).encode() + b"\n"
        for number in numbers:
            with socket.socket(socket.AF_UNIX) as door:
                door.setblocking(False)
                try:
                    door.connect(str(self._directory / str(number)))
                except OSError:
                    # It is gone, or has more to do than it can.
                    await trio.lowlevel.checkpoint()
                    continue
                if await _offer(door, sock, header + visitor.data):
                    return True
        return False


async def _offer(door: socket.socket, sock: socket.socket, data: bytes) -> bool:
    # The descriptor travels with the first bytes; they are what it is told from them by.
    sent = socket.send_fds(door, [data], [sock.fileno()])
    try:
        await send_all(door, data[sent:])
        door.shutdown(socket.SHUT_WR)
        return await receive_some(door, len(_TAKEN)) == _TAKEN
    except (BrokenPipeError, ConnectionResetError):
        # It takes nothing before it has read everything, and says so with its last breath.
        return False


async def receive(door: socket.socket) -> tuple[socket.socket, Visitor]:
    """Receive what another process offers; `OSError` where that is nothing whole."""
    await trio.lowlevel.wait_readable(door)
    data, descriptors, _, _ = socket.recv_fds(door, 65536, 1)
    with contextlib.ExitStack() as undo:
        socks = [undo.enter_context(socket.socket(fileno=descriptor)) for descriptor in descriptors]
        pieces = [data]
        size = len(data)
        while (piece := await receive_some(door, 65536)) and size <= _MAX_DATA:
            pieces.append(piece)
            size += len(piece)
        header, newline, rest = b"".join(pieces).partition(b"\n")
        if size > _MAX_DATA or not newline or not socks:
            raise OSError("no connection was handed over")
        try:
            found = json.loads(header)
            visitor = Visitor(peer=str(found["peer"]), data=rest, call_sid=found["call_sid"])
        except (ValueError, TypeError, LookupError):
            raise OSError("nobody knows what was handed over") from None
        socks[0].setblocking(False)
        undo.pop_all()
    return socks[0], visitor


def take(door: socket.socket) -> None:
    """Tell that the connection is ours from now on; `OSError` where the other process has given up meanwhile."""
    door.send(_TAKEN)
