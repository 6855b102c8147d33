"""A TLS connection whose call lives in another process: its bytes go there in the clear, and back.

A descriptor can be handed over, the state of TLS cannot: the process that shook hands goes on to encrypt and decrypt.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import trio

from callstream_trio.hub import Hub
from callstream_trio.link_limits import LinkLimits
from callstream_trio.tls import Tls

_READ_SIZE = 16384
_NEVER = float("inf")


class Relay:
    """Carries bytes between a TLS socket and a plain one. Where one is closed, the other follows when all is sent."""

    def __init__(self, hub: Hub, outer: socket.socket, tls: Tls, inner: socket.socket, limits: LinkLimits) -> None:
        self._gone = trio.Event()
        self._ends = (_End(hub, outer, tls, limits, self._look), _End(hub, inner, None, limits, self._look))
        for end, other in (self._ends, self._ends[::-1]):
            end.other = other
            hub.add(end)

    def _look(self) -> None:
        if all(end.is_closed for end in self._ends):
            self._gone.set()

    async def wait_gone(self) -> None:
        """Wait until both sockets are closed."""
        await self._gone.wait()

    def close(self) -> None:
        """Close both now."""
        for end in self._ends:
            end.close()


class _End:
    """One of the two sockets, as the hub serves it."""

    other: _End

    def __init__(
        self, hub: Hub, sock: socket.socket, tls: Tls | None, limits: LinkLimits, when_closed: Callable[[], None]
    ) -> None:
        self.scheduled: float | None = None
        self.is_closed = False
        self._when_closed = when_closed
        self._hub = hub
        self._sock = sock
        self._fd = sock.fileno()
        self._tls = tls
        self._limits = limits
        self._unsent = bytearray()
        self._deadline = _NEVER
        self._is_last = False
        """Nothing follows what waits to be sent."""

    def fileno(self) -> int:
        return self._fd

    def handle_readable(self, now: float) -> None:
        try:
            data = self._sock.recv(_READ_SIZE)
            is_over = not data
            if self._tls is not None and data:
                data = self._tls.decrypt(data)
                is_over = self._tls.is_over
        except BlockingIOError:
            return
        except OSError:
            data, is_over = b"", True
        if is_over:
            self.close()
        self.other.send(data, now, is_last=is_over)

    def handle_writable(self, now: float) -> None:
        self._flush(now)

    def handle_deadline(self, now: float) -> None:
        if self._deadline <= now:
            self._give_up()
        elif self._deadline < _NEVER:
            self._hub.schedule(self, self._deadline)

    def abandon(self, error: Exception) -> None:
        self._give_up()

    def send(self, data: bytes, now: float, *, is_last: bool) -> None:
        """Send these bytes behind those that wait; then, if they are the last, close."""
        if self.is_closed:
            return
        is_first = not self._unsent
        self._unsent += self._tls.encrypt([data]) if self._tls is not None and data else data
        self._is_last = is_last
        if is_first:
            self._flush(now)
        if len(self._unsent) > self._limits.max_unsent:
            self._give_up()

    def _flush(self, now: float) -> None:
        sent = 0
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            pass
        except OSError:
            self._give_up()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._deadline = _NEVER
            self._hub.want_write(self, False)
            if self._is_last:
                self.close()
        elif sent or self._deadline == _NEVER:
            self._deadline = now + self._limits.send_timeout
            self._hub.want_write(self, True)
            if self.scheduled is None:
                self._hub.schedule(self, self._deadline)

    def _give_up(self) -> None:
        self.close()
        self.other.close()

    def close(self) -> None:
        """Close this socket; what could not be sent is lost."""
        if self.is_closed:
            return
        self.is_closed = True
        self._hub.remove(self)
        if self._tls is not None and not self._unsent:
            with contextlib.suppress(OSError):
                self._sock.send(self._tls.goodbye())
        self._sock.close()
        self._when_closed()
