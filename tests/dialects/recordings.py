"""Recordings of a real Asterisk: where they are, and what call each of them shows."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import attrs

from callstream_core import events as e
from callstream_core import transcript
from callstream_core.dialects.asterisk import DIALECT, AsteriskProfile, Generation, Syntax
from callstream_core.dialects.asterisk.formats import format_name
from callstream_core.transcript import Line

FOLDER = Path(__file__).parent.parent / "transcripts" / "asterisk"
FILES = sorted(FOLDER.glob("*.jsonl"))

PLATFORM, APP = "asterisk", "app"
_GENERATIONS = {"22.10.1": Generation.G5}


@attrs.frozen(kw_only=True)
class Recording:
    """One recorded call."""

    lines: list[Line]
    profile: AsteriskProfile
    is_echo: bool
    """True where the channel itself plays back what it hears: each tick's frame returns in that tick."""

    @property
    def opening(self) -> Line:
        """MEDIA_START."""
        return next(line for line in self.lines if line.speaker == PLATFORM and line.kind == transcript.TEXT)

    @property
    def is_elided(self) -> bool:
        return any(line.kind == transcript.ELIDED for line in self.lines)


def load(path: Path) -> Recording:
    """Read a recording, and the profile of the channel that it shows from its dial options and its opening."""
    with path.open(encoding="utf-8") as file:
        lines = list(transcript.read(file))
    first = lines[0]
    command = first.more["command"]
    is_server = first.speaker == APP
    options = _options(command, first.more.get("dial", ""))
    recording = Recording(lines=lines, profile=AsteriskProfile(), is_echo=command.endswith("extension echo@lab"))
    text = recording.opening.message
    assert isinstance(text, str)
    [opened] = DIALECT.codec(None).decode_event(text)
    assert isinstance(opened, e.SessionOpened)
    profile = AsteriskProfile(
        generation=_GENERATIONS[first.more["asterisk"]],
        syntax=Syntax.JSON if options.get("f") == "json" else Syntax.PLAIN,
        format=(options.get("c") or format_name(opened.caller_format)).split(",")[0],
        passthrough="p" in options,
        auto_answer="n" not in options,
        direction=e.Direction(options.get("d", "both")),
        is_server=is_server,
        connection_id=opened.ids["connection_id"],
        channel=opened.ids["channel"],
        channel_id=opened.ids["channel_id"],
        # They come newest first.
        variables=dict(reversed(list(opened.variables.items()))),
    )
    return attrs.evolve(recording, profile=profile)


def _options(command: str, dial: str) -> dict[str, str]:
    """Return the dial options of a channel: each letter with its argument."""
    if "/ari/" in command:
        query = parse_qs(urlsplit(command.split()[1]).query)
        asked = {name: values[0] for name, values in query.items()}
        text = f"c({asked['format']}){asked.get('transport_data', '')}"
        if "direction" in asked:
            text += f"d({asked['direction']})"
    else:
        found = re.search(r"WebSocket/[^/]+/(\S*)", dial or command)
        assert found is not None, command
        text = found[1]
    # Arguments of v() hold parentheses of dialplan functions.
    text = re.sub(r"v\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", "", text)
    return dict(re.findall(r"([a-z])(?:\(([^)]*)\))?", text))


# What the application wrote

MAX_READS = 10
"""TCP reads in which Asterisk takes a message; it hangs up at the next."""
ONE_READ_TOO_MANY = "one read too many"

_OPCODES = {
    transcript.CONTINUATION: 0,
    transcript.TEXT: 1,
    transcript.BINARY: 2,
    transcript.CLOSE: 8,
    transcript.PING: 9,
    transcript.PONG: 10,
}


def with_bytes(recording: Recording) -> Iterator[tuple[Line, bytes]]:
    """Yield each line with the bytes that the application wrote for it; audio that was not kept is zeros."""
    is_masked = recording.profile.is_server
    lines = recording.lines
    pieces: list[bytes] = []
    for i, line in enumerate(lines):
        sent = b""
        if line.speaker != APP or line.kind == transcript.ELIDED:
            pass
        elif line.kind in _OPCODES:
            sent = frame(_OPCODES[line.kind], _payload(line), is_final=line.is_final, is_masked=is_masked)
            if _reads(line.note) > MAX_READS:
                line, sent = attrs.evolve(line, kind=ONE_READ_TOO_MANY), b""
        elif line.kind == "raw" and "pong" in line.note:
            sent = frame(10, bytes(line.size - 2), is_masked=is_masked)
        elif line.kind == "raw" and "101" in line.note:
            # A JSON GET_STATUS is just as long, and its answer is what came.
            sent = frame(1, b'{"command":"GET_STATUS"}', is_masked=is_masked)
        elif line.kind == "raw":
            pieces = pieces or _pieces(lines[i:], is_masked)
            sent = pieces.pop(0)
            if not sent:
                line = attrs.evolve(line, kind=ONE_READ_TOO_MANY)
        yield line, sent


def frame(opcode: int, payload: bytes, *, is_final: bool = True, is_masked: bool = False) -> bytes:
    """Return any WebSocket frame; the mask is zero."""
    size = len(payload)
    extended = b"" if size < 126 else size.to_bytes(2) if size < 65536 else size.to_bytes(8)
    short = size if size < 126 else 126 if size < 65536 else 127
    mask = bytes(4) if is_masked else b""
    return bytes((is_final << 7 | opcode, is_masked << 7 | short)) + extended + mask + payload


def _payload(line: Line) -> bytes:
    if line.kind == transcript.CLOSE:
        return b"" if line.code is None else line.code.to_bytes(2) + line.reason.encode()
    if line.kind == transcript.CONTINUATION:
        # Commands are known by their hash, audio is not.
        for name in ("ANSWER", "HANGUP", "GET_STATUS", "FLUSH_MEDIA", "PAUSE_MEDIA", "CONTINUE_MEDIA"):
            end = f'"{name}"}}'.encode()
            if hashlib.sha256(end).hexdigest()[:16] == line.more["sha256"]:
                return end
    message = line.message
    return message if isinstance(message, bytes) else message.encode(errors="surrogateescape")


def _reads(note: str) -> int:
    found = re.search(r"(\d+) (?:TCP )?(?:pieces|reads|writes|segments)", note)
    return int(found[1]) if found else 1


def _pieces(lines: list[Line], is_masked: bool) -> list[bytes]:
    """Return one message of audio as the application wrote it by hand: piece by piece, as far as it was heard."""
    written = [line for line in lines if line.speaker == APP]
    sizes = [line.size for line in itertools.takewhile(lambda line: line.kind == "raw", written)]
    total = sum(sizes)
    header = len(frame(2, bytes(total), is_masked=is_masked)) - total
    message = frame(2, bytes(total - header), is_masked=is_masked)
    ends = list(itertools.accumulate(sizes))
    heard = [message[end - size : end] for size, end in zip(sizes, ends, strict=True)][:MAX_READS]
    return heard + [b""] * (len(sizes) - len(heard))
