"""chan_websocket's control messages as text: JSON or plain words, no matter what they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from callstream_core import fields
from callstream_core.dialects.asterisk.profile import Generation, Syntax
from callstream_core.errors import Malformed

# chan_websocket ignores longer texts, and only logs it.
MAX_TEXT = 128
BLANKS = "".join(map(chr, range(0x21)))

_STOP = "STOP_MEDIA_BUFFERING"
_NAMED = frozenset({"MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED"})
_KEYS: dict[str, Sequence[str]] = {
    "MEDIA_START": ("connection_id", "channel", "channel_id", "format", "optimal_frame_size", "ptime"),
    "STATUS": (
        "channel_id",
        "queue_length",
        "xon_level",
        "xoff_level",
        "queue_full",
        "bulk_media",
        "media_paused",
    ),
    "DTMF_END": ("digit", "channel_id"),
    "ERROR": ("channel_id", "error_text"),
}
# Generation 7 appends these to MEDIA_START.
_NEWER_KEYS = ("passthrough", "unbuffered")


class Refused(Malformed):
    """A command that the driver answers with an ERROR event; the message is its text."""

    is_answered = True


def syntax_of(text: str) -> Syntax:
    """Tell the syntax of a channel by its first message."""
    return Syntax.JSON if text.lstrip(BLANKS).startswith("{") else Syntax.PLAIN


def size_of(text: str) -> int:
    """Return the bytes of a text on the wire, also of one that was not valid UTF-8 there."""
    try:
        return len(text.encode(errors="surrogateescape"))
    except UnicodeEncodeError:
        return len(text.encode(errors="surrogatepass"))


def is_text(text: str) -> bool:
    """Tell whether UTF-8 can hold `text`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Events


def event_text(name: str, values: Mapping[str, object], syntax: Syntax) -> str:
    """Return the text of an event; values that are None are left out."""
    known = {key: value for key, value in values.items() if value is not None}
    if syntax is Syntax.JSON:
        return dump({"event": name, **known})
    if name in _NAMED:
        correlation_id = known.get("correlation_id")
        return f"{name} {correlation_id}" if correlation_id else name
    words = (f"{key}:{str(value).lower() if isinstance(value, bool) else value}" for key, value in known.items())
    return " ".join((name, *words)) if name in _KEYS else name


def read_event(text: str, syntax: Syntax) -> tuple[str, fields.Object]:
    """Return the name and the fields of an event."""
    if syntax is Syntax.JSON:
        found = fields.parse_object(text)
        return fields.text_of(found, "event", ""), found
    name, _, rest = text.partition(" ")
    if name in _NAMED:
        return name, {"correlation_id": rest}
    words = fields.read_line(rest, _KEYS.get(name, ()))
    if "ptime" in words:
        # The last known value of a line has newer fields behind it.
        words["ptime"], *newer = words["ptime"].split(" ")
        words |= {key: value for key, _, value in (word.partition(":") for word in newer) if key in _NEWER_KEYS}
    return name, words


# Commands


def command_text(name: str, argument: str, syntax: Syntax, values: Mapping[str, object]) -> str:
    """Return the text of a command. `values` are its JSON parameters besides the name that `argument` gives."""
    if syntax is Syntax.PLAIN:
        return f"{name} {argument}" if argument else name
    named = {"correlation_id": argument} if argument else {}
    return dump({"command": name, **named, **values})


def read_command(message: str, syntax: Syntax, generation: Generation) -> tuple[str, str, fields.Object]:
    """Return a command's name, its argument and its JSON parameters, as `generation` would read them."""
    size = size_of(message)
    if size > MAX_TEXT:
        raise Malformed(f"a text of {size} bytes is ignored: Asterisk reads {MAX_TEXT} at most")
    if size == 0:
        raise Malformed("an empty text is ignored")
    text = message.partition("\0")[0].strip(BLANKS)
    if syntax is Syntax.JSON:
        return _read_json(text)
    if generation >= Generation.G3:
        name, _, argument = text.partition(" ")
        return name, argument, {}
    # The early parser compares the whole text, except here.
    if text.startswith(_STOP):
        return _STOP, text.removeprefix(_STOP).strip(BLANKS), {}
    return text, "", {}


def _read_json(text: str) -> tuple[str, str, fields.Object]:
    try:
        value = fields.parse_json(text)
    except Malformed:
        value = None
    if not isinstance(value, dict | list) or not _is_jansson(value):
        raise Refused("Unable to parse JSON command")
    found = value if isinstance(value, dict) else {}
    name, argument = found.get("command"), found.get("correlation_id")
    return name if isinstance(name, str) else "", argument if isinstance(argument, str) else "", found


def _is_jansson(value: object) -> bool:
    """Tell whether Asterisk's JSON library takes a value: no NUL in a text, no integer of more than 64 bits."""
    if isinstance(value, dict):
        return all(map(_is_jansson, (*value, *value.values())))
    if isinstance(value, list):
        return all(map(_is_jansson, value))
    if isinstance(value, str):
        return "\0" not in value
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def dump(values: Mapping[str, object]) -> str:
    """Return compact JSON as Asterisk writes it: only quotes, backslashes and control characters are escaped."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    # Asterisk's JSON library writes the digits of an escape in upper case.
    return re.sub(r"\\\\|\\u00[0-9a-f]{2}", lambda found: found[0][:2] + found[0][2:].upper(), text)
