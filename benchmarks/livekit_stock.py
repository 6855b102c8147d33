"""A LiveKit agent on a call: hand-written audio outputs against ours, while the event loop stalls, and interrupted.

    python -m benchmarks.livekit_stock

It needs `pip install 'callstream[livekit]' websockets`, and takes about six minutes.

LiveKit brings no output for a WebSocket: its own way to the telephone is a SIP trunk into a room. Whoever writes one
finds two patterns in its package, and both are here. `Paced` puts LiveKit's `QueueAudioOutput` before a task that sends
a frame when it is due. `Clocked` does as its console does: audio goes out at once, and the clock tells what was heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import socket
import threading
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

import attrs
import numpy as np
import trio
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice import io
from livekit.agents.voice.avatar import AudioSegmentEnd, QueueAudioOutput
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from callstream_asyncio import Call, WebsocketsSocket
from callstream_core import AppSession, dialects
from callstream_core import commands as c
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_core.outputs import FramePlayed
from callstream_livekit import connect
from callstream_trio.caller import dial
from callstream_trio.hub import Hub

RATE = 8000
FRAME = 320
PTIME = 0.02
SPEECH = 10.0
# Seconds for which the loop is blocked, and how often.
STALLS = [(0.0, 1.0), (0.05, 0.2), (0.1, 0.5), (0.2, 1.0)]
# Seconds after which an agent is interrupted.
MOMENTS = [1.5, 1.9, 2.7]
CALLS = 10
PROFILE = AsteriskProfile(format="slin")
WAYS = ["paced", "clocked", "callstream"]


# Three ways to play


class Paced(QueueAudioOutput):
    """Sends a frame whenever one is due, on a grid that does not drift; what was sent counts as heard."""

    def __init__(self, link: ServerConnection) -> None:
        super().__init__(sample_rate=RATE)
        self._link = link
        self._sent = 0.0
        self._is_open = False
        self.task = asyncio.get_running_loop().create_task(self._send())

    def clear_buffer(self) -> None:
        """Drop what waits, here and on the platform."""
        super().clear_buffer()
        if self._is_open:
            self.later = asyncio.get_running_loop().create_task(self._link.send("FLUSH_MEDIA"))
            self._finish(was_interrupted=True)

    def _finish(self, *, was_interrupted: bool) -> None:
        self._is_open = False
        position, self._sent = self._sent, 0.0
        self.notify_playback_finished(position, was_interrupted)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Queue a frame."""
        self._is_open = True
        await super().capture_frame(frame)

    async def _send(self) -> None:
        asked = due = time.monotonic()
        async for item in self:
            if isinstance(item, AudioSegmentEnd):
                if self._is_open:
                    self._finish(was_interrupted=False)
            else:
                # After silence the grid begins anew; after a stall, what was missed is caught up with.
                came = time.monotonic()
                due = max(due, came) if came - asked > PTIME / 2 else due
                await asyncio.sleep(max(due - came, 0))
                due += PTIME
                self._sent += PTIME
                await self._link.send(bytes(item.data))
            asked = time.monotonic()


