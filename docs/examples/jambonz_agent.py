"""An agent on the audio of jambonz calls: it greets, repeats what it hears, and falls silent when you speak.

0 brings a person to the phone, # hangs up. Put your own ears, brain and voice where it repeats.
"""

import math
import struct

import trio

from callstream_core.events import DigitReceived
from callstream_core.jambonz.orders import Redirect
from callstream_core.jambonz.parts import Target
from callstream_core.jambonz.verbs import Dial, Hangup
from callstream_trio import Call, serve

RATE, LOUD, PAUSE = 8000, 500, 0.4
GREETING = b"".join(struct.pack("<h", int(3000 * math.sin(n / 3))) for n in range(2 * RATE))
MAX_SENTENCE = 20 * 2 * RATE


def is_loud(piece: bytes) -> bool:
    """Tell whether somebody speaks: a real agent asks a voice activity detector."""
    return max(map(abs, memoryview(piece).cast("h"))) > LOUD


async def converse(call: Call) -> None:
    """Repeat each sentence of the caller, unless he goes on to speak."""
    sentence, silence = b"", 0.0
    async for piece in call.audio():
        if is_loud(piece):
            if call.backlog > 0:
                heard = await call.clear()
                print(f"interrupted after {heard.heard:.1f} s")
            sentence, silence = (sentence + piece)[-MAX_SENTENCE:], 0.0
        elif sentence:
            silence += len(piece) / (2 * RATE)
            if silence > PAUSE:
                await call.play(sentence)
                await call.end_utterance()
                sentence = b""


async def agent(call: Call) -> None:
    """Talk with one caller, and do what his keys say."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse, call)
        await call.play(GREETING)
        await call.end_utterance()
        async for event in call:
            match event:
                case DigitReceived("0") if call.control is not None:
                    desk = Target(type="phone", number="15550100")
                    await call.control.send(Redirect([Dial(target=[desk]), Hangup()]))
                case DigitReceived("#"):
                    await call.finish()


if __name__ == "__main__":
    trio.run(serve, agent, ["0.0.0.0:8787"])
