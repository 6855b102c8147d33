"""A LiveKit agent on the telephone, without a room: it says a sentence; any key interrupts it."""

import asyncio
import math
import struct
import sys
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents import Agent, AgentSession
from websockets.asyncio.server import ServerConnection, serve

from callstream_asyncio import Call, WebsocketsSocket
from callstream_core import AppSession, dialects
from callstream_core.commands import HangUp, When
from callstream_core.events import DigitReceived, Event
from callstream_livekit import connect


async def tone(rate: int, seconds: float = 3.0) -> AsyncIterator[rtc.AudioFrame]:
    """Stands for a voice: here an agent of yours would have its TTS."""
    for start in range(0, round(seconds * rate), rate // 50):
        samples = [round(8000 * math.sin(2700 * n / rate)) for n in range(start, start + rate // 50)]
        yield rtc.AudioFrame(struct.pack(f"<{len(samples)}h", *samples), rate, 1, len(samples))


async def run_call(socket: ServerConnection) -> None:
    now = asyncio.get_running_loop().time()
    call = Call(WebsocketsSocket(socket), AppSession(dialects.get("asterisk"), now=now))
    call.start()
    if not await call.wait_opened():
        return
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
    async with serve(
        run_call, "127.0.0.1", port, subprotocols=["media"], compression=None, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
