"""An echo for phone calls: a `Call`, with all that it can do, over any WebSocket under Trio; here trio-websocket."""

import sys

import trio
from application import choose
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from callstream_core import detect
from callstream_core.events import DigitReceived
from callstream_core.sockets import LinkClosed
from callstream_trio import Call, Echo, carry


class Socket:
    """What `carry` wants of a WebSocket: messages in, messages out, close."""

    def __init__(self, link: WebSocketConnection) -> None:
        self.link = link

    async def receive(self) -> str | bytes:
        try:
            return await self.link.get_message()
        except ConnectionClosed as closed:
            raise LinkClosed(closed.reason.code if closed.reason else None) from closed

    async def send(self, message: str | bytes) -> None:
        try:
            await self.link.send_message(message)
        except ConnectionClosed as closed:
            raise LinkClosed(None) from closed

    async def close(self, code: int, reason: str) -> None:
        await self.link.aclose(code, reason)


async def echo(call: Call) -> None:
    if call.info.needs_answer:
        await call.answer()
    call.connect(Echo())
    async for event in call:
        if isinstance(event, DigitReceived) and event.digit == "#":
            await call.finish()  # when everything was heard


async def run_call(request: WebSocketRequest) -> None:
    if (dialect := detect(path=request.path)) is None:
        return await request.reject(404)
    link = await request.accept(subprotocol=choose(request.proposed_subprotocols))
    await carry(echo, Socket(link), dialect=dialect.name)


async def main(port: int = 8787) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, run_call, "127.0.0.1", port, None)
        print(server.port, flush=True)


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:]))
