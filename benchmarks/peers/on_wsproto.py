"""wsproto over Trio's streams: a task per call, and one per stream."""

from __future__ import annotations

from functools import partial

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request

from benchmarks.peers.stream import Stream, send_stream


async def run(work: str, port: int) -> None:
    """Serve until cancelled."""
    await trio.serve_tcp(partial(_handle, work), port, host="127.0.0.1")


async def _handle(work: str, stream: trio.SocketStream) -> None:
    connection = WSConnection(ConnectionType.SERVER)

    async def say(message: bytes) -> None:
        await stream.send_all(connection.send(BytesMessage(data=message)))

    try:
        async with trio.open_nursery() as nursery:
            while True:
                data = await stream.receive_some(16384)
                if not data:
                    nursery.cancel_scope.cancel()
                    return
                connection.receive_data(data)
                for event in connection.events():
                    if isinstance(event, Request):
                        await stream.send_all(connection.send(AcceptConnection(subprotocol="media")))
                        if work == "duplex":
                            nursery.start_soon(send_stream, Stream(), say, trio.sleep)
                    elif isinstance(event, BytesMessage) and work == "echo":
                        await say(bytes(event.data))
                    elif isinstance(event, Ping):
                        await stream.send_all(connection.send(event.response()))
                    elif isinstance(event, CloseConnection):
                        nursery.cancel_scope.cancel()
                        return
    except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        pass
