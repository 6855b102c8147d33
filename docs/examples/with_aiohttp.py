"""An echo for phone calls: aiohttp."""

import asyncio
import contextlib
import socket
import sys

from aiohttp import WSMsgType, web
from application import SUBPROTOCOLS, react

from callstream_core import AppSession, State, detect
from callstream_core.outputs import CloseLink, Output, Transmit


async def run_call(request: web.Request) -> web.WebSocketResponse:
    clock = asyncio.get_running_loop().time
    if (dialect := detect(path=request.path)) is None:
        raise web.HTTPNotFound
    session = AppSession(dialect, now=clock())
    link = web.WebSocketResponse(protocols=SUBPROTOCOLS, compress=False)
    await link.prepare(request)

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                send = link.send_str if isinstance(output.message, str) else link.send_bytes
                async with asyncio.timeout(5):
                    await send(output.message)
            elif isinstance(output, CloseLink):
                await link.close(code=output.code or 1000, message=output.reason.encode())
            for command in react(session, output):
                await perform(session.send(command, clock()))

    try:
        while session.state is not State.CLOSED:
            message = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(session.next_timeout()):
                    message = await link.receive()
            if message is not None and message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await perform(session.receive(message.data, clock()))
            elif message is not None:
                await perform(session.receive_close(link.close_code, clock()))
            await perform(session.handle_timeout(clock()))
    except (ConnectionError, TimeoutError):  # it is lost, or the platform does not read what we send
        await perform(session.receive_close(None, clock()))
    return link


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/{path:.*}", run_call)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8787))
    # asyncio does this for sockets of its own; without it a second message may wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listener.getsockname()[1], flush=True)
    web.run_app(app, sock=listener, print=None)
