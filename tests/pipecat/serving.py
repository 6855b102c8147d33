"""A bot in a thread and loop of its own, for a caller who lives under Trio."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
import uvicorn
from pipecat.frames.frames import Frame, TTSAudioRawFrame, TTSStartedFrame, TTSStoppedFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from callstream_pipecat import CallstreamParams, CallstreamTransport, create_app, run_pipeline

React = Callable[["Script", Frame], Awaitable[None]]


async def until(is_true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that happens in the bot's loop."""
    with trio.fail_after(seconds):
        # Another thread's loop wakes nobody here.
        while not is_true():  # noqa: ASYNC110
            await trio.sleep(0.01)


class Script(FrameProcessor):
    """Passes everything on, notes it, and does what a test wants."""

    def __init__(self, react: React | None = None) -> None:
        super().__init__()
        self.seen: list[tuple[float, Frame]] = []
        self._react = react

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.seen.append((time.monotonic(), frame))
        await self.push_frame(frame, direction)
        if self._react is not None:
            await self._react(self, frame)

    async def speak(self, audio: bytes, rate: int) -> None:
        """Say something, all at once."""
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=rate, num_channels=1))
        await self.push_frame(TTSStoppedFrame())

    def times(self, kind: type[Frame]) -> list[float]:
        return [at for at, frame in self.seen if isinstance(frame, kind)]

    def found(self, kind: type[Frame]) -> list[Any]:
        return [frame for _, frame in self.seen if isinstance(frame, kind)]


class Bot:
    """What a test knows of the bot's end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop: asyncio.AbstractEventLoop | None = None
        self.transports: list[CallstreamTransport] = []
        self.over = threading.Event()
        self.tasks_left: list[str] = []

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run something in the bot's loop."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(function, *arguments)

    async def wait_over(self, seconds: float = 5) -> None:
        """Wait until a call's pipeline has ended."""
        assert await trio.to_thread.run_sync(self.over.wait, seconds), "the pipeline did not end"


@asynccontextmanager
async def serving(
    processors: Callable[[CallstreamTransport], Sequence[FrameProcessor]],
    params: CallstreamParams | None = None,
    **options: Any,
) -> AsyncIterator[Bot]:
    """Serve a bot on a free port until the block is left."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio does this only for sockets that know their protocol; without it a second message may wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bot = Bot(f"ws://127.0.0.1:{listener.getsockname()[1]}/asterisk")

    async def run(transport: CallstreamTransport) -> None:
        bot.loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        bot.transports.append(transport)
        try:
            await run_pipeline(transport, processors(transport), **options)
        finally:
            await transport.call.wait_gone()
            await asyncio.sleep(0.01)
            bot.tasks_left = [repr(task) for task in asyncio.all_tasks() - before if not task.done()]
            bot.over.set()

    app = create_app(run, params)
    server = uvicorn.Server(
        uvicorn.Config(app, ws="wsproto", log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        await until(lambda: server.started)
        yield bot
    finally:
        server.should_exit = True
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, 5)
        listener.close()
