"""wsproto over Trio's streams: a task per call, and one per stream."""

from __future__ import annotations

import ssl
from functools import partial

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request

from benchmarks.peers.stream import Stream, send_stream


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""
    handle = partial(_handle, work)
    if tls is None:
        await trio.serve_tcp(handle, port, host="127.0.0.1")
    else:
        await trio.serve_ssl_over_tcp(handle, port, tls, host="127.0.0.1", https_compatible=True)


async def _handle(work: str, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
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
                connection.receive_data(bytes(data))
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
