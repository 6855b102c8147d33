"""FastAPI on uvicorn and uvloop, as uvicorn runs where it has the choice: a task per call, and one per stream."""

import asyncio
import contextlib
import ssl

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.peers.stream import Stream, send_stream


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""
    app = FastAPI()

    async def handle(socket: WebSocket) -> None:
        await socket.accept(subprotocol="media")
        task = asyncio.create_task(_stream(socket)) if work == "duplex" else None
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                if work == "echo" and message.get("bytes"):
                    await socket.send_bytes(message["bytes"])
        if task is not None:
            task.cancel()

    app.add_api_websocket_route("/", handle)
    config = uvicorn.Config(app, "127.0.0.1", port, log_level="error", ws_per_message_deflate=False, ws="websockets")
    config.load()
    config.ssl = tls
    await uvicorn.Server(config).serve()


async def _stream(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await send_stream(Stream(), socket.send_bytes, asyncio.sleep)
