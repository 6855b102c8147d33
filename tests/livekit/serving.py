"""An agent in a thread and loop of its own, for a caller who lives under Trio."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import trio
from livekit import rtc
from livekit.agents import Agent, AgentSession
from websockets.asyncio.server import serve

from callstream_asyncio import Call, WebsocketsSocket
from callstream_core import AppSession, detect, dialects
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.errors import Unsupported
from callstream_livekit import CallstreamAudioOutput, connect


class Talk:
    """What a test knows of the agent's end."""

    def __init__(self) -> None:
        self.finished: list[Any] = []
        self.started: list[float] = []
        self.events: list[e.Event] = []
        self.fails_on: type[e.Event] | None = None
        """The kind of event that the application fails on."""
        self.results: dict[str, Any] = {}
        self.refused: Unsupported | None = None
        self.over = threading.Event()

    def hear(self, event: e.Event) -> None:
        self.events.append(event)
        if self.fails_on is not None and isinstance(event, self.fails_on):
            raise RuntimeError("a fault of the application")

    def note(self, output: CallstreamAudioOutput) -> None:
        output.on("playback_finished", self.finished.append)
        output.on("playback_started", lambda event: self.started.append(event.created_at))


Play = Callable[[Talk, AgentSession, Call, CallstreamAudioOutput], Awaitable[None]]


async def tone(seconds: float, rate: int = 16000) -> AsyncIterator[Any]:
    for start in range(0, round(seconds * rate), 320):
        times = np.arange(start, start + 320) / rate
        data = (8000 * np.sin(2 * math.pi * 400 * times)).astype("<i2").tobytes()
        yield rtc.AudioFrame(data, rate, 1, 320)


def select(_connection: Any, offered: Any) -> Any:
    """Some platforms offer no subprotocol, and others insist on theirs."""
    known = [name for dialect in dialects.names() for name in dialects.get(dialect).subprotocols]
    return next((name for name in offered if name in known), None)


@asynccontextmanager
async def serving(play: Play, profile: Any = None) -> AsyncIterator[tuple[str, Talk]]:
    talk = Talk()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def take(connection: Any) -> None:
        dialect = detect(path=connection.request.path)
        assert dialect is not None
        call = Call(WebsocketsSocket(connection), AppSession(dialect, profile, now=loop.time()))
        call.start()
        await call.wait_opened()
        if call.info.needs_answer:
            call.say(c.Answer())
        agent = AgentSession()
        try:
            _, output = connect(agent, call, on_event=talk.hear)
            talk.note(output)
            await agent.start(Agent(instructions=""))
            await play(talk, agent, call, output)
        except Unsupported as error:
            talk.refused = error
        finally:
            await agent.aclose()
            if call.is_open:
                call.say(c.HangUp(c.When.AFTER_PLAYOUT))
            await call.wait_gone()
            talk.over.set()

    async def main() -> None:
        async with serve(take, sock=listener, select_subprotocol=select, compression=None):
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}", talk
    finally:
        loop.call_soon_threadsafe(stop.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, 5)
        listener.close()


async def over(talk: Talk) -> None:
    assert await trio.to_thread.run_sync(talk.over.wait, 10), "the agent did not end"
