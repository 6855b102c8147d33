"""A dialect made up for this test, by docs/how-to/add-a-dialect.md: if it takes more than this, the page is wrong.

`CALL id` opens, `BYE` ends, `MARK name` comes back as `DONE name`, `STOP` clears, binary messages are u-law.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.audio import AudioFormat
from callstream_core.dialect import Capabilities, Dialect, Patience, PlayoutTraits, Support
from callstream_core.errors import Malformed
from callstream_core.machine import State, conversation
from callstream_core.platform_session import PlatformSession
from callstream_core.websocket import STRICT
from tests.pair import Pair

ULAW = AudioFormat(encoding="ulaw", rate=8000, frame_size=160)
CAN = Capabilities(is_raw=True, pause=Support.NONE, drained=Support.NONE)


@attrs.frozen
class MorseProfile:
    call_id: str = "7"
    rules = STRICT
    playout = PlayoutTraits(format=ULAW, period=0.02)
    patience = Patience()
    direction = e.Direction.BOTH
    auto_answer = True
    crashes_on_pong = False
    tracks = (e.CALLER,)

    def opening(self) -> e.SessionOpened:
        more: Any = {"dialect": "morse", "profile": "", "caller_format": ULAW, "reply_format": ULAW}
        return e.SessionOpened(ids={"id": self.call_id}, call_id=self.call_id, capabilities=CAN, **more)


class MorseCodec:
    def __init__(self, _profile: MorseProfile | None = None) -> None:
        self.capabilities = CAN

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        match event:
            case e.SessionOpened(call_id=call_id):
                return [f"CALL {call_id}"]
            case e.AudioReceived(data=data):
                return [data]
            case e.MarkReached(name=name):
                return [f"DONE {name}"]
        return ["BYE"] if isinstance(event, e.SessionEnding) else []

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        if isinstance(message, bytes):
            return [e.AudioReceived(message)]
        word, _, rest = message.partition(" ")
        events: dict[str, e.Event] = {"DONE": e.MarkReached(rest), "BYE": e.SessionEnding()}
        return [MorseProfile(rest).opening() if word == "CALL" else events.get(word, e.MessageIgnored(message))]

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        if isinstance(command, c.SendAudio):
            return [command.data]
        if isinstance(command, c.PlaceMark):
            return [f"MARK {command.name}"]
        # The close is the hang-up, and nobody waits for an answer.
        return ["STOP"] if isinstance(command, c.ClearPlayout) else []

    def decode_command(self, message: str | bytes) -> Sequence[c.Command]:
        if isinstance(message, bytes):
            return [c.SendAudio(message)]
        word, _, name = message.partition(" ")
        if word not in ("MARK", "STOP"):
            raise Malformed(f"{word} is no word")
        return [c.PlaceMark(name) if word == "MARK" else c.ClearPlayout()]

    def refusal(self, command: c.Command, direction: e.Direction) -> str | None:
        return None

    def closing_code(self, code: int | None) -> int | None:
        return code


MORSE = Dialect(
    name="morse",
    table=conversation(events=(e.AudioReceived, e.MarkReached), commands=(c.PlaceMark, c.ClearPlayout)),
    codec=MorseCodec,
    profile=MorseProfile,
    recognizes=lambda text: text.startswith("CALL "),
)


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_a_whole_call(delay: float) -> None:
    pair = Pair(AppSession(MORSE), PlatformSession(MORSE), delay=delay)
    pair.open()
    pair.say_event(e.AudioReceived(b"hello"))
    pair.say(c.SendAudio(b"\1" * 8000))
    pair.say(c.PlaceMark("greeting"))
    pair.run(1.0 + 3 * delay)
    pair.say(c.SendAudio(b"\2" * 8000))
    pair.say(c.PlaceMark("rest"))
    pair.run(0.5)
    pair.say(c.ClearPlayout())
    pair.say(c.SendAudio(b"\3" * 160))
    pair.say(c.HangUp(c.When.AFTER_PLAYOUT))
    pair.run(5.0)
    assert pair.app.state is pair.platform.state is State.CLOSED
    assert pair.app_heard(e.AudioReceived) == [e.AudioReceived(b"hello")]
    greeting, rest = pair.app_heard(e.MarkReached)
    assert (greeting, rest) == (e.MarkReached("greeting"), e.MarkReached("rest", e.MarkOutcome.CLEARED))
    assert pair.played[0].data == b"\1" * 160
    assert pair.played[-1].data == b"\3" * 160
    assert not pair.platform_heard(e.PeerMisbehaved)
