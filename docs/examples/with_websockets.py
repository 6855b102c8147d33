"""An echo for phone calls: asyncio with the `websockets` library. `#` hangs up when all was heard."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from callstream_core import AppSession, State, dialects
from callstream_core.commands import Command, HangUp, SendAudio, When
from callstream_core.events import AudioReceived, DigitReceived, SessionClosed
from callstream_core.outputs import CloseLink, Output, Transmit


def react(event: Output) -> list[Command]:
    """Your application: what happened goes in, commands come out."""
    match event:
        case AudioReceived(data):
            return [SendAudio(data)]
        case DigitReceived("#"):
            return [HangUp(When.AFTER_PLAYOUT)]
        case SessionClosed():
            print("over:", event.reason, file=sys.stderr)
    return []


async def run_call(socket: ServerConnection) -> None:
    clock = asyncio.get_running_loop().time
    session = AppSession(dialects.get("asterisk"), now=clock())

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                await socket.send(output.message)
            elif isinstance(output, CloseLink):
                await socket.close(output.code or 1000, output.reason)
            else:
                for command in react(output):
                    await perform(session.send(command, clock()))

    try:
        while session.state is not State.CLOSED:
            try:
                async with asyncio.timeout_at(session.next_timeout()):
                    await perform(session.receive(await socket.recv(), clock()))
            except TimeoutError:
                await perform(session.handle_timeout(clock()))
    except ConnectionClosed as closed:
        await perform(session.receive_close(closed.rcvd.code if closed.rcvd else None, clock()))


async def main(port: int) -> None:
    async with serve(
        run_call, "127.0.0.1", port, subprotocols=["media"], compression=None, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8787))
