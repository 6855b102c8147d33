"""Bytes in and out of one socket that never blocks, perhaps through TLS."""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence

from callstream_trio.hub import Hub
from callstream_trio.link_limits import LinkLimits
from callstream_trio.tls import Tls

NEVER = float("inf")

# A call says a few hundred bytes at a time; what one peer can have us do in one turn is bounded by this.
_READ_SIZE = 16384


class Wire(ABC):
    """Holds back what the peer does not take, for so long and up to so much; a heir says what the bytes mean."""

    __slots__ = ("_fd", "_hub", "_limits", "_send_deadline", "_sock", "_tls", "_unsent", "is_gone", "scheduled")

    def __init__(self, hub: Hub, sock: socket.socket, tls: Tls | None, limits: LinkLimits) -> None:
        self.scheduled: float | None = None
        self.is_gone = False
        """Whether the socket is closed."""
        self._hub = hub
        self._sock = sock
        self._fd = sock.fileno()
        self._tls = tls
        self._limits = limits
        self._unsent: bytearray | None = None
        self._send_deadline = NEVER

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._fd

    @abstractmethod
    def handle_readable(self, now: float) -> None:
        """Read what there is."""

    @abstractmethod
    def handle_writable(self, now: float) -> None:
        """Write what has been waiting."""

    @abstractmethod
    def handle_deadline(self, now: float) -> None:
        """Do what is due."""

    @abstractmethod
    def abandon(self, error: Exception) -> None:
        """Give up: something inside failed."""

    @abstractmethod
    def _lost(self, reason: str, now: float) -> None:
        """Take note that nothing more can be read or sent."""

    def _read(self, now: float) -> bytes:
        """Read once; return nothing where there is nothing, or the connection is lost."""
        try:
            data = self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._lost(str(error), now)
            return b""
        if not data:
            self._lost("the peer closed the connection", now)
        elif self._tls is not None:
            try:
                return self._tls.decrypt(data)
            except OSError as error:
                self._lost(f"TLS failed: {error}", now)
                return b""
        return data

    def _write(self, pieces: Sequence[bytes], now: float) -> None:
        """Send messages, as far as the socket takes them, and keep the rest."""
        self._push(b"".join(pieces) if self._tls is None else self._tls.encrypt(pieces), now)

    def _push(self, data: bytes, now: float) -> None:
        waiting = self._unsent
        if waiting is None:
            sent = self._send(data, now)
            if sent == len(data) or sent < 0:
                return
            self._unsent = waiting = bytearray(data[sent:])
            self._send_deadline = now + self._limits.send_timeout
            self._hub.want_write(self, True)
        else:
            waiting += data
        if len(waiting) > self._limits.max_unsent:
            self._lost("the peer does not read what we send", now)

    def _write_waiting(self, now: float) -> None:
        """Send what was kept, as far as it goes."""
        waiting = self._unsent
        if waiting is None:
            return
        sent = self._send(waiting, now)
        if sent <= 0:
            return
        del waiting[:sent]
        if waiting:
            self._send_deadline = now + self._limits.send_timeout
        else:
            self._unsent = None
            self._send_deadline = NEVER
            self._hub.want_write(self, False)

    def _send(self, data: bytes | bytearray, now: float) -> int:
        """Send what the socket takes; -1 where it is broken."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lost(f"the connection broke while sending: {error}", now)
            return -1

    def _release(self) -> None:
        """Close the socket, saying goodbye where TLS asks for that."""
        self.is_gone = True
        self._hub.remove(self)
        if self._tls is not None and self._unsent is None:
            with contextlib.suppress(OSError):
                self._sock.send(self._tls.goodbye())
        self._unsent = None
        self._sock.close()
