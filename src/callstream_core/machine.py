"""Apply a transition table: one description of the conversation, read by both ends."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from callstream_core.commands import Answer, EndUtterance, HangUp, Reject, SendAudio
from callstream_core.errors import LocalProtocolError
from callstream_core.events import SessionEnding, SessionOpened, Side


class State(enum.Enum):
    """Where a session stands."""

    OPENING = "opening"
    """Connected; the platform has not announced the call."""
    RINGING = "ringing"
    """Announced; no audio flows before the application answers."""
    OPEN = "open"
    FINISHING = "finishing"
    """The application hangs up when its last word was heard."""
    ENDING = "ending"
    """Hang-up or end was said; only the close is missing."""
    CLOSED = "closed"


Table = Mapping[State, Mapping[tuple[Side, type], State]]


Rows = Mapping[State, tuple[Mapping[type, State], Mapping[type, State]]]
"""What one end says and hears in each state, and the state that follows."""


class Machine:
    """One end's place in the conversation. `says` and `hears` map types to the next state, for this end alone."""

    __slots__ = ("_rows", "hears", "says", "state")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.move(State.OPENING)

    def move(self, state: State) -> None:
        """Enter `state`."""
        self.state = state
        self.says, self.hears = self._rows[state]

    def say(self, word: object) -> None:
        """Apply what our side says; raise `LocalProtocolError` where the table has no such move."""
        state = self.says.get(type(word))
        if state is None:
            raise LocalProtocolError(
                f"{type(word).__name__} is not possible while the session is {self.state.value}; "
                f"possible now: {', '.join(sorted(t.__name__ for t in self.says)) or 'nothing'}"
            )
        if state is not self.state:
            self.move(state)

    def knows(self, kind: type) -> bool:
        """Tell whether our side can say such a thing in any state."""
        return any(kind in says for says, _ in self._rows.values())

    def hear(self, word: object) -> bool:
        """Apply what the peer says; False where the table has no such move."""
        state = self.hears.get(type(word))
        if state is None:
            return False
        if state is not self.state:
            self.move(state)
        return True


def rows_for(side: Side, table: Table) -> Rows:
    """Split a table into what `side` says and hears, per state."""
    return {
        state: (
            {word: after for (speaker, word), after in table.get(state, {}).items() if speaker is side},
            {word: after for (speaker, word), after in table.get(state, {}).items() if speaker is not side},
        )
        for state in State
    }


def conversation(*, events: Iterable[type], commands: Iterable[type], needs_answer: bool = False) -> Table:
    """Return the table that most dialects share: announce, perhaps decide, talk both ways, end.

    `events` and `commands` are the words of an open session beyond the opening, audio, answer and end.
    Where a call needs an answer, it is answered or rejected once; elsewhere both may be said at any time.
    """
    heard = {(Side.PLATFORM, word) for word in events}
    said = {(Side.APP, word) for word in commands}
    ends: dict[tuple[Side, type], State] = {
        (Side.APP, HangUp): State.ENDING,
        (Side.PLATFORM, SessionEnding): State.ENDING,
    }
    rejects: dict[tuple[Side, type], State] = {(Side.APP, Reject): State.ENDING}
    ringing: dict[tuple[Side, type], State] = {(Side.APP, Answer): State.OPEN, **ends, **rejects}
    if not needs_answer:
        said.add((Side.APP, Answer))
        ends |= rejects
    speech = {(Side.APP, SendAudio), (Side.APP, EndUtterance)}
    return {
        State.OPENING: {(Side.PLATFORM, SessionOpened): State.RINGING if needs_answer else State.OPEN},
        State.RINGING: ringing,
        State.OPEN: {**dict.fromkeys(heard | said | speech, State.OPEN), **ends},
        State.FINISHING: {**dict.fromkeys(heard | said, State.FINISHING), **ends},
        State.ENDING: dict.fromkeys(heard, State.ENDING) | {(Side.PLATFORM, SessionEnding): State.ENDING},
        State.CLOSED: {},
    }
