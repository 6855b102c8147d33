"""picows on uvloop: callbacks only, no task per call."""

from __future__ import annotations

import asyncio
import ssl

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from benchmarks.peers.stream import Stream


class _Listener(WSListener):
    def __init__(self, work: str) -> None:
        super().__init__()
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._work == "duplex":
            # uvloop counts by the same clock, in whole milliseconds.
            self._stream = Stream()
            self._send(transport)

    def _send(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.BINARY, self._stream.frame())
        self._timer = self._loop.call_later(max(self._stream.due - self._loop.time(), 0), self._send, transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            # In duplex, too, the handler has its audio in hand: the others cannot help that.
            audio = frame.get_payload_as_bytes()
            if self._work == "echo":
                transport.send(WSMsgType.BINARY, audio)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled."""

    def admit(_request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        response = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "media"})
        return WSUpgradeResponseWithListener(response, _Listener(work))

    server = await ws_create_server(admit, "127.0.0.1", port, backlog=1024, ssl=tls)
    await server.serve_forever()
