"""Echo servers to compare: `python -m benchmarks.servers NAME PORT`. Each does the same work, in its usual way."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys

import trio

from benchmarks.machine import CannotMeasure, build, python


def command_for(name: str, port: int) -> list[str]:
    """Return the command that runs a server; `CannotMeasure` where its library is missing."""
    if name == "c-epoll":
        return [str(build("echo")), str(port)]
    module = _NEEDS.get(name)
    if module is None:
        raise CannotMeasure(f"unknown server {name!r}; there are {', '.join(names())}")
    if importlib.util.find_spec(module) is None:
        raise CannotMeasure(f"{name} is not installed: pip install 'callstream[bench]'")
    return python("benchmarks.servers", name, str(port))


def names() -> list[str]:
    """Return the names of all servers."""
    return ["callstream", "c-epoll", *(name for name in _NEEDS if name != "callstream")]


async def _callstream(port: int) -> None:
    from callstream_trio import Call, Echo, serve

    async def echo(call: Call) -> None:
        await call.answer()
        call.connect(Echo())
        await call.wait_ended()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, echo, [f"127.0.0.1:{port}"])
        gc.collect()
        gc.freeze()


async def _trio_websocket(port: int) -> None:
    from trio_websocket import ConnectionClosed, serve_websocket

    async def echo(request):  # type: ignore[no-untyped-def]
        connection = await request.accept(subprotocol="media")
        try:
            while True:
                message = await connection.get_message()
                if isinstance(message, bytes):
                    await connection.send_message(message)
        except ConnectionClosed:
            pass

    await serve_websocket(echo, "127.0.0.1", port, None)


async def _websockets(port: int) -> None:
    from websockets.asyncio.server import serve

    async def echo(connection):  # type: ignore[no-untyped-def]
        async for message in connection:
            if isinstance(message, bytes):
                await connection.send(message)

    async with serve(echo, "127.0.0.1", port, subprotocols=["media"], compression=None):  # type: ignore[list-item]
        await asyncio.Event().wait()


_NEEDS = {"callstream": "callstream_trio", "trio-websocket": "trio_websocket", "websockets": "websockets"}


def main() -> None:
    """Run one server until it is stopped."""
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "websockets":
        asyncio.run(_websockets(port))
    else:
        trio.run({"callstream": _callstream, "trio-websocket": _trio_websocket}[name], port)


if __name__ == "__main__":
    main()
