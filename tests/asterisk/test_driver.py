"""The simulated driver beside the real one: the same texts, good and damaged, must get the same answers."""

from __future__ import annotations

import random
import re

import pytest

from callstream_core.dialects.asterisk import DIALECT, AsteriskProfile, Syntax
from callstream_core.outputs import Output, Transmit
from callstream_core.platform_session import PlatformSession
from tests.asterisk.peer import Asterisk
from tests.asterisk.test_peer import listening_app
from tests.dialects.words import COMMANDS

TICK_DRIVEN = re.compile(r'(\{"event":")?(MEDIA_MARK_PROCESSED|MEDIA_BUFFERING_COMPLETED|QUEUE_DRAINED)')

pytestmark = pytest.mark.asterisk

ODD = [
    '{"command":"GET_STATUS","x":1e999}',
    '{"command":"GET_STATUS","x":-1e999}',
    '{"command":"GET_STATUS","x":1e-999}',
    '{"command":"GET_STATUS","x":9223372036854775807}',
    '{"command":"GET_STATUS","x":9223372036854775808}',
    '{"command":"GET_STATUS","x":-9223372036854775809}',
    '{"command":"GET_STATUS","x":NaN}',
    '{"command":"GET_STATUS","x":"\\ud800"}',
    '{"command":"GET_STATUS","x":"\\ud83d\\ude00"}',
    '{"command":"GET_STATUS","x":"\\u0000"}',
    '{"command":"GET_STATUS","\\u0000":1}',
    '{"command":"GET_STATUS","":1}',
    '{"command":"GET_STATUS","x":"\x7f"}',
    '{"command":"GET_STATUS","x":"\x1f"}',
    '{"command":"GET_STATUS","x":01}',
    '{"command":"GET_STATUS","x":1.}',
    '{"command":"GET_STATUS","x":-0}',
    '{"command":"GET_STATUS",}',
    '\ufeff{"command":"GET_STATUS"}',
    '{"command":"GET_STATUS"}\x00junk',
    '\x0c{"command":"GET_STATUS"}\x0b',
    '{"command"\x0c:"GET_STATUS"}',
    "{'command':'GET_STATUS'}",
    '["GET_STATUS"]',
    "[" * 60 + "]" * 60,
    "{}",
    "true",
    "GET_STATUS",
    '{"command":"GET\\u005fSTATUS"}',
    '{"command":"GET_STATUS","command":1}',
    '{"command":"SET_MEDIA_DIRECTION","direction":"In"}',
    '{"command":"SET_MEDIA_DIRECTION","direction":"a\\"b\\\\\\u0001\\u00e9"}',
    '{"command":"SET_MEDIA_DIRECTION","direction":null}',
]


def damaged(syntax: Syntax, count: int) -> list[str]:
    """Return valid commands, each cut, spliced or changed somewhere; always the same ones."""
    chance = random.Random(7)
    valid = [both[syntax is Syntax.JSON] for _, *both in COMMANDS]
    valid = [text for text in valid if text and "HANGUP" not in text and "DIRECTION" not in text]
    texts = []
    for _ in range(count):
        text, other = chance.choice(valid), chance.choice(valid)
        at = chance.randrange(len(text) + 1)
        match chance.randrange(4):
            case 0:
                text = text[:at] + text[at + chance.randrange(1, 5) :]
            case 1:
                text = text[:at] + other[chance.randrange(len(other)) :]
            case 2:
                text = text[:at] + chance.choice('"\\{}[]:, \t\n\x00\x01ü0e') + text[at + 1 :]
            case 3:
                text = text[:at] + chance.choice('"\\{}[]:, \t\n\x00\x01ü0e') + text[at:]
        texts.append(text)
    return texts


@pytest.mark.parametrize("syntax", Syntax)
@pytest.mark.parametrize("option", ["", "p"])
def test_texts_get_the_same_answers(asterisk: Asterisk, syntax: Syntax, option: str) -> None:
    session = PlatformSession(DIALECT, AsteriskProfile(syntax=syntax, passthrough=option == "p"))
    session.open(0.0)
    # Each text is followed by one that is refused at once, so its answer shows where the next begins.
    last = "SET_MEDIA_DIRECTION" if syntax is Syntax.PLAIN else '{"command":"SET_MEDIA_DIRECTION","direction":"?"}'
    [last_answer] = answers(session.receive(last, 0.0))
    is_json = syntax is Syntax.JSON
    differences = []
    with listening_app() as app:
        asterisk.point_at(f"ws://127.0.0.1:{app.port}/")
        asterisk.call("silence", f"app/c(ulaw){'f(json)' if is_json else ''}{option}")
        connection = app.next_call()
        connection.recv(5)
        for text in [*ODD, *damaged(syntax, 400)]:
            if option and "SET_MEDIA_DIRECTION" in text:
                continue
            connection.send(text)
            connection.send(last)
            found: list[str] = []
            while (answer := without_id(str(connection.recv(5)))) != last_answer:
                found.append(answer)
            # Marks are answered by ticks, which the simulated driver does not have here.
            found = [answer for answer in found if not TICK_DRIVEN.match(answer)]
            expected = answers(session.receive(text, 0.0))
            if found != expected:
                differences.append((text, found, expected))
        connection.close()
    assert differences == []


def answers(outputs: list[Output]) -> list[str]:
    return [without_id(str(output.message)) for output in outputs if isinstance(output, Transmit)]


def without_id(text: str) -> str:
    return re.sub(r'channel_id(:|":")[^ "]*', "", text)
