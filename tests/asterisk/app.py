"""Our own server as the app that Asterisk calls, and audio by which a test knows what became of it."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import numpy as np
import numpy.typing as npt
import trio

from callstream_core import events as e
from callstream_core.limits import PlayoutSettings
from callstream_trio import Admission, Call, Handler, Server, ServerLimits, ServerSettings
from tests.asterisk.peer import Asterisk, read_samples

Samples = npt.NDArray[np.int16]

PATIENCE = 10.0
"""Seconds that a test waits for something that must come."""


@attrs.define
class App:
    """A server that hands each call to the test; the call lasts until somebody hangs up."""

    server: Server
    asterisk: Asterisk
    _arrived: trio.MemoryReceiveChannel[Call]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.addresses[0][1]

    async def next_call(self) -> Call:
        """Wait for the next call that Asterisk makes."""
        with trio.fail_after(PATIENCE):
            return await self._arrived.receive()

    async def recording(self, name: str) -> Samples:
        """Wait for the end of all calls, and return the samples of a recording."""
        return await recording(self.asterisk, name)

    def to(self, name: str) -> str:
        """Return where Asterisk shall record."""
        return str(self.asterisk.recordings / name)


@asynccontextmanager
async def answering(
    asterisk: Asterisk,
    *,
    playout: PlayoutSettings | None = None,
    admission: Admission | None = None,
    tls: ssl.SSLContext | None = None,
    handler: Handler | None = None,
) -> AsyncIterator[App]:
    """Run our server and let Asterisk call it; `handler` runs besides the test."""
    calls, arrived = trio.open_memory_channel[Call](math.inf)

    async def hand_over(call: Call) -> None:
        calls.send_nowait(call)
        if handler is not None:
            await handler(call)
        await call.wait_ended()

    settings = ServerSettings(
        playout=playout or PlayoutSettings(),
        admission=admission or Admission(),
        limits=ServerLimits(drain_timeout=0.5),
    )
    server = Server(hand_over, settings=settings, tls=tls)
    failure: BaseException | None = None
    with calls, arrived:
        async with server.listening(["127.0.0.1:0"]):
            app = App(server, asterisk, arrived)
            try:
                asterisk.point_at(f"ws://127.0.0.1:{app.port}/asterisk", f"wss://localhost:{app.port}/asterisk")
                yield app
            except Exception as error:
                failure = error
    # Raised here, it is not wrapped in the groups of the server's nurseries.
    if failure is not None:
        raise failure


def noise(seconds: float, rate: int = 8000, *, seed: int = 1) -> Samples:
    """Return noise without a single sample of silence, the same each time."""
    size = round(seconds * rate)
    generator = np.random.default_rng(seed)
    samples: Samples = (generator.integers(1000, 20000, size) * generator.choice((-1, 1), size)).astype(np.int16)
    return samples


def sine(seconds: float, rate: int = 8000) -> Samples:
    """Return a tone of 440 Hz."""
    samples: Samples = (8000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.int16)
    return samples


async def recording(asterisk: Asterisk, name: str) -> Samples:
    """Wait for the end of all calls, and return the samples of a recording."""
    path = await trio.to_thread.run_sync(asterisk.recording, name)
    return np.array(read_samples(path), dtype=np.int16)


def same(recording: Samples, said: Samples) -> str:
    """Tell where two pieces of audio part; nothing where they are the same."""
    size = min(recording.size, said.size)
    differing = np.flatnonzero(recording[:size] != said[:size])
    if differing.size == 0 and recording.size == said.size:
        return ""
    at = int(differing[0]) if differing.size else size
    return f"{recording.size} samples recorded, {said.size} said, different from {at} on"


async def until(call: Call, found: Callable[[e.Event], bool] | type[e.Event]) -> list[e.Event]:
    """Return a call's events up to the one that is looked for."""
    events: list[e.Event] = []
    with trio.fail_after(PATIENCE):
        async for event in call:
            events.append(event)
            if isinstance(event, found) if isinstance(found, type) else found(event):
                return events
    raise AssertionError(f"the call ended without it: {events}")


async def rest(call: Call) -> list[e.Event]:
    """Return all events until the end."""
    return await until(call, e.SessionClosed)


async def hear_bytes(call: Call, size: int) -> bytes:
    """Return caller audio as it comes: `size` bytes, or more."""
    audio = b""
    with trio.fail_after(PATIENCE):
        async for piece in call.audio():
            audio += piece
            if len(audio) >= size:
                break
    return audio


async def hung_up(call: Call) -> e.SessionClosed:
    """Wait for the end of a call."""
    with trio.fail_after(PATIENCE):
        ended = await call.wait_ended()
        await call.wait_gone()
        return ended


def sound_file(asterisk: Asterisk, name: str, samples: Samples, rate: int = 8000) -> str:
    """Store samples as a sound file; return its name for SOUND."""
    return asterisk.add_sound(name, samples.astype("<i2").tobytes(), rate)
