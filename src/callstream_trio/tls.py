"""TLS without blocking: an `SSLObject` between memory buffers, so that the hub moves the bytes."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trio

from callstream_trio.wait import receive_some, send_all

_RECORD = 16384


class Tls:
    """One established TLS connection. Each message becomes a record of its own."""

    def __init__(self, context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
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
            else:
                await send_all(sock, self._outgoing.read())
                return

    def decrypt(self, data: bytes) -> bytes:
        """Take bytes from the socket; return what they say. `OSError` where that fails."""
        self._incoming.write(data)
        pieces: list[bytes] = []
        while True:
            try:
                piece = self._object.read(_RECORD)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                break
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    def encrypt(self, messages: list[bytes]) -> bytes:
        """Return the bytes that say these messages, one record each.

        Asterisk takes one message from a record, and leaves the others until more data comes.
        """
        for message in messages:
            self._object.write(message)
        return self._outgoing.read()


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return a context for a server, from PEM files."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
