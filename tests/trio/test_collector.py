"""The garbage collector has little to do, and calls leave it nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio

from callstream_core import commands as c
from callstream_core.events import DigitReceived
from callstream_trio import Call, spare_calls
from callstream_trio.server import Handler
from tests.trio.wire import CLOSE, Peer, calling, echo, frame, serving, until


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _talk(call: Call) -> None:
    await call.answer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen, call)
        await call.play(bytes(1600))
        await call.mark("m")
        async for event in call:
            if isinstance(event, DigitReceived):
                await call.clear()
                call.say(c.RequestStatus())


async def _listen(call: Call) -> None:
    async for _ in call.audio(16000):
        pass


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("handler", [echo, _talk])
@pytest.mark.parametrize("path", ["/", "/asterisk"])
async def test_a_call_that_is_over_is_freed_without_the_collector(handler: Handler, path: str) -> None:
    calls: list[weakref.ref[Call]] = []

    async def noted(call: Call) -> None:
        calls.append(weakref.ref(call))
        await handler(call)

    async def speak(peer: Peer) -> None:
        await peer.say(bytes(320))
        await peer.say("DTMF_END digit:1 duration_ms:80")
        await trio.sleep(0.05)

    async with serving(noted) as server:
        async with calling(server, path=path) as peer:
            await speak(peer)
            await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
            await peer.close_code()
        async with calling(server, path=path) as peer:
            await speak(peer)
        await until(lambda: len(calls) == 2 and not server.calls)
        await trio.sleep(0.01)
        assert [call() for call in calls] == [None, None]


def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    thresholds = gc.get_threshold()
    try:
        spare_calls()
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold() == (*thresholds[:2], 1000)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
