"""An application by hand: it says exactly what a test wants, to whoever calls it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from wsproto.utilities import generate_accept_token

from callstream_core.websocket import Close, FrameDecoder
from tests.trio.wire import BINARY, CLOSE, PATIENCE, TEXT, frame


class App:
    """The application's end of one socket."""

    def __init__(self, stream: trio.SocketStream, head: str) -> None:
        self.head = head
        """The request."""
        self._stream = stream
        self._decoder = FrameDecoder(masked=True)
        self._heard: list[Any] = []

    async def accept(self, *, subprotocol: str | None = "", and_then: bytes = b"") -> None:
        """Upgrade, with the subprotocol that was offered; `and_then` follows in the same segment."""
        if subprotocol == "":
            offered = self.header("Sec-WebSocket-Protocol")
            subprotocol = offered.partition(",")[0].strip() if offered else None
        key = self.header("Sec-WebSocket-Key")
        assert key is not None
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {generate_accept_token(key.encode()).decode()}",
        ]
        if subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        await self._stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode() + and_then)

    async def refuse(self, status: int) -> None:
        """Answer with a status instead."""
        await self._stream.send_all(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())

    def header(self, name: str) -> str | None:
        """Return a header of the request."""
        found = re.search(rf"^{name}: (.*?)\r?$", self.head, re.MULTILINE | re.IGNORECASE)
        return found[1] if found else None

    async def hear(self) -> Any:
        """Return the next message, JSON objects read; None at the end."""
        with trio.fail_after(3 * PATIENCE):
            while not self._heard:
                data = b""
                with suppress(trio.BrokenResourceError):
                    data = await self._stream.receive_some(65536)
                if not data:
                    return None
                self._heard += self._decoder.feed(data)
        message = self._heard.pop(0)
        return json.loads(message) if isinstance(message, str) and message.startswith("{") else message

    async def say(self, *messages: dict[str, Any] | bytes | str) -> None:
        """Send messages."""
        for message in messages:
            if isinstance(message, dict):
                message = json.dumps(message)
            opcode = BINARY if isinstance(message, bytes) else TEXT
            data = message if isinstance(message, bytes) else message.encode()
            await self._stream.send_all(frame(opcode, data, masked=False))

    async def ack(self, question: dict[str, Any], verbs: list[Any] | None = None) -> None:
        """Ack a message of jambonz."""
        await self.say({"type": "ack", "msgid": question["msgid"], **({} if verbs is None else {"data": verbs})})

    async def close(self, code: int | None) -> None:
        """Say close."""
        await self._stream.send_all(closing(code))

    async def raw(self, data: bytes) -> None:
        """Send bytes."""
        await self._stream.send_all(data)

    async def to_the_end(self) -> int | None:
        """Hear all that comes, agree to a close; return its code."""
        code = None
        while (message := await self.hear()) is not None:
            if isinstance(message, Close):
                code = message.code
                with suppress(trio.BrokenResourceError):
                    await self.close(code)
                return code
        return code


def closing(code: int | None) -> bytes:
    """Return a close as an application says it."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2), masked=False)


@asynccontextmanager
async def answering(behave: Callable[[App], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve every socket by `behave`, and close it then; give the URL."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            with suppress(trio.BrokenResourceError):
                while b"\r\n\r\n" not in head:
                    more = await stream.receive_some(65536)
                    if not more:
                        return
                    head += more
                await behave(App(stream, head.decode()))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield f"ws://127.0.0.1:{port}/jambonz"
        nursery.cancel_scope.cancel()
