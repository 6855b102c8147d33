"""The application that all the examples share: an echo. `#` hangs up when everything was heard."""

import sys

from callstream_core.commands import Command, HangUp, SendAudio, When
from callstream_core.events import AudioReceived, DigitReceived, SessionClosed
from callstream_core.outputs import Output


def react(event: Output) -> list[Command]:
    """What happened goes in, commands come out."""
    match event:
        case AudioReceived(data):
            return [SendAudio(data)]
        case DigitReceived("#"):
            return [HangUp(When.AFTER_PLAYOUT)]
        case SessionClosed():
            print("over:", event.reason, file=sys.stderr)
    return []
