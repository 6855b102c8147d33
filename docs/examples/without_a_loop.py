"""A capture of a call, heard again: no socket, no loop, no clock but the one in the capture."""

import sys
from collections import Counter
from pathlib import Path

from callstream_core import AppSession, State, detect
from callstream_core.events import AudioReceived
from callstream_core.outputs import CloseLink, Output, Transmit
from callstream_core.transcript import BINARY, CLOSE, EOF, TEXT, read


def listen(capture: Path) -> Counter[str]:
    """Feed what the platform said to a session; count what it hears, and print all but the audio."""
    lines = list(read(capture.read_text().splitlines()))
    said = [line for line in lines if line.speaker not in ("app", "") or line.kind == EOF]
    dialect = next((found for line in said if line.kind == TEXT and (found := detect(line.message))), None)
    if dialect is None:
        raise SystemExit(f"{capture}: the platform says nothing that tells its dialect")
    session = AppSession(dialect, now=0.0)
    heard: Counter[str] = Counter()

    def perform(outputs: list[Output], now: float) -> None:
        for output in outputs:
            heard[type(output).__name__] += 1
            if isinstance(output, Transmit | CloseLink):
                pass  # with a socket, here is where it would be used
            elif not isinstance(output, AudioReceived):
                print(f"{now:8.3f}  {output}")

    now = 0.0
    for line in said:
        now = line.at
        while (deadline := session.next_timeout()) is not None and deadline <= now:
            perform(session.handle_timeout(deadline), deadline)
        if line.kind in (TEXT, BINARY):
            perform(session.receive(line.message, now), now)
        elif line.kind in (CLOSE, EOF):
            perform(session.receive_close(line.code, now), now)
    if session.state is not State.CLOSED:
        perform(session.receive_close(None, now), now)  # the capture ends before the call
    return heard


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: without_a_loop.py CAPTURE")
    print(dict(listen(Path(sys.argv[1]))))
