"""A server for jambonz's calls, for tests that make some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from callstream_trio import JambonzSettings, Server, ServerSettings
from callstream_trio.apps import echo
from callstream_trio.server import Handler, ServerLimits
from tests.trio.wire import until


@asynccontextmanager
async def serving(handler: Handler = echo, settings: ServerSettings | None = None) -> AsyncIterator[tuple[Server, str]]:
    """Run a server; give it, and the URL of its control sockets."""
    server = Server(handler, settings=settings or with_jambonz())
    async with server.listening(["127.0.0.1:0"]):
        host, port = server.addresses[0]
        yield server, f"ws://{host}:{port}/jambonz"


def with_jambonz(**settings: object) -> ServerSettings:
    """Return settings that differ in what is for jambonz."""
    limits = ServerLimits(drain_timeout=0.1)
    return ServerSettings(jambonz=JambonzSettings(**settings), limits=limits)  # type: ignore[arg-type]


async def until_empty(server: Server) -> None:
    """Wait until all calls are over."""
    await until(lambda: not server.calls and not server.controls)