class Clocked(io.AudioOutput):
    """Sends everything at once; what was heard is the time since then."""

    def __init__(self, link: ServerConnection) -> None:
        super().__init__(
            label="clocked", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE, next_in_chain=None
        )
        self._link = link
        self._pushed = 0.0
        self._start = 0.0
        self._end: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Send a frame."""
        await super().capture_frame(frame)
        if not self._pushed:
            self._start = time.monotonic()
            self.on_playback_started(created_at=time.time())
        self._pushed += PTIME
        await self._link.send(bytes(frame.data))

    def flush(self) -> None:
        """Wait for as long as the audio lasts."""
        super().flush()
        if self._pushed:
            self._end = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        await asyncio.sleep(max(self._start + self._pushed - time.monotonic(), 0))
        self._finish(was_interrupted=False)

    def clear_buffer(self) -> None:
        """Drop what the platform has."""
        if self._pushed:
            if self._end is not None:
                self._end.cancel()
            self.later = asyncio.get_running_loop().create_task(self._link.send("FLUSH_MEDIA"))
            self._finish(was_interrupted=True)

    def _finish(self, *, was_interrupted: bool) -> None:
        pushed, self._pushed = self._pushed, 0.0
        position = min(time.monotonic() - self._start, pushed) if was_interrupted else pushed
        self.on_playback_finished(playback_position=position, interrupted=was_interrupted)


class Heard(io.AudioInput):
    """The caller's audio as it comes."""

    def __init__(self, link: ServerConnection) -> None:
        super().__init__(label="caller")
        self._link = link

    async def __anext__(self) -> rtc.AudioFrame:
        """Return the next frame."""
        with contextlib.suppress(ConnectionClosed):
            async for message in self._link:
                if isinstance(message, bytes):
                    return rtc.AudioFrame(message, RATE, 1, len(message) // 2)
        raise StopAsyncIteration


async def speak(seconds: float, *, is_halting: bool = False) -> AsyncIterator[rtc.AudioFrame]:
    """Give a tone as a synthesizer would: all at once, or half a second at a time with pauses that can be heard."""
    for number in range(round(seconds / PTIME)):
        if is_halting and number and number % 25 == 0:
            await asyncio.sleep(0.8)
        times = np.arange(number * FRAME // 2, (number + 1) * FRAME // 2) / RATE
        data = (8000 * np.sin(2 * math.pi * 400 * times)).astype("<i2").tobytes()
        yield rtc.AudioFrame(data, RATE, 1, FRAME // 2)


# One agent and its caller


@attrs.frozen(kw_only=True)
class Plan:
    """What happens on a call."""

    way: str
    stall: float = 0.0
    interval: float = 1.0
    seconds: float = SPEECH
    is_halting: bool = False
    interrupted_at: float | None = None
    calls: int = 1


@attrs.define
class Outcome:
    """What became of it."""

    played: list[float] = attrs.field(factory=list)
    deepest: int = 0
    told_at: float = 0.0
    position: float = 0.0
    work: float = 0.0
    """Seconds of processor time of the agents' thread, for one call."""

    @property
    def row(self) -> str:
        """The figures of one line, of a speech that was heard to its end."""
        gaps = int(np.round(np.diff(self.played) / PTIME - 1).clip(0).sum())
        span = self.played[-1] - self.played[0] + PTIME
        told = 1000 * (self.told_at - self.played[-1])
        return f"{span:6.2f} s {gaps:5d} {len(self.played) * PTIME:6.2f} s {self.deepest * 20:6d} ms {told:8.0f} ms"


class Agents:
    """Takes calls in an event loop that stalls."""

    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        self._plan = plan
        self._outcome = outcome
        self.stop = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Serve until `stop`."""
        loop = asyncio.get_running_loop()

        def block() -> None:
            time.sleep(self._plan.stall)
            loop.call_later(self._plan.interval - self._plan.stall, block)

        if self._plan.stall:
            loop.call_later(0.5, block)
        async with serve(self._take, sock=listener, subprotocols=["media"], compression=None, ping_interval=None):  # type: ignore[list-item]
            before = time.thread_time()
            await self.stop.wait()
            self._outcome.work = (time.thread_time() - before) / self._plan.calls

    async def _take(self, link: ServerConnection) -> None:
        # What it makes of the audio costs the same on every output.
        agent = AgentSession(vad=None)
        call: Call | None = None
        if self._plan.way == "callstream":
            now = asyncio.get_running_loop().time()
            call = Call(WebsocketsSocket(link), AppSession(dialects.get("asterisk"), now=now))
            call.start()
            await call.wait_opened()
            _, output = connect(agent, call)
        else:
            await link.recv()
            output = Paced(link) if self._plan.way == "paced" else Clocked(link)
            agent.input.audio, agent.output.audio = Heard(link), output
        output.on("playback_finished", self._note)
        await agent.start(Agent(instructions=""))
        speech = agent.say("a story", audio=speak(self._plan.seconds, is_halting=self._plan.is_halting))
        if self._plan.interrupted_at is not None:
            await asyncio.sleep(self._plan.interrupted_at)
            await agent.interrupt()
        await speech.wait_for_playout()
        await asyncio.sleep(0.1)
        await agent.aclose()
        with contextlib.suppress(ConnectionClosed):
            if call is None:
                await link.send("HANGUP")
                await link.wait_closed()
            elif call.is_open:
                call.say(c.HangUp())
                await call.wait_gone()

    def _note(self, event: io.PlaybackFinishedEvent) -> None:
        self._outcome.told_at = time.monotonic()
        self._outcome.position = event.playback_position


def measure(plan: Plan) -> Outcome:
    """Make the calls."""
    outcome = Outcome()
    loop = asyncio.new_event_loop()
    agents = Agents(plan, outcome)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(agents.serve(listener))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    trio.run(call_all, f"ws://127.0.0.1:{listener.getsockname()[1]}/asterisk", plan, outcome)
    loop.call_soon_threadsafe(agents.stop.set)
    thread.join(5)
    listener.close()
    return outcome


async def call_all(url: str, plan: Plan, outcome: Outcome) -> None:
    """Be the platform for all calls; the first one is written down."""
    async with Hub().running() as hub, trio.open_nursery() as nursery:
        for number in range(plan.calls):
            nursery.start_soon(call_once, url, plan, outcome if number == 0 else Outcome(), hub)


async def call_once(url: str, plan: Plan, outcome: Outcome, hub: Hub) -> None:
    """Talk, and note when each frame of the agent's speech is played."""
    with trio.move_on_after(2 * plan.seconds + 10):
        async with dial(url, profile=PROFILE, hub=hub) as caller:
            caller.say_audio(bytes(FRAME) * round(plan.seconds / PTIME))
            async for word in caller:
                if isinstance(word, FramePlayed) and any(word.data):
                    outcome.played.append(word.at)
                outcome.deepest = max(outcome.deepest, caller.session.playout.queue_length)


# Tables


def blocked(stall: float, interval: float) -> str:
    """Say how often the loop stands still."""
    return f"{stall * 1000:.0f} ms in {interval * 1000:.0f}" if stall else "never"


def show_stalls() -> None:
    """Ten seconds in one burst, and half a minute."""
    print(f"\n{'loop blocked':16} {'output':10} {'took':>8} {'gaps':>5} {'heard':>8} {'queued':>9} {'end told':>11}")
    for stall, interval, seconds in [*((*times, SPEECH) for times in STALLS), (0.0, 1.0, 3 * SPEECH)]:
        for way in WAYS:
            outcome = measure(Plan(way=way, stall=stall, interval=interval, seconds=seconds))
            print(f"{blocked(stall, interval):16} {way:10} {outcome.row}", flush=True)


def show_interruptions() -> None:
    """What an interrupted agent believes that the caller has heard, less what he has."""
    print(f"\n{'speech':8} {'loop blocked':16} {'output':10} position told, less what was played; of three calls")
    for is_halting, times in itertools.product((False, True), (STALLS[0], STALLS[-1])):
        for way in WAYS:
            errors = []
            for moment in MOMENTS:
                plan = Plan(way=way, stall=times[0], interval=times[1], is_halting=is_halting, interrupted_at=moment)
                outcome = measure(plan)
                errors.append(f"{1000 * (outcome.position - len(outcome.played) * PTIME):+6.0f} ms")
            speech = "halting" if is_halting else "fluent"
            print(f"{speech:8} {blocked(*times):16} {way:10} {' '.join(errors)}", flush=True)


def show_work() -> None:
    """Processor time of the agents' thread."""
    print(f"\n{CALLS} calls at once: processor time for a second of one, in three rounds")
    for way in WAYS:
        rounds = [measure(Plan(way=way, calls=CALLS)).work / SPEECH for _ in range(3)]
        print(f"{way:10} {' '.join(f'{1000 * work:6.2f} ms' for work in rounds)}", flush=True)


def main() -> None:
    """Print three tables."""
    logging.disable(logging.CRITICAL)
    print(f"livekit-agents {version('livekit-agents')}")
    # The first session of a process loads much.
    measure(Plan(way="callstream", seconds=0.5))
    show_stalls()
    show_interruptions()
    show_work()


if __name__ == "__main__":
    main()
