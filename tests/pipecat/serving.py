"""A bot behind a real socket, in a thread and loop of its own, for a caller who lives under Trio."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
import uvicorn
from fastapi import FastAPI
from pipecat.processors.frame_processor import FrameProcessor

from callstream_pipecat import CallstreamParams, CallstreamTransport, create_app, run_pipeline


async def until(is_true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that happens in the bot's loop."""
    with trio.fail_after(seconds):
        # Another thread's loop wakes nobody here.
        while not is_true():  # noqa: ASYNC110
            await trio.sleep(0.01)


@asynccontextmanager
async def serving_app(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a free port until the block is left; its address without a path."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio does this only for sockets that know their protocol; without it a second message may wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(
        uvicorn.Config(app, ws="wsproto", log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        await until(lambda: server.started)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, 5)
        listener.close()


class Bot:
    """What a test knows of the bot's end."""

    def __init__(self) -> None:
        self.url = ""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.transports: list[CallstreamTransport] = []
        self.over = threading.Event()
        self.tasks_left: list[str] = []

    async def wait_over(self, seconds: float = 5) -> None:
        """Wait until a call's pipeline has ended."""
        assert await trio.to_thread.run_sync(self.over.wait, seconds), "the pipeline did not end"


@asynccontextmanager
async def serving(
    processors: Callable[[], Sequence[FrameProcessor]], params: CallstreamParams | None = None
) -> AsyncIterator[Bot]:
    """Serve a bot until the block is left."""
    bot = Bot()

    async def run(transport: CallstreamTransport) -> None:
        bot.loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        bot.transports.append(transport)
        try:
            await run_pipeline(transport, processors())
        finally:
            await transport.call.wait_gone()
            await asyncio.sleep(0.01)
            bot.tasks_left = [repr(task) for task in asyncio.all_tasks() - before if not task.done()]
            bot.over.set()

    async with serving_app(create_app(run, params)) as bot.url:
        yield bot
