"""callstream: echo, paced streams, clears, and a loop that stalls."""

from __future__ import annotations

import gc
import os
import struct
import time
from collections.abc import Iterable

import trio

from benchmarks.peers.stream import PERIOD, SIZE, Stream
from callstream_core.commands import Command
from callstream_core.events import AudioReceived, DigitReceived
from callstream_trio import Call, Echo, serve
from callstream_trio.server import Handler

_CHUNK = 50


class _Drop:
    """Hears, and says nothing."""

    def take(self, _audio: AudioReceived, _now: float) -> Iterable[Command]:
        """Drop the piece."""
        return ()


async def echo(call: Call) -> None:
    """Send everything back."""
    await call.answer()
    call.connect(Echo())
    await call.wait_ended()


async def duplex(call: Call) -> None:
    """Drop what is heard; give the session a second's audio at a time, which it sends frame by frame."""
    await call.answer()
    call.connect(_Drop())
    stream = Stream()
    while call.ended is None:
        await call.play(stream.frames(_CHUNK))


async def bargein(call: Call) -> None:
    """Play without end; clear when a key is pressed, and tell in the next frame when that was."""
    await call.answer()
    call.connect(_Drop())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_play_on, call)
        async for event in call:
            if isinstance(event, DigitReceived):
                before = time.monotonic_ns()
                await call.clear()
                await call.play(struct.pack("<QQ", before, 0) + bytes(SIZE - 16))
        nursery.cancel_scope.cancel()


async def _play_on(call: Call) -> None:
    # A quarter of a second at a time: the clears find something that waits here and something that is on its way.
    silence = bytes(SIZE * 12)
    while call.ended is None:
        await call.play(silence)
        await trio.sleep(12 * PERIOD)


async def _stall(seconds: float) -> None:
    """Hold everything up once a second, as a careless handler does."""
    while True:
        await trio.sleep(1)
        time.sleep(seconds)  # noqa: ASYNC251


async def run(work: str, port: int) -> None:
    """Serve until cancelled. `stalled` is `duplex` with stalls of as many milliseconds as `BENCHMARK_STALL` says."""
    handlers: dict[str, Handler] = {"echo": echo, "duplex": duplex, "stalled": duplex, "bargein": bargein}
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, handlers[work], [f"127.0.0.1:{port}"])
        gc.collect()
        gc.freeze()
        if work == "stalled":
            nursery.start_soon(_stall, int(os.environ["BENCHMARK_STALL"]) / 1000)
