"""A session as JSON lines: what was said on one WebSocket, when, and by whom. Pure: it takes and gives lines."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from callstream_core import fields
from callstream_core.errors import Malformed

OPEN, TEXT, BINARY, CONTINUATION = "open", "text", "binary", "continuation"
PING, PONG, CLOSE, EOF, ELIDED = "ping", "pong", "close", "eof", "elided"

_KNOWN = frozenset({"t", "from", "kind", "text", "data", "bytes", "len", "hex", "fin", "code", "reason", "note"})


@attrs.frozen(kw_only=True)
class Line:
    """One message on the wire, or one thing that befell the connection."""

    at: float
    """Seconds since the recording began."""
    speaker: str = ""
    """Which end: `app`, `platform`, or the platform's name. Empty where both are meant."""
    kind: str
    """`text`, `binary`, `continuation`, `ping`, `pong`, `close`, `open`, `eof`, `elided`; recorders add their own."""
    text: str | None = None
    data: bytes | None = None
    """The payload; None where only its size was kept."""
    size: int = 0
    """Bytes of the payload."""
    is_final: bool = True
    """False for a frame whose message goes on in the next one."""
    code: int | None = None
    """Of a close."""
    reason: str = ""
    note: str = ""
    """A remark of whoever recorded it; it was not sent."""
    more: Mapping[str, Any] = attrs.field(factory=dict)
    """Whatever else the line tells: of `open`, the HTTP upgrade; of `elided`, both ends' sums."""

    @property
    def message(self) -> str | bytes:
        """What was said; audio whose bytes were not kept is as many zeros."""
        if self.text is not None:
            return self.text
        return bytes(self.size) if self.data is None else self.data

    @property
    def until(self) -> float:
        """When the stretch that the line stands for ended."""
        return _time_of(self.more, "t_to") if "t_to" in self.more else self.at

    def elided(self, speaker: str) -> tuple[int, int]:
        """Return how many messages `speaker` said in the stretch that was left out, and their bytes."""
        sums = self.more.get(speaker)
        known = sums if isinstance(sums, dict) else {}
        try:
            return fields.whole_of(known, "frames", 0), fields.whole_of(known, "bytes", 0)
        except Malformed as error:
            raise ValueError(str(error)) from None


def read(lines: Iterable[str]) -> Iterator[Line]:
    """Read a recording; empty lines are passed over. Raise `ValueError` where a line is no line of one."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _read(fields.parse_object(line))
            except Malformed as error:
                raise ValueError(f"line {number}: {error}") from None


def write(line: Line) -> str:
    """Return a line of a recording, without a line break."""
    found: dict[str, Any] = {"t": round(line.at, 6)}
    if line.speaker:
        found["from"] = line.speaker
    if line.kind == ELIDED:
        return _dump(found | dict(line.more))
    found["kind"] = line.kind
    data = line.data
    if line.text is not None:
        try:
            line.text.encode()
            found["text"] = line.text
        except UnicodeEncodeError:
            # Platforms that do not check UTF-8 let anything through; so must a recording.
            data = line.text.encode(errors="surrogateescape")
    if line.text is not None or data is not None or line.size:
        found["bytes"] = line.size
    if data is not None:
        found["data"] = base64.b64encode(data).decode()
    if not line.is_final:
        found["fin"] = False
    if line.code is not None:
        found["code"] = line.code
    if line.reason:
        found["reason"] = line.reason
    if line.note:
        found["note"] = line.note
    return _dump(found | dict(line.more))


def message_line(message: str | bytes, *, at: float, speaker: str, keeps_audio: bool = True) -> Line:
    """Return the line of one whole message."""
    if isinstance(message, str):
        size = len(message.encode(errors="surrogateescape"))
        return Line(at=at, speaker=speaker, kind=TEXT, text=message, size=size)
    return Line(at=at, speaker=speaker, kind=BINARY, data=message if keeps_audio else None, size=len(message))


def _read(found: fields.Object) -> Line:
    if "t_to" in found:
        _time_of(found, "t_to")
    kind = ELIDED if "elided" in found else fields.text_of(found, "kind")
    text = fields.text_of(found, "text") if "text" in found else None
    if kind == CLOSE and text is not None:
        # Some recorders put a close's reason here.
        found, text = {"reason": text, **found}, None
    data = _data_of(found)
    if kind == TEXT and text is None and data is not None:
        text, data = data.decode(errors="surrogateescape"), None
    payload = data if text is None else text.encode(errors="surrogateescape")
    size = len(payload or b"")
    if isinstance(found.get("bytes"), int):
        size = fields.whole_of(found, "bytes")
    return Line(
        at=_time_of(found, "t"),
        speaker=fields.text_of(found, "from", ""),
        kind=kind,
        text=text,
        data=data,
        size=fields.whole_of(found, "len", size),
        is_final=fields.flag_of(found, "fin", True),
        code=fields.whole_of(found, "code") if "code" in found else None,
        reason=fields.text_of(found, "reason", ""),
        note=fields.text_of(found, "note", ""),
        more={key: value for key, value in found.items() if key not in _KNOWN},
    )


def _time_of(found: fields.Object, key: str) -> float:
    at = found.get(key)
    if isinstance(at, int | float) and not isinstance(at, bool) and abs(at) < 1e15:
        return float(at)
    raise Malformed(f"{key} should be a number of seconds, not {str(at)[:40]}")


def _data_of(found: fields.Object) -> bytes | None:
    """Return the payload, where it is there and whole: `data` (or `bytes`) in base64, or `hex`."""
    encoded = found.get("data", found.get("bytes"))
    try:
        if isinstance(encoded, str):
            data = base64.b64decode(encoded, validate=True)
        elif "hex" in found:
            data = bytes.fromhex(fields.text_of(found, "hex"))
        else:
            return None
    except (ValueError, binascii.Error) as error:
        raise Malformed(f"data cannot be read: {error}") from None
    return None if found.get("cut") is True else data


def _dump(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)
