"""Pipecat's stock transport against ours: speech while the event loop stalls, an interruption, and what a call costs.

    python -m benchmarks.pipecat_stock

It needs `pip install 'callstream[pipecat]'`, and takes about nine minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

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
    InputAudioRawFrame,
    OutputAudioRawFrame,
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
from callstream_pipecat import CallstreamHeardFrame, CallstreamSerializer, accept, run_pipeline
from callstream_trio import DialSettings
from callstream_trio.caller import dial
from callstream_trio.hub import Hub
from callstream_trio.voice import make_voice

RATE = 8000
SPEECH = 10.0
# Seconds for which the loop is blocked, and how often.
STALLS = [(0.0, 1.0), (0.05, 0.2), (0.1, 0.5), (0.2, 1.0)]


# Calls at once, and for how long, to tell what one costs.
CALLS = (1, 10)
ECHO = 10.0
# Seconds after which a bot is interrupted.
MOMENTS = (0.7, 1.5, 2.3)
PROFILE = AsteriskProfile(format="slin", syntax=Syntax.JSON)

Take = Callable[[WebSocket, Sequence[FrameProcessor]], Awaitable[None]]


@attrs.define
class Outcome:
    """What became of one call."""

    seconds: float
    played: list[float] = attrs.field(factory=list)
    deepest: int = 0
    stopped_at: float = 0.0
    hung_up_at: float = 0.0
    interrupted_at: float = 0.0
    cleared_at: float = 0.0
    heard: float | None = None

    @property
    def row(self) -> str:
        """The figures of one line."""
        steps = np.diff(self.played)
        gaps = int(np.round(steps / 0.02 - 1).clip(0).sum())
        span = self.played[-1] - self.played[0] + 0.02
        lost = round(self.seconds / 0.02) - len(self.played)
        return (
            f"{span:6.2f} s {gaps:5d} {lost:5d} {self.deepest * 20:6d} ms "
            f"{1000 * (self.stopped_at - self.played[-1]):8.0f} ms {1000 * (self.hung_up_at - self.played[-1]):8.0f} ms"
        )


# The bots


class Speaker(FrameProcessor):
    """Says a tone in one burst, and leaves; or is interrupted."""

    def __init__(self, outcome: Outcome, interrupted_after: float | None = None) -> None:
        super().__init__()
        self._outcome = outcome
        self._interrupted_after = interrupted_after

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Pass everything on."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, BotStoppedSpeakingFrame):
            self._outcome.stopped_at = time.monotonic()
        elif isinstance(frame, CallstreamHeardFrame):
            self._outcome.heard = frame.heard
        elif isinstance(frame, StartFrame):
            self.create_task(self._speak())

    async def _speak(self) -> None:
        # The announcement has to be there, which the stock transport hears only now.
        await asyncio.sleep(0.3)
        times = np.arange(round(self._outcome.seconds * RATE)) / RATE
        audio = (8000 * np.sin(2 * math.pi * 400 * times)).astype("<i2").tobytes()
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=RATE, num_channels=1))
        await self.push_frame(TTSStoppedFrame())
        if self._interrupted_after is not None:
            await asyncio.sleep(self._interrupted_after)
            self._outcome.interrupted_at = time.monotonic()
            await self.broadcast_interruption()
            await asyncio.sleep(0.5)
        await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)


class Echo(FrameProcessor):
    """Gives back what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Turn audio round."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1)
        await self.push_frame(frame, direction)


# Their transports


