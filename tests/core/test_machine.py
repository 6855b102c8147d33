"""One table describes the conversation; each end takes from it what it may say and hear."""

from __future__ import annotations

from typing import get_args

import pytest

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core import events as e
from callstream_core.errors import LocalProtocolError
from callstream_core.machine import Machine, State, conversation, rows_for

TABLES = [dialects.get(name).table for name in dialects.names()]
TABLES.append(conversation(events=[e.AudioReceived], commands=[c.PlaceMark], needs_answer=True))
WORDS = {e.Side.PLATFORM: get_args(e.Event), e.Side.APP: get_args(c.Command)}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("side", e.Side)
def test_each_word_is_in_the_table_or_refused(table: dict, state: State, side: e.Side) -> None:  # type: ignore[type-arg]
    other = e.Side.APP if side is e.Side.PLATFORM else e.Side.PLATFORM
    for word in WORDS[side]:
        after = table.get(state, {}).get((side, word))
        speaker, listener = Machine(rows_for(side, table)), Machine(rows_for(other, table))
        speaker.move(state)
        listener.move(state)
        spoken = word.__new__(word)
        if after is None:
            with pytest.raises(LocalProtocolError, match=f"{word.__name__} is not possible .* {state.value}"):
                speaker.say(spoken)
            assert not listener.hear(spoken)
            assert speaker.state is listener.state is state
        else:
            speaker.say(spoken)
            assert listener.hear(spoken)
            assert speaker.state is listener.state is after


@pytest.mark.parametrize("table", TABLES)
def test_every_conversation_can_end_and_nothing_follows(table: dict) -> None:  # type: ignore[type-arg]
    assert not table.get(State.CLOSED)
    assert State.OPEN in table
    # A tap is never answered, and has nothing to play out.
    for state in {State.RINGING, State.OPEN, State.FINISHING} & table.keys():
        assert table[state][e.Side.APP, c.HangUp] is State.ENDING
        assert table[state][e.Side.PLATFORM, e.SessionEnding] is State.ENDING


def test_a_refusal_says_what_is_possible() -> None:
    machine = Machine(rows_for(e.Side.APP, dialects.get("asterisk").table))
    with pytest.raises(LocalProtocolError, match="possible now: nothing"):
        machine.say(c.Answer())
    machine.move(State.RINGING)
    with pytest.raises(LocalProtocolError, match="possible now: Answer, HangUp, Reject"):
        machine.say(c.SendAudio(b""))
