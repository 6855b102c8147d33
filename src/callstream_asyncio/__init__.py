"""A session of the core driven over a WebSocket under asyncio: what the adapters for voice frameworks share."""

from callstream_asyncio.accept import accept
from callstream_asyncio.call import Call, CallFailed
from callstream_asyncio.inbox import Inbox
from callstream_asyncio.sockets import AiohttpSocket, LinkClosed, Socket, StarletteSocket, WebsocketsSocket

__all__ = [
    "AiohttpSocket",
    "Call",
    "CallFailed",
    "Inbox",
    "LinkClosed",
    "Socket",
    "StarletteSocket",
    "WebsocketsSocket",
    "accept",
]
