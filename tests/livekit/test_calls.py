"""Whole calls through an `AgentSession`, from a simulated platform: no room, no server, no model."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio

pytest.importorskip("livekit.agents", reason="livekit-agents is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

from livekit import rtc
from livekit.agents import Agent, AgentSession
from websockets.asyncio.server import serve

from callstream_asyncio import Call, WebsocketsSocket
from callstream_core import AppSession, dialects
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.outputs import FramePlayed
from callstream_livekit import CallstreamAudioOutput, connect
from callstream_trio.caller import dial

JSON = AsteriskProfile(format="slin16", syntax=Syntax.JSON)


class Talk:
    """What a test knows of the agent's end."""

    def __init__(self) -> None:
        self.finished: list[Any] = []
        self.started: list[float] = []
        self.events: list[e.Event] = []
        self.results: dict[str, Any] = {}
        self.over = threading.Event()

    def note(self, output: CallstreamAudioOutput) -> None:
        output.on("playback_finished", self.finished.append)
        output.on("playback_started", lambda event: self.started.append(event.created_at))


Play = Callable[[Talk, AgentSession, Call, CallstreamAudioOutput], Awaitable[None]]


async def tone(seconds: float, rate: int = 16000) -> AsyncIterator[Any]:
    for start in range(0, round(seconds * rate), 320):
        times = np.arange(start, start + 320) / rate
        data = (8000 * np.sin(2 * math.pi * 400 * times)).astype("<i2").tobytes()
        yield rtc.AudioFrame(data, rate, 1, 320)


@asynccontextmanager
async def serving(play: Play) -> AsyncIterator[tuple[str, Talk]]:
    talk = Talk()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def take(connection: Any) -> None:
        call = Call(WebsocketsSocket(connection), AppSession(dialects.get("asterisk"), now=loop.time()))
        call.start()
        await call.wait_opened()
        agent = AgentSession()
        _, output = connect(agent, call, on_event=talk.events.append)
        talk.note(output)
        await agent.start(Agent(instructions=""))
        try:
            await play(talk, agent, call, output)
        finally:
            await agent.aclose()
            if call.is_open:
                call.say(c.HangUp(c.When.AFTER_PLAYOUT))
            await call.wait_gone()
            talk.over.set()

    async def main() -> None:
        async with serve(take, sock=listener, subprotocols=["media"], compression=None):  # type: ignore[list-item]
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/asterisk", talk
    finally:
        loop.call_soon_threadsafe(stop.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, 5)
        listener.close()


async def over(talk: Talk) -> None:
    assert await trio.to_thread.run_sync(talk.over.wait, 10), "the agent did not end"


async def test_a_prompt_is_heard_and_then_finished() -> None:
    async def play(talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        start = time.monotonic()
        await agent.say("hello", audio=tone(1.0)).wait_for_playout()
        talk.results["took"] = time.monotonic() - start

    async with serving(play) as (url, talk), dial(url, profile=JSON) as caller:
        with trio.fail_after(10):
            frames = [word async for word in caller if isinstance(word, FramePlayed)]
        await over(talk)
    assert sum(any(frame.data) for frame in frames) == 50
    [finished] = talk.finished
    assert finished.playback_position == pytest.approx(1.0)
    assert not finished.interrupted
    assert len(talk.started) == 1
    assert 0.95 <= talk.results["took"] < 1.4


async def test_an_interruption_tells_exactly_what_was_heard() -> None:
    async def play(talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        handle = agent.say("a long story", audio=tone(5.0))
        await asyncio.sleep(1.0)
        await agent.interrupt()
        await handle.wait_for_playout()
        await asyncio.sleep(0.2)
        talk.results["items"] = list(agent.history.items)

    async with serving(play) as (url, talk), dial(url, profile=JSON) as caller:
        with trio.fail_after(10):
            frames = [word async for word in caller if isinstance(word, FramePlayed)]
        await over(talk)
    [finished] = talk.finished
    assert finished.interrupted
    heard = sum(any(frame.data) for frame in frames) * 0.02
    assert 0.5 < heard < 1.3
    assert finished.playback_position == pytest.approx(heard, abs=0.021)


async def test_a_caller_who_vanishes_finishes_what_was_playing() -> None:
    async def play(talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        async with asyncio.timeout(5):
            await agent.say("a long story", audio=tone(5.0)).wait_for_playout()

    async with serving(play) as (url, talk), dial(url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(25 * 640)
        caller.vanish()
        await over(talk)
    assert [finished.interrupted for finished in talk.finished] == [True]
    assert 0.3 < talk.finished[0].playback_position < 1.0


async def test_a_pause_stands_still_and_goes_on() -> None:
    async def play(talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        assert output.can_pause
        async for frame in tone(0.2):
            await output.capture_frame(frame)
        output.pause()
        output.flush()
        await asyncio.sleep(0.5)
        talk.results["finished early"] = len(talk.finished)
        output.resume()
        async with asyncio.timeout(2):
            await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url, profile=JSON) as caller:
        await over(talk)
        assert any(isinstance(word, c.PausePlayout) for word in [w async for w in caller])
    assert talk.results["finished early"] == 0
    assert talk.finished[0].playback_position == pytest.approx(0.2)


async def test_two_clears_and_a_late_flush_finish_a_segment_once() -> None:
    async def play(_talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        for _ in range(2):
            async for frame in tone(0.2):
                await output.capture_frame(frame)
            output.clear_buffer()
            output.clear_buffer()
            output.flush()
            async with asyncio.timeout(2):
                await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url, profile=JSON):
        await over(talk)
    assert [finished.interrupted for finished in talk.finished] == [True, True]


async def test_digits_and_the_end_are_told() -> None:
    async def play(_talk: Talk, _agent: AgentSession, call: Call, _output: CallstreamAudioOutput) -> None:
        await call.wait_ended()
        await asyncio.sleep(0.05)

    async with serving(play) as (url, talk), dial(url, profile=JSON) as caller:
        caller.press("7")
        await trio.sleep(0.3)
        caller.hang_up()
        await over(talk)
    assert [event.digit for event in talk.events if isinstance(event, e.DigitReceived)] == ["7"]
    assert isinstance(talk.events[-1], e.SessionClosed)
