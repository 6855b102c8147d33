"""An echo for phone calls: FastAPI (or Starlette) under uvicorn."""

import asyncio
import contextlib
import socket
import sys

import uvicorn
from application import choose, react
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from callstream_core import AppSession, State, detect
from callstream_core.outputs import CloseLink, Output, Transmit

app = FastAPI()


@app.websocket("/{path:path}")
async def run_call(link: WebSocket) -> None:
    clock = asyncio.get_running_loop().time
    if (dialect := detect(path=link.url.path)) is None:
        return await link.close()
    session = AppSession(dialect, now=clock())
    await link.accept(choose(link.scope["subprotocols"]))

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                key = "text" if isinstance(output.message, str) else "bytes"
                async with asyncio.timeout(5):
                    await link.send({"type": "websocket.send", key: output.message})
            elif isinstance(output, CloseLink) and link.client_state.name == "CONNECTED":
                await link.close(output.code or 1000, output.reason)
            for command in react(session, output):
                await perform(session.send(command, clock()))

    try:
        while session.state is not State.CLOSED:
            heard = {"type": "nothing"}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(session.next_timeout()):
                    heard = await link.receive()
            if heard["type"] == "websocket.receive":
                message = heard.get("text") if heard.get("bytes") is None else heard["bytes"]
                await perform(session.receive(message, clock()))
            elif heard["type"] == "websocket.disconnect":
                await perform(session.receive_close(heard.get("code"), clock()))
            await perform(session.handle_timeout(clock()))
    except (WebSocketDisconnect, TimeoutError):  # it is lost, or the platform does not read what we send
        await perform(session.receive_close(None, clock()))


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8787))
    # asyncio does this for sockets of its own; without it a second message may wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, ws="wsproto", ws_ping_interval=None, ws_per_message_deflate=False)
    uvicorn.Server(config).run([listener])
