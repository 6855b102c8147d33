"""A menu for jambonz calls, by verbs alone: 1 tells the opening hours, 0 calls the desk, anything else asks again."""

import trio

from callstream_core.jambonz.parts import Target
from callstream_core.jambonz.results import InputGathered, result_of
from callstream_core.jambonz.verbs import Answer, Dial, Gather, Hangup, Say
from callstream_core.jambonz.words import HookCalled, SessionOffered
from callstream_trio import Control, serve_verbs


def ask(text: str) -> Gather:
    """Say something, and wait for a key."""
    return Gather(input=["digits"], num_digits=1, timeout=5, say={"text": text}, action_hook="/menu")


async def menu(control: Control) -> None:
    """Lead one caller through the menu."""
    tries = 0
    async for word in control:
        match word:
            case SessionOffered():
                await control.ack(word, Answer(), ask("For our opening hours, press 1. For the desk, press 0."))
            case HookCalled(hook="/menu"):
                gathered = result_of(word)
                tries += 1
                match gathered:
                    case InputGathered(digits="1"):
                        await control.ack(word, Say(text="We are open from nine to five."), Hangup())
                    case InputGathered(digits="0"):
                        desk = Target(type="phone", number="15550100")
                        await control.ack(word, Dial(target=[desk], action_hook="/dialled"))
                    case _ if tries < 3:
                        await control.ack(word, ask("Please press 1 or 0."))
                    case _:
                        await control.ack(word, Say(text="Goodbye."), Hangup())
            case HookCalled(hook="/dialled"):
                await control.ack(word, Hangup())


if __name__ == "__main__":
    trio.run(serve_verbs, menu)
