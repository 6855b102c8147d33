"""Bots to be called, and calls to them in simulated time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from callstream_core import events as e
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.machine import State
from callstream_core.outputs import FramePlayed
from callstream_pipecat import CallstreamParams, CallstreamTransport, run_pipeline
from tests.asyncio.simulation import Platform

JSON = AsteriskProfile(format="slin16", syntax=Syntax.JSON)
FAITHFUL = CallstreamParams(fills_silence=False)
FRAME = 0.02

React = Callable[["Script", Frame], Awaitable[None]]


class Script(FrameProcessor):
    """Passes everything on, notes it, and does what a test wants."""

    def __init__(self, react: React | None = None) -> None:
        super().__init__()
        self.seen: list[tuple[float, Frame]] = []
        self._react = react

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.seen.append((asyncio.get_running_loop().time(), frame))
        await self.push_frame(frame, direction)
        if self._react is not None:
            await self._react(self, frame)

    async def speak(self, audio: bytes, rate: int) -> None:
        """Say something, all at once."""
        await self.push_frame(TTSStartedFrame())
        await self.murmur(audio, rate)
        await self.push_frame(TTSStoppedFrame())

    async def murmur(self, audio: bytes, rate: int) -> None:
        """Say something without telling where it begins and ends."""
        await self.push_frame(TTSAudioRawFrame(audio=audio, sample_rate=rate, num_channels=1))

    def times(self, kind: type[Frame]) -> list[float]:
        return [at for at, frame in self.seen if isinstance(frame, kind)]

    def found(self, kind: type[Frame]) -> list[Any]:
        return [frame for _, frame in self.seen if isinstance(frame, kind)]


class Echo(FrameProcessor):
    """Gives back what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1)
        await self.push_frame(frame, direction)


class Hum(BaseAudioMixer):
    """A background sound."""

    async def start(self, sample_rate: int) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def process_frame(self, frame: Frame) -> None:
        pass

    async def mix(self, audio: bytes) -> bytes:
        return (np.frombuffer(audio, "<i2") + 7).astype("<i2").tobytes()


def tone(seconds: float, rate: int = 16000, pitch: float = 400.0) -> bytes:
    times = np.arange(round(rate * seconds)) / rate
    return (8000 * np.sin(2 * math.pi * pitch * times)).astype("<i2").tobytes()


def speaker(seconds: float, rate: int = 16000, *behind: tuple[Frame, FrameDirection]) -> Script:
    """Return a processor that says a tone as soon as the pipeline runs, and pushes the frames `behind` it."""

    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.speak(tone(seconds, rate), rate)
            for other, direction in behind:
                await script.push_frame(other, direction)

    return Script(react)


def gaps(frames: list[FramePlayed]) -> int:
    """Count the ticks at which nothing was played."""
    return sum(round((b.at - a.at) / FRAME) - 1 for a, b in pairwise(frames))


class Phone:
    """A call in simulated time."""

    def __init__(self, platform: Platform, transport: CallstreamTransport) -> None:
        self.platform = platform
        self.transport = transport
        self.is_over = asyncio.Event()
        """The pipeline has ended, and the socket is closed."""


@asynccontextmanager
async def phoning(
    *processors: FrameProcessor,
    params: CallstreamParams | None = None,
    profile: Profile | None = JSON,
    dialect: str = "asterisk",
    **options: Any,
) -> AsyncIterator[Phone]:
    """Call a bot; the caller hangs up when the block is left. No task may be left behind.

    `options` are those of `Platform.connect`.
    """
    platform = Platform(dialect, profile)
    before = asyncio.all_tasks()
    phone = Phone(platform, CallstreamTransport(await platform.connect(**options), params))

    async def run() -> None:
        await run_pipeline(phone.transport, processors)
        await phone.transport.call.wait_gone()
        phone.is_over.set()

    running = asyncio.create_task(run())
    try:
        yield phone
    finally:
        if platform.session.state is not State.CLOSED:
            platform.say(e.SessionEnding())
        async with asyncio.timeout(30):
            await running
    await asyncio.sleep(0.01)
    left = [repr(task) for task in asyncio.all_tasks() - before if not task.done()]
    assert left == []
