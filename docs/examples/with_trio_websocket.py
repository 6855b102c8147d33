"""An echo for phone calls: Trio with trio-websocket."""

import math
import sys
import traceback

import trio
from application import choose, react
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from callstream_core import AppSession, State, detect
from callstream_core.outputs import CloseLink, Output, Transmit


async def drive(session: AppSession, link: WebSocketConnection) -> None:
    clock = trio.current_time

    async def perform(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                with trio.fail_after(5):
                    await link.send_message(output.message)
            elif isinstance(output, CloseLink):
                await link.aclose(output.code or 1000, output.reason)
            for command in react(session, output):
                await perform(session.send(command, clock()))

    code = None
    try:
        while session.state is not State.CLOSED:
            deadline = session.next_timeout()
            with trio.move_on_at(math.inf if deadline is None else deadline) as waiting:
                message = await link.get_message()
            if not waiting.cancelled_caught:
                await perform(session.receive(message, clock()))
            await perform(session.handle_timeout(clock()))
    except (ConnectionClosed, trio.TooSlowError) as over:  # or the platform does not read what we send
        code = over.reason.code if getattr(over, "reason", None) else None
    await perform(session.receive_close(code, clock()))


async def run_call(request: WebSocketRequest) -> None:
    if (dialect := detect(path=request.path)) is None:
        return await request.reject(404)
    link = await request.accept(subprotocol=choose(request.proposed_subprotocols))
    try:
        await drive(AppSession(dialect, now=trio.current_time()), link)
    except Exception:  # nobody else's call must end with this one
        traceback.print_exc()


async def main(port: int = 8787) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, run_call, "127.0.0.1", port, None)
        print(server.port, flush=True)


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
