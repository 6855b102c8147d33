"""An echo for phone calls: asyncio with the `websockets` library."""

import asyncio
import contextlib
import sys

from application import react
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from callstream_core import AppSession, State, dialects
from callstream_core.outputs import CloseLink, Output, Transmit


async def run_call(socket: ServerConnection) -> None:
    clock = asyncio.get_running_loop().time
    session = AppSession(dialects.get("asterisk"), now=clock())

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                await socket.send(output.message)
            elif isinstance(output, CloseLink):
                await socket.close(output.code or 1000, output.reason)
            for command in react(output):
                await perform(session.send(command, clock()))

    try:
        while session.state is not State.CLOSED:
            message = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(session.next_timeout()):
                    message = await socket.recv()
            if message is not None:
                await perform(session.receive(message, clock()))
            await perform(session.handle_timeout(clock()))
    except ConnectionClosed as closed:
        await perform(session.receive_close(closed.rcvd.code if closed.rcvd else None, clock()))


async def main(port: int = 8787) -> None:
    async with serve(
        run_call, "127.0.0.1", port, subprotocols=["media"], compression=None, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
