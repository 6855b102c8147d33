"""Who waits for a call is woken for what he waits for, and not for more."""

from __future__ import annotations

import pytest
import trio

from callstream_trio import Call
from tests.trio.wire import calling, serving, until


async def test_audio_wakes_no_one_who_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    excess = Call._excess

    def counted(call: Call) -> float:
        nonlocal asked
        asked += 1
        return excess(call)

    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, call)
            await call.play(bytes(160 * 50 * 5))
            nursery.cancel_scope.cancel()

    read_pieces = 0

    async def read(call: Call) -> None:
        nonlocal read_pieces
        async for _ in call.audio():
            read_pieces += 1

    monkeypatch.setattr(Call, "_excess", counted)
    async with serving(handler) as server, calling(server) as peer:
        await until(lambda: asked)
        before = asked
        for _ in range(20):
            await peer.say(bytes(160))
            await trio.sleep(0.005)
        assert read_pieces >= 10
        assert asked - before <= 5


async def test_all_who_wait_get_their_turn_and_the_end_wakes_everybody() -> None:
    woken: list[str] = []

    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, call)
            nursery.start_soon(drain, call)
            nursery.start_soon(read, call)

    async def play(call: Call) -> None:
        await call.play(bytes(160 * 60))
        woken.append("played")

    async def drain(call: Call) -> None:
        await trio.sleep(0.01)
        await call.drained()
        woken.append("drained")

    async def read(call: Call) -> None:
        assert await call.next_audio() == bytes(160)
        assert await call.next_audio() == b""
        woken.append("over")

    async with serving(handler) as server:
        async with calling(server) as peer:
            await until(lambda: "played" in woken)
            await peer.say(bytes(160))
            await until(lambda: "drained" in woken)
        await until(lambda: "over" in woken)
    assert woken == ["played", "drained", "over"]
