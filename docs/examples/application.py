"""What the examples share: an application that does not know how its calls are carried.

It echoes. `#` hangs up when everything was heard.
"""

import sys
from collections.abc import Iterable

from callstream_core import AppSession, dialects
from callstream_core.commands import Answer, Command, HangUp, SendAudio, When
from callstream_core.events import AudioReceived, DigitReceived, PeerMisbehaved, SessionClosed, SessionOpened
from callstream_core.outputs import Output

SUBPROTOCOLS = [name for dialect in map(dialects.get, dialects.names()) for name in dialect.subprotocols]


def choose(offered: Iterable[str]) -> str | None:
    """Some platforms insist on their subprotocol, and others offer none."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


def react(session: AppSession, event: Output) -> list[Command]:
    """What happened goes in, commands come out."""
    match event:
        case SessionOpened(needs_answer=True):
            return [Answer()]
        case AudioReceived(data) if len(data) <= session.room:
            return [SendAudio(data)]  # all other audio is dropped: it would pile up, or come behind the goodbye
        case DigitReceived("#"):
            return [HangUp(When.AFTER_PLAYOUT)]
        case PeerMisbehaved() | SessionClosed():
            print("remarkable:" if isinstance(event, PeerMisbehaved) else "over:", event.reason, file=sys.stderr)
    return []
