"""callstream: echo, paced streams, clears, and a loop that stalls."""

from __future__ import annotations

import os
import ssl
import struct
import time
from collections.abc import Iterable
from functools import partial

import trio

from benchmarks.peers import heap
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
    clears = 0

    async def play_on() -> None:
        # A quarter of a second at a time: the clears find something that waits here and something on its way.
        while call.ended is None:
            await call.play(_stamped(0, clears) * 12)
            await trio.sleep(12 * PERIOD)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play_on)
        async for event in call:
            if isinstance(event, DigitReceived):
                clears += 1
                before = time.monotonic_ns()
                await call.clear()
                await call.play(_stamped(before, clears))
        nursery.cancel_scope.cancel()


def _stamped(when: int, clears: int) -> bytes:
    return struct.pack("<QQ", when, clears) + bytes(SIZE - 16)


async def _stall(seconds: float) -> None:
    """Hold everything up once a second, as a careless handler does."""
    while True:
        await trio.sleep(1)
        time.sleep(seconds)  # noqa: ASYNC251


async def run(work: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled. `stalled` is `duplex` with stalls of as many milliseconds as `BENCHMARK_STALL` says."""
    handlers: dict[str, Handler] = {"echo": echo, "duplex": duplex, "stalled": duplex, "bargein": bargein}
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, handlers[work], [f"127.0.0.1:{port}"], tls=tls))
        heap.freeze()
        if work == "stalled":
            nursery.start_soon(_stall, int(os.environ["BENCHMARK_STALL"]) / 1000)
