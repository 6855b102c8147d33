"""Pipecat's stock transport against ours: ten seconds of speech while the event loop stalls, and a hang-up.

    python -m benchmarks.pipecat_stock

It needs `pip install 'callstream[pipecat]'`, and takes about two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import numpy as np
import pipecat
import trio
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    EndWorkerFrame,
    Frame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

from callstream_core import commands as c
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.outputs import FramePlayed
from callstream_pipecat import CallstreamSerializer, accept, run_pipeline
from callstream_trio.caller import dial

RATE = 8000
SPEECH = 10.0
# Seconds for which the loop is blocked, and how often.
STALLS = [(0.0, 1.0), (0.05, 0.2), (0.1, 0.5), (0.2, 1.0)]


@attrs.define
class Outcome:
    """What became of one call."""

    played: list[float] = attrs.field(factory=list)
    deepest: int = 0
    stopped_at: float = 0.0
    hung_up_at: float = 0.0

    @property
    def row(self) -> str:
        """The figures of one line."""
        steps = np.diff(self.played)
        gaps = int(np.round(steps / 0.02 - 1).clip(0).sum())
        span = self.played[-1] - self.played[0] + 0.02
        lost = round(SPEECH / 0.02) - len(self.played)
        return (
            f"{span:6.2f} s {gaps:5d} {lost:5d} {self.deepest * 20:6d} ms "
            f"{1000 * (self.stopped_at - self.played[-1]):8.0f} ms {1000 * (self.hung_up_at - self.played[-1]):8.0f} ms"
        )


class Speaker(FrameProcessor):
    """Says a tone in one burst, and leaves."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._outcome = outcome

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Pass everything on."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, BotStoppedSpeakingFrame):
            self._outcome.stopped_at = time.monotonic()
        if isinstance(frame, StartFrame):
            self.create_task(self._speak())

    async def _speak(self) -> None:
        # The announcement has to be there, which the stock transport hears only now.
        await asyncio.sleep(0.3)
        times = np.arange(round(SPEECH * RATE)) / RATE
        audio = (8000 * np.sin(2 * math.pi * 400 * times)).astype("<i2").tobytes()
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=RATE, num_channels=1))
        await self.push_frame(TTSStoppedFrame())
        await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


async def stock(websocket: WebSocket, outcome: Outcome) -> None:
    """Serve a call with the stock transport and our serializer."""
    await websocket.accept("media")
    params = FastAPIWebsocketParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        audio_out_end_silence_secs=0,
        serializer=CallstreamSerializer(),
    )
    transport = FastAPIWebsocketTransport(websocket, params)
    worker = PipelineWorker(
        Pipeline([transport.input(), Speaker(outcome), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        enable_rtvi=False,
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def ours(websocket: WebSocket, outcome: Outcome) -> None:
    """Serve a call with our transport."""
    await run_pipeline(await accept(websocket), [Speaker(outcome)])


def measure(take: Callable[[WebSocket, Outcome], Awaitable[None]], stall: float, interval: float) -> Outcome:
    """Make one call while the bot's loop stalls."""
    outcome = Outcome()
    app = FastAPI()

    @app.websocket("/asterisk")
    async def route(websocket: WebSocket) -> None:
        loop = asyncio.get_running_loop()

        def block() -> None:
            time.sleep(stall)
            loop.call_later(interval - stall, block)

        if stall:
            loop.call_later(0.5, block)
        await take(websocket, outcome)

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(uvicorn.Config(app, ws="wsproto", log_level="critical", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    trio.run(call, f"ws://127.0.0.1:{listener.getsockname()[1]}/asterisk", outcome)
    server.should_exit = True
    thread.join(5)
    listener.close()
    return outcome


async def call(url: str, outcome: Outcome) -> None:
    """Be the platform, and note when each frame is played."""
    profile: Any = AsteriskProfile(format="slin", syntax=Syntax.JSON)
    with contextlib.suppress(RuntimeError), trio.move_on_after(SPEECH + 8):
        async with dial(url, profile=profile) as caller:
            async for word in caller:
                if isinstance(word, FramePlayed):
                    outcome.played.append(word.at)
                elif isinstance(word, c.HangUp):
                    outcome.hung_up_at = time.monotonic()
                outcome.deepest = max(outcome.deepest, caller.session.playout.queue_length)
            outcome.hung_up_at = outcome.hung_up_at or time.monotonic()


def main() -> None:
    """Print a table."""
    logger.remove()
    print(f"pipecat-ai {pipecat.__version__}: {SPEECH:g} s of speech in one burst, then the end of the pipeline")
    names = ("heard", "gaps", "lost", "queued", "stopped", "hang-up")
    widths = (8, 5, 5, 9, 11, 11)
    head = " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    print(f"{'loop blocked':18} {'transport':9} {head}")
    for stall, interval in STALLS:
        for take in (stock, ours):
            name = f"{stall * 1000:.0f} ms in {interval * 1000:.0f}" if stall else "never"
            print(f"{name:18} {take.__name__:9} {measure(take, stall, interval).row}", flush=True)


if __name__ == "__main__":
    main()
