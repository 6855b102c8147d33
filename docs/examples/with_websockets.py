"""An echo for phone calls: asyncio with the `websockets` library."""

import asyncio
import contextlib
import sys

from application import choose, react
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from callstream_core import AppSession, State, detect
from callstream_core.outputs import CloseLink, Output, Transmit

OPTIONS = {
    "process_request": lambda link, request: None if detect(path=request.path) else link.respond(404, "no such path"),
    "select_subprotocol": lambda link, offered: choose(offered),
    "compression": None,
    "ping_interval": None,
    "close_timeout": 2,
}


async def run_call(socket: ServerConnection) -> None:
    clock = asyncio.get_running_loop().time
    session = AppSession(detect(path=socket.request.path), now=clock())

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                async with asyncio.timeout(5):
                    await socket.send(output.message)
            elif isinstance(output, CloseLink):
                await socket.close(output.code or 1000, output.reason)
            for command in react(session, output):
                await perform(session.send(command, clock()))

    code = None
    try:
        while session.state is not State.CLOSED:
            message = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(session.next_timeout()):
                    message = await socket.recv()
            if message is not None:
                await perform(session.receive(message, clock()))
            await perform(session.handle_timeout(clock()))
    except (ConnectionClosed, TimeoutError) as over:  # or the platform does not read what we send
        code = over.rcvd.code if getattr(over, "rcvd", None) else None
        socket.transport.abort()
    await perform(session.receive_close(code, clock()))


async def main(port: int = 8787) -> None:
    async with serve(run_call, "127.0.0.1", port, **OPTIONS) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
