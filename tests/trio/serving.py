"""A server on a free port, for tests that call one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from callstream_trio import Handler, Server, ServerSettings


@asynccontextmanager
async def serving(handler: Handler, settings: ServerSettings | None = None) -> AsyncIterator[str]:
    """Run a server with `handler`; give the URL for Asterisk's calls."""
    server = Server(handler, settings=settings)
    async with server.listening(["127.0.0.1:0"]):
        host, port = server.addresses[0]
        yield f"ws://{host}:{port}/asterisk"
