"""trio-websocket: a task per call, and one per stream."""

from __future__ import annotations

import contextlib
import ssl

import trio
from trio_websocket import ConnectionClosed, serve_websocket

from benchmarks.peers.stream import Stream, send_stream


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""

    async def handle(request):  # type: ignore[no-untyped-def]
        connection = await request.accept(subprotocol="media")

        async def hear() -> None:
            while True:
                message = await connection.get_message()
                if work == "echo" and isinstance(message, bytes):
                    await connection.send_message(message)

        async with trio.open_nursery() as nursery:
            if work == "duplex":
                nursery.start_soon(_stream, connection)
            try:
                await hear()
            except ConnectionClosed:
                nursery.cancel_scope.cancel()

    await serve_websocket(handle, "127.0.0.1", port, tls)


async def _stream(connection) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(ConnectionClosed):
        await send_stream(Stream(), connection.send_message, trio.sleep)
