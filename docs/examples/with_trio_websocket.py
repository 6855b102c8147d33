"""An echo for phone calls: Trio with trio-websocket.

`drive` takes any object with `get_message`, `send_message` and `aclose`.
"""

import sys

import trio
from application import react
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from callstream_core import AppSession, State, dialects
from callstream_core.outputs import CloseLink, Output, Transmit


async def drive(session: AppSession, link: WebSocketConnection) -> None:
    clock = trio.current_time

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                await link.send_message(output.message)
            elif isinstance(output, CloseLink):
                await link.aclose(output.code or 1000, output.reason)
            for command in react(output):
                await perform(session.send(command, clock()))

    try:
        while session.state is not State.CLOSED:
            message, deadline = None, session.next_timeout()
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                message = await link.get_message()
            if message is not None:
                await perform(session.receive(message, clock()))
            await perform(session.handle_timeout(clock()))
    except ConnectionClosed as closed:
        await perform(session.receive_close(closed.reason.code if closed.reason else None, clock()))


async def run_call(request: WebSocketRequest) -> None:
    link = await request.accept(subprotocol="media" if "media" in request.proposed_subprotocols else None)
    await drive(AppSession(dialects.get("asterisk"), now=trio.current_time()), link)


async def main(port: int = 8787) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, run_call, "127.0.0.1", port, None)
        print(server.port, flush=True)


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
