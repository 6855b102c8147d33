"""Sockets that take connections."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import structlog
import trio

_log = structlog.get_logger("callstream.listen")

_BROKEN = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT))
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


async def accept_one(
    listener: socket.socket, on_failure: Callable[[], None] | None = None
) -> tuple[socket.socket, tuple[str, int]]:
    """Wait for a connection; return its socket, set to non-blocking, and the peer's address."""
    is_said = False
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, peer = listener.accept()
        except OSError as error:
            if error.errno in _BROKEN:
                raise
            # Linux reports a new connection's own trouble here (accept(2)): that is for its peer to mind.
            if error.errno not in _OUT_OF_RESOURCES:
                continue
            if on_failure is not None:
                on_failure()
            if not is_said:
                is_said = True
                _log.error("cannot accept a call; raise the limit of open files", error=str(error))
            await trio.sleep(0.1)
        else:
            sock.setblocking(False)
            return sock, peer


async def open_listeners(
    bind: str, *, backlog: int = 1024, shares_port: bool = False, listens: bool = True
) -> list[socket.socket]:
    """Listen on `host:port`; port 0 takes a free one. `OSError` where that is impossible, `ValueError` for bad text.

    With `shares_port`, other processes may listen there, too; without `listens`, the address is only held.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{bind!r} is not an address; use HOST:PORT, for example 127.0.0.1:8787")
    host = host.strip("[]")
    found = await trio.socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                listeners.append(_listen(family, address, backlog if listens else None, shares_port=shares_port))
            except OSError as error:
                # `localhost` may name an IPv6 address on a machine without IPv6.
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = error
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise missing or OSError(errno.EADDRNOTAVAIL, f"no address for {bind}")
    return listeners


def _listen(
    family: int, address: tuple[str | int, ...] | tuple[int, bytes], backlog: int | None, *, shares_port: bool
) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        if backlog is not None:
            listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
