"""aiohttp: a task per call, and one per stream."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from aiohttp import WSMsgType, web

from benchmarks.peers.stream import Stream, send_stream


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("media",), compress=False)
        await socket.prepare(request)
        task = asyncio.create_task(_stream(socket)) if work == "duplex" else None
        async for message in socket:
            if work == "echo" and message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        if task is not None:
            task.cancel()
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024, ssl_context=tls).start()
    await asyncio.Event().wait()


async def _stream(socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        await send_stream(Stream(), socket.send_bytes, asyncio.sleep)
