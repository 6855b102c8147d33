"""TLS without blocking: an `SSLObject` between memory buffers, so that the hub moves the bytes."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import trio

from callstream_trio.wait import receive_some, send_all

_RECORD = 16384


class Tls:
    """One TLS connection. Each message becomes a record of its own."""

    def __init__(self, context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
        self.is_over = False
        """True once the peer has said that nothing follows."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )

    async def handshake(self, sock: socket.socket) -> None:
        """Shake hands over a non-blocking socket; the caller sets the deadline."""
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await send_all(sock, self._outgoing.read())
                data = await receive_some(sock)
                if not data:
                    raise trio.BrokenResourceError("the peer went away during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                # The alert tells the peer what we did not like.
                await send_all(sock, self._outgoing.read())
                raise
            else:
                await send_all(sock, self._outgoing.read())
                return

    def decrypt(self, data: bytes) -> bytes:
        """Take bytes from the socket; return what they say. `OSError` where that fails.

        The first bytes may have come together with the end of the handshake: ask for them with no data.
        """
        self._incoming.write(data)
        pieces: list[bytes] = []
        while True:
            try:
                piece = self._object.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.is_over = True
                break
            pieces.append(piece)
        return b"".join(pieces)

    def encrypt(self, messages: Sequence[bytes]) -> bytes:
        """Return the bytes that say these messages, one record each.

        Asterisk takes one message from a record, and leaves the others until more data comes.
        """
        for message in messages:
            self._object.write(message)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Return the bytes that tell the peer that nothing follows."""
        # It does not wait for the peer's own: the WebSocket has ended in agreement already.
        with contextlib.suppress(OSError):
            self._object.unwrap()
        return self._outgoing.read()


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return a context for a server, from PEM files."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
