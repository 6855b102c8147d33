"""websockets on asyncio: a task per call, and one per stream."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from benchmarks.peers.stream import Stream, send_stream


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""

    async def handle(connection: ServerConnection) -> None:
        task = asyncio.create_task(_stream(connection)) if work == "duplex" else None
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                if work == "echo" and isinstance(message, bytes):
                    await connection.send(message)
        if task is not None:
            task.cancel()

    subprotocols = [Subprotocol("media")]
    async with serve(handle, "127.0.0.1", port, subprotocols=subprotocols, compression=None, ssl=tls):
        await asyncio.Event().wait()


async def _stream(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await send_stream(Stream(), connection.send, asyncio.sleep)
