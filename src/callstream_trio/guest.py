"""A connection that is not a call yet."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable

import attrs
import h11
import trio

from callstream_trio.admission import Refusal, Request, read_request, render
from callstream_trio.neighbours import Neighbours, Visitor, accept, receive
from callstream_trio.tls import Tls
from callstream_trio.wait import read_head, receive_plain, receive_some, send_all

# Seconds to take in what a refused peer still sends.
_LINGER = 1.0


@attrs.define(eq=False)
class Guest:
    """A connection, until it is admitted or refused."""

    sock: socket.socket
    peer: str
    visitor: Visitor | None = None
    """What another process read of it, and handed over."""
    tls: Tls | None = None
    inner: socket.socket | None = None
    """Where its bytes go in the clear, if it was handed over and TLS stays here."""
    is_open: bool = True
    """Whether it can be spoken to: false while TLS shakes hands."""
    _head: bytes = b""

    async def read_request(
        self, context: ssl.SSLContext | None, max_size: int
    ) -> tuple[Request, bytes] | Refusal | None:
        """Return the request and what came behind it, or what to answer instead; None where the peer leaves before."""
        if context is not None and self.visitor is None:
            self.is_open = False
            self.tls = Tls(context)
            await self.tls.handshake(self.sock)
            self.is_open = True
        early = self.visitor.data if self.visitor else b""
        try:
            head = await read_head(h11.SERVER, self.sock, self.tls, max_size=max_size, early=early)
        except h11.RemoteProtocolError as error:
            return Refusal(status=error.error_status_hint, text=f"Not HTTP: {error}.")
        if head is None:
            return None
        event, behind = head
        assert isinstance(event, h11.Request)
        self._head = _render(event)
        return read_request(event), behind

    async def send(self, data: bytes) -> None:
        """Send everything."""
        await send_all(self.sock, data if self.tls is None else self.tls.encrypt([data]))

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a status, and close."""
        with contextlib.suppress(OSError), trio.move_on_after(_LINGER):
            await self.send(render(refusal))
            if self.tls is not None:
                await send_all(self.sock, self.tls.goodbye())
            self.sock.shutdown(socket.SHUT_WR)
            # Reading to the end keeps our answer from being lost in a reset.
            while await receive_some(self.sock):
                pass

    async def receive(self) -> bytes:
        """Return what has arrived; nothing means that the peer has closed."""
        return await receive_plain(self.sock, self.tls)

    async def hand_over(
        self, neighbours: Neighbours, number: int, behind: bytes, *, call_sid: str | None = None
    ) -> bool:
        """Offer the connection to another process, with what came behind its request; tell whether it was taken.

        Under TLS, `inner` leads there from then on.
        """
        visitor = Visitor(peer=self.peer, data=self._head + behind, call_sid=call_sid)
        if self.tls is None:
            return await neighbours.hand_over(number, self.sock, visitor)
        near, far = socket.socketpair()
        near.setblocking(False)
        with contextlib.ExitStack() as undo, far:
            undo.enter_context(near)
            is_taken = await neighbours.hand_over(number, far, visitor)
            if is_taken:
                self.inner = near
                undo.pop_all()
        return is_taken

    def forget_request(self) -> None:
        """Take note that the connection stays here."""
        self._head = b""

    def abort(self) -> None:
        """End the connection, whoever else may have it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let the connection go; another process may have it."""
        self.sock.close()
        if self.inner is not None:
            self.inner.close()


async def take(door: socket.socket, wants: Callable[[str | None], bool]) -> Guest | None:
    """Take what another process offers, if it goes on with a call that we want; or tell one that asks whether we do.

    `OSError` where the other one has given up.
    """
    sock, visitor = await receive(door)
    with contextlib.ExitStack() as undo:
        if sock is not None:
            undo.enter_context(sock)
        if not wants(visitor.call_sid):
            return None
        accept(door)
        undo.pop_all()
    return Guest(sock, visitor.peer, visitor) if sock is not None else None


def _render(event: h11.Request) -> bytes:
    lines = [b"%b %b HTTP/%b" % (event.method, event.target, event.http_version)]
    lines += [b"%b: %b" % (name, value) for name, value in event.headers]
    return b"\r\n".join([*lines, b"", b""])
