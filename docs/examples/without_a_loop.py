"""A capture of a call, heard again: no socket, no loop, no clock but the one in the capture."""

import sys
from collections import Counter
from pathlib import Path

from callstream_core import AppSession, State, dialects
from callstream_core.events import AudioReceived, SessionClosed
from callstream_core.outputs import CloseLink, Output, Transmit
from callstream_core.transcript import BINARY, CLOSE, EOF, TEXT, read


def listen(capture: Path) -> Counter[str]:
    """Feed what the platform said to a session; count what it hears, and print all but the audio."""
    session = AppSession(dialects.get("asterisk"), now=0.0)
    heard: Counter[str] = Counter()

    def perform(outputs: list[Output], now: float) -> None:
        for output in outputs:
            heard[type(output).__name__] += 1
            if isinstance(output, Transmit | CloseLink):
                pass  # with a socket, here is where it would be used
            elif not isinstance(output, AudioReceived):
                print(f"{now:8.3f}  {output}")

    def wait_until(now: float) -> None:
        while (deadline := session.next_timeout()) is not None and deadline <= now:
            perform(session.handle_timeout(deadline), deadline)

    now = 0.0
    for line in read(capture.read_text().splitlines()):
        now = line.at
        wait_until(now)
        if line.speaker in ("app", "") and line.kind != EOF:
            continue
        if line.kind in (TEXT, BINARY):
            perform(session.receive(line.message, now), now)
        elif line.kind in (CLOSE, EOF):
            perform(session.receive_close(line.code, now), now)
    if session.state is not State.CLOSED:
        perform(session.receive_close(None, now), now)
    assert heard[SessionClosed.__name__] == 1
    return heard


if __name__ == "__main__":
    print(dict(listen(Path(sys.argv[1]))))
