"""A LiveKit agent on the telephone, without a room: it says a sentence; any key interrupts it."""

import asyncio
import sys
from array import array
from collections.abc import AsyncIterator

from application import choose
from livekit import rtc
from livekit.agents import Agent, AgentSession
from websockets.asyncio.server import ServerConnection, serve

from callstream_asyncio import Call, WebsocketsSocket
from callstream_core import AppSession, detect
from callstream_core.commands import Answer, HangUp, When
from callstream_core.events import DigitReceived, Event
from callstream_livekit import connect


async def tone(rate: int, seconds: float = 3.0) -> AsyncIterator[rtc.AudioFrame]:
    """Stands for a voice: here an agent of yours would have its TTS."""
    samples = array("h", ([8000] * 10 + [-8000] * 10) * (rate // 1000))
    for _ in range(round(seconds * 50)):
        yield rtc.AudioFrame(samples.tobytes(), rate, 1, len(samples))


async def run_call(socket: ServerConnection) -> None:
    if (dialect := detect(path=socket.request.path)) is None:
        return await socket.close(1008, "no such path")
    call = Call(WebsocketsSocket(socket), AppSession(dialect, now=asyncio.get_running_loop().time()))
    call.start()
    if not await call.wait_opened():
        return await call.wait_gone()
    if call.info.needs_answer:
        call.say(Answer())
    agent = AgentSession()

    def hear(event: Event) -> None:
        if isinstance(event, DigitReceived):
            agent.interrupt()

    _, output = connect(agent, call, on_event=hear)
    output.on("playback_finished", lambda event: print(f"{event.playback_position:.2f} s heard", file=sys.stderr))
    await agent.start(Agent(instructions="You answer the telephone."))
    await agent.say("hello", audio=tone(output.sample_rate))
    await agent.aclose()
    if call.is_open:
        call.say(HangUp(When.AFTER_PLAYOUT))
    await call.wait_gone()


async def main(port: int = 8787) -> None:
    options = {"select_subprotocol": lambda _, offered: choose(offered), "compression": None, "ping_interval": None}
    async with serve(run_call, "127.0.0.1", port, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