async def stock(websocket: WebSocket, processors: Sequence[FrameProcessor], *, chunks: int = 4) -> None:
    """Serve a call with the stock transport and our serializer; `chunks` of 10 ms leave at once, four by default."""
    await websocket.accept("media")
    params = FastAPIWebsocketParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        audio_out_10ms_chunks=chunks,
        audio_out_end_silence_secs=0,
        serializer=CallstreamSerializer(),
    )
    transport = FastAPIWebsocketTransport(websocket, params)
    worker = PipelineWorker(
        Pipeline([transport.input(), *processors, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        enable_rtvi=False,
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def leave(*_: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def callstream(websocket: WebSocket, processors: Sequence[FrameProcessor]) -> None:
    """Serve a call with our transport."""
    await run_pipeline(await accept(websocket), processors)


WAYS: dict[str, Take] = {"stock": stock, "stock-20": partial(stock, chunks=2), "callstream": callstream}


def app_of(take: Take, processors: Callable[[], Sequence[FrameProcessor]], stall: float, interval: float) -> FastAPI:
    """Return an app whose loop stalls while it has a call."""
    app = FastAPI()

    @app.websocket("/asterisk")
    async def route(websocket: WebSocket) -> None:
        loop = asyncio.get_running_loop()

        def block() -> None:
            time.sleep(stall)
            loop.call_later(interval - stall, block)

        if stall:
            loop.call_later(0.5, block)
        await take(websocket, processors())

    @app.get("/work")
    async def work() -> float:
        return time.process_time()

    return app


def listen() -> socket.socket:
    """Return a socket on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def server_of(app: FastAPI) -> uvicorn.Server:
    """Return a server as telephone systems want it."""
    return uvicorn.Server(uvicorn.Config(app, ws="wsproto", log_level="critical", lifespan="off"))


# Speech, and interruptions


def measure(
    way: str,
    *,
    seconds: float = SPEECH,
    stall: float = 0.0,
    interval: float = 1.0,
    interrupted_after: float | None = None,
) -> Outcome:
    """Make one call while the bot's loop stalls."""
    outcome = Outcome(seconds)
    app = app_of(WAYS[way], lambda: [Speaker(outcome, interrupted_after)], stall, interval)
    listener = listen()
    server = server_of(app)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    trio.run(call, f"ws://127.0.0.1:{listener.getsockname()[1]}/asterisk", outcome)
    server.should_exit = True
    thread.join(5)
    listener.close()
    return outcome


async def call(url: str, outcome: Outcome) -> None:
    """Be the platform, and note when each frame is played."""
    with contextlib.suppress(RuntimeError), trio.move_on_after(outcome.seconds + 8):
        async with dial(url, profile=PROFILE) as caller:
            async for word in caller:
                if isinstance(word, FramePlayed):
                    outcome.played.append(word.at)
                elif isinstance(word, c.HangUp):
                    outcome.hung_up_at = time.monotonic()
                elif isinstance(word, c.ClearPlayout):
                    outcome.cleared_at = time.monotonic()
                outcome.deepest = max(outcome.deepest, caller.session.playout.queue_length)
            outcome.hung_up_at = outcome.hung_up_at or time.monotonic()


# What a call costs


@attrs.frozen
class Cost:
    """What so many echoed calls cost, per call."""

    work: float
    """CPU seconds per second."""
    heard: float
    """The part of what was said that was heard."""


def cost(way: str, calls: int, seconds: float = ECHO) -> Cost:
    """Echo calls in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pipecat_stock", "serve", way],
        stdout=subprocess.PIPE,
        text=True,
        # Pipecat greets at import.
        env=os.environ | {"LOGURU_LEVEL": "WARNING"},
    ) as process:
        try:
            assert process.stdout is not None
            return trio.run(_cost, f"127.0.0.1:{process.stdout.readline().strip()}", calls, seconds)
        finally:
            process.terminate()


async def _cost(address: str, calls: int, seconds: float) -> Cost:
    def work() -> float:
        with urllib.request.urlopen(f"http://{address}/work", timeout=10) as answer:
            return float(answer.read())

    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(Hub().running())
        settings = DialSettings(attempts=40, interval=0.25)
        # What only the first call of a process costs is left out.
        async with dial(f"ws://{address}/asterisk", profile=PROFILE, hub=hub, settings=settings):
            await trio.sleep(2)
        callers = [
            await stack.enter_async_context(
                dial(f"ws://{address}/asterisk", profile=PROFILE, hub=hub, settings=settings)
            )
            for _ in range(calls)
        ]
        said = b"".join(make_voice(PROFILE.audio).frames)
        said = (said * math.ceil((seconds + 2) / 10))[: round((seconds + 2) / 0.02) * PROFILE.audio.frame_size]
        for caller in callers:
            caller.say_audio(said)
        # The pipelines start within the first second.
        await trio.sleep(1.5)
        before, heard_before = await trio.to_thread.run_sync(work), sum(len(each.heard_audio) for each in callers)
        start = trio.current_time()
        await trio.sleep(seconds)
        span = trio.current_time() - start
        after, heard = await trio.to_thread.run_sync(work), sum(len(each.heard_audio) for each in callers)
        said_meanwhile = calls * span * PROFILE.audio.rate * 2
        return Cost(work=(after - before) / span / calls, heard=(heard - heard_before) / said_meanwhile)


def serve(way: str) -> None:
    """Serve echoes on a free port, and print it."""
    logger.remove()
    listener = listen()
    print(listener.getsockname()[1], flush=True)
    asyncio.run(server_of(app_of(WAYS[way], lambda: [Echo()], 0.0, 1.0)).serve([listener]))


# Tables


def show_speech() -> None:
    """Print what becomes of speech while the loop stalls."""
    print(f"pipecat-ai {pipecat.__version__}: {SPEECH:g} s of speech in one burst, then the end of the pipeline")
    names = ("heard", "gaps", "lost", "queued", "stopped", "hang-up")
    widths = (8, 5, 5, 9, 11, 11)
    head = " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    print(f"{'loop blocked':18} {'transport':10} {head}")
    for stall, interval in STALLS:
        for way in WAYS:
            name = f"{stall * 1000:.0f} ms in {interval * 1000:.0f}" if stall else "never"
            print(f"{name:18} {way:10} {measure(way, stall=stall, interval=interval).row}", flush=True)


def show_interruptions() -> None:
    """Print what was played, and what was said to be heard."""
    print("\nan interruption: what the platform played, and what the bot was told of it")
    print(f"{'after':>8} {'transport':10} {'clear':>10} {'played':>10} {'told':>10} {'off by':>10}")
    for moment in MOMENTS:
        for way in WAYS:
            outcome = measure(way, interrupted_after=moment)
            played = len(outcome.played) * 0.02
            told = "-" if outcome.heard is None else f"{outcome.heard:.3f} s"
            off = "-" if outcome.heard is None else f"{1000 * abs(outcome.heard - played):.0f} ms"
            delay = 1000 * (outcome.cleared_at - outcome.interrupted_at)
            print(f"{moment:6.1f} s {way:10} {delay:7.1f} ms {played:8.2f} s {told:>10} {off:>10}", flush=True)


def show_costs() -> None:
    """Print what a call costs, each figure from rounds that take turns."""
    print(f"\nan echo of {ECHO:g} s: CPU of the bot's process per call, and how much of the echo was heard")
    print(f"{'calls':>6} {'transport':10} {'CPU':>8} {'heard':>8}")
    for calls in CALLS:
        rounds = [{way: cost(way, calls) for way in WAYS} for _ in range(3)]
        for way in WAYS:
            work = statistics.median(each[way].work for each in rounds)
            heard = min(each[way].heard for each in rounds)
            print(f"{calls:6d} {way:10} {100 * work:6.2f} % {100 * heard:6.1f} %", flush=True)


def main() -> None:
    """Print tables."""
    logger.remove()
    show_speech()
    show_interruptions()
    show_costs()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main()
