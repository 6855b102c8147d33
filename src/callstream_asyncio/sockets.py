"""WebSockets of other libraries, as a call wants them. No library is imported: a socket is taken as it is given."""

from __future__ import annotations

from typing import Any

from callstream_core.sockets import LinkClosed, Socket

__all__ = ["AiohttpSocket", "LinkClosed", "Socket", "StarletteSocket", "WebsocketsSocket"]


class StarletteSocket:
    """A WebSocket of Starlette or FastAPI, after `accept`."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        """Wait for a message."""
        if self._websocket.client_state.name == "DISCONNECTED":
            raise LinkClosed(None)
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            code = message.get("code")
            raise LinkClosed(None if code == 1006 else code)
        data: bytes | None = message.get("bytes")
        text: str = message.get("text") or ""
        return text if data is None else data

    async def send(self, message: str | bytes) -> None:
        """Send one message."""
        key = "text" if isinstance(message, str) else "bytes"
        await self._websocket.send({"type": "websocket.send", key: message})

    async def close(self, code: int, reason: str) -> None:
        """Close."""
        states = (self._websocket.client_state.name, self._websocket.application_state.name)
        if "DISCONNECTED" not in states:
            await self._websocket.close(code, reason)


class WebsocketsSocket:
    """A connection of the `websockets` library (asyncio)."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        """Wait for a message."""
        try:
            message: str | bytes = await self._connection.recv()
        except Exception as error:
            # ConnectionClosed, known by what it tells: the close that was received.
            if not hasattr(error, "rcvd"):
                raise
            raise LinkClosed(error.rcvd.code if error.rcvd else None) from error
        return message

    async def send(self, message: str | bytes) -> None:
        """Send one message."""
        await self._connection.send(message)

    async def close(self, code: int, reason: str) -> None:
        """Close."""
        try:
            await self._connection.close(code, reason)
        except BaseException:
            # Cancelled: the peer reads nothing, and the library would wait for it without end.
            self._connection.transport.abort()
            raise


class AiohttpSocket:
    """A WebSocket of aiohttp, a server's or a client's."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        """Wait for a message."""
        message = await self._websocket.receive()
        if message.type.name not in ("TEXT", "BINARY"):
            code = self._websocket.close_code
            raise LinkClosed(None if code == 1006 else code)
        data: str | bytes = message.data
        return data

    async def send(self, message: str | bytes) -> None:
        """Send one message."""
        if isinstance(message, str):
            await self._websocket.send_str(message)
        else:
            await self._websocket.send_bytes(message)

    async def close(self, code: int, reason: str) -> None:
        """Close."""
        await self._websocket.close(code=code, message=reason.encode())
