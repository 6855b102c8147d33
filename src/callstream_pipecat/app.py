"""Routes for FastAPI, and a pipeline for a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.workers.runner import WorkerRunner

from callstream_asyncio import Call, CallFailed
from callstream_asyncio import accept as accept_call
from callstream_core.errors import Unsupported
from callstream_pipecat.transport import CallstreamParams, CallstreamTransport

# Seconds for a pipeline to end by itself when its call has.
_GRACE = 1.0

Bot = Callable[[CallstreamTransport], Awaitable[None]]


async def accept(websocket: Any, params: CallstreamParams | None = None, **options: Any) -> CallstreamTransport:
    """Take the call at a WebSocket route: upgrade, find out the dialect, wait for the announcement.

    `options` are those of `callstream_asyncio.accept`.

    Raises:
        CallFailed: if the connection is not that of a platform, or ends before the announcement, or if the call's
            audio is none that Pipecat can take.
    """
    call: Call = await accept_call(websocket, **options)
    try:
        return CallstreamTransport(call, params)
    except Unsupported as error:
        call.fail(1003, "audio of this format cannot be taken")
        await call.wait_gone()
        raise CallFailed(str(error)) from error


async def run_pipeline(transport: CallstreamTransport, processors: Sequence[Any], **options: Any) -> None:
    """Run the processors between the call's input and output until the call is over.

    `options` are those of `PipelineWorker`.
    """
    pipeline = Pipeline([transport.input(), *processors, transport.output()])
    params = options.pop("params", None) or PipelineParams(**transport.rates)
    worker = PipelineWorker(pipeline, params=params, **{"enable_rtvi": False, "idle_timeout_secs": None} | options)

    finished = asyncio.Event()

    async def leave(*_: object) -> None:
        # A pipeline that ended the call itself is about to end.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(finished.wait(), _GRACE if transport.is_leaving else 0)
        if not finished.is_set():
            await worker.cancel()

    transport.add_event_handler("on_call_ended", leave)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    try:
        await runner.run()
    finally:
        finished.set()


def create_app(bot: Bot, params: CallstreamParams | None = None, **options: Any) -> FastAPI:
    """Return an app that runs `bot` for each call, at whatever path it comes in.

    Run it with `serve`, or with uvicorn's `ws_ping_interval=None` and `ws_per_message_deflate=False`: there are
    platforms that hang up on a ping.
    """
    app = FastAPI()

    @app.websocket("/{path:path}")
    async def take_call(websocket: WebSocket) -> None:
        try:
            transport = await accept(websocket, params, **options)
        except CallFailed as error:
            logger.warning("no call: {}", error)
            return
        try:
            await bot(transport)
        finally:
            if transport.call.ended is None:
                transport.call.fail(1011, "the bot has ended")
            await transport.call.wait_gone()

    return app


def serve(app: FastAPI, host: str = "127.0.0.1", port: int = 8787, **options: Any) -> None:
    """Serve the app until interrupted, as telephone systems want it. `options` are those of `uvicorn.run`."""
    uvicorn.run(app, host=host, port=port, **{"ws_ping_interval": None, "ws_per_message_deflate": False} | options)
