"""Translate between chan_websocket's messages and our words, in both control syntaxes."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import fields
from callstream_core.dialect import Capabilities
from callstream_core.dialects.asterisk.formats import announced_format, format_name
from callstream_core.dialects.asterisk.profile import AsteriskProfile, Generation, Syntax, capabilities_of
from callstream_core.errors import LocalProtocolError, Malformed, Unsupported

# chan_websocket ignores longer texts, and only logs it.
MAX_TEXT = 128
_BLANKS = "".join(map(chr, range(0x21)))

_COMMANDS: dict[type, str] = {
    c.Answer: "ANSWER",
    c.HangUp: "HANGUP",
    c.Reject: "HANGUP",
    c.StartBuffering: "START_MEDIA_BUFFERING",
    c.StopBuffering: "STOP_MEDIA_BUFFERING",
    c.PlaceMark: "MARK_MEDIA",
    c.ClearPlayout: "FLUSH_MEDIA",
    c.PausePlayout: "PAUSE_MEDIA",
    c.ResumePlayout: "CONTINUE_MEDIA",
    c.ReportDrained: "REPORT_QUEUE_DRAINED",
    c.RequestStatus: "GET_STATUS",
    c.SetDirection: "SET_MEDIA_DIRECTION",
}
# What each name means, and since when.
_WORDS: dict[str, tuple[Generation, Callable[[], c.Command]]] = {
    "ANSWER": (Generation.G1, c.Answer),
    "HANGUP": (Generation.G1, c.HangUp),
    "START_MEDIA_BUFFERING": (Generation.G1, c.StartBuffering),
    "STOP_MEDIA_BUFFERING": (Generation.G1, c.StopBuffering),
    "FLUSH_MEDIA": (Generation.G1, c.ClearPlayout),
    "GET_STATUS": (Generation.G1, c.RequestStatus),
    # Generation 1 has these, but compares them against an unterminated buffer (asterisk#1525).
    "PAUSE_MEDIA": (Generation.G2_21, c.PausePlayout),
    "CONTINUE_MEDIA": (Generation.G2_21, c.ResumePlayout),
    "REPORT_QUEUE_DRAINED": (Generation.G2_21, c.ReportDrained),
    "MARK_MEDIA": (Generation.G3, lambda: c.PlaceMark("")),
    "SET_MEDIA_DIRECTION": (Generation.G4, lambda: c.SetDirection(e.Direction.BOTH)),
}
_REFUSED_IN_PASSTHROUGH = frozenset(_COMMANDS) - {c.Answer, c.HangUp, c.Reject, c.RequestStatus}
_REFUSED_WHILE_IN = frozenset({c.StartBuffering, c.StopBuffering, c.PlaceMark, c.PausePlayout, c.ResumePlayout})
_NO_PASSTHROUGH = " not supported in passthrough mode"


class Refused(Malformed):
    """A command that the driver answers with an ERROR event; the message is its text."""

    is_answered = True


class AsteriskCodec:
    """One channel's translator. An application end learns syntax, format and mode from MEDIA_START."""

    def __init__(self, profile: AsteriskProfile | None = None) -> None:
        self._generation = profile.generation if profile else None
        self._syntax = profile.syntax if profile else Syntax.PLAIN
        self._channel_id: str | None = None
        self._is_passthrough = profile.passthrough if profile else False
        self._is_packets = profile.is_packets if profile else False
        self._is_open = False
        # Names of marks that went out as STOP_MEDIA_BUFFERING, to drivers without MARK_MEDIA.
        self._stop_marks: deque[str] = deque(maxlen=4096)
        self._frame_size = profile.audio.frame_size if profile else 0
        self._set_capabilities()

    def _set_capabilities(self) -> None:
        self.capabilities: Capabilities = capabilities_of(
            self._frame_size,
            is_packets=self._is_packets,
            syntax=self._syntax,
            has_channel_id=self._channel_id is not None,
        )

    # Events, as the application hears them

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        """Return what Asterisk said."""
        if isinstance(message, bytes):
            return [e.AudioReceived(message)]
        if not self._is_open:
            self._syntax = Syntax.JSON if message.lstrip(_BLANKS).startswith("{") else Syntax.PLAIN
        if self._syntax is Syntax.JSON:
            found = fields.parse_object(message)
            name = fields.text_of(found, "event", "")
        else:
            name, _, rest = message.partition(" ")
            keys = _PLAIN_KEYS.get(name, ())
            found = fields.read_line(rest, keys)
            if name in ("MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED"):
                found = {"correlation_id": rest}
        decode = _EVENTS.get(name)
        return [decode(self, found)] if decode else [e.MessageIgnored(message)]

    def _decode_start(self, found: fields.Object) -> e.Event:
        ids = {key: fields.text_of(found, key) for key in ("connection_id", "channel", "channel_id") if key in found}
        frame_size = fields.whole_of(found, "optimal_frame_size")
        # The last value of a plain line may have newer fields behind it, which generation 7 adds.
        first, _, newer = fields.text_of(found, "ptime", "20").partition(" ")
        ptime = fields.whole_of({"ptime": first}, "ptime")
        if self._syntax is Syntax.PLAIN:
            found = {**found, **fields.read_line(newer, ("passthrough", "unbuffered"))}
        if not 0 < ptime <= 1000 or frame_size > 65535:
            raise Malformed(f"frames of {frame_size} bytes and {ptime} ms make no sense")
        audio = announced_format(fields.text_of(found, "format"), frame_size, ptime / 1000)
        says_passthrough = str(found.get("passthrough", "")).lower() == "true"
        self._is_passthrough = self._is_passthrough or says_passthrough
        self._is_packets = self._is_passthrough or audio.is_packets
        self._frame_size = frame_size
        self._channel_id = ids.get("channel_id")
        self._is_open = True
        self._set_capabilities()
        return e.SessionOpened(
            dialect="asterisk",
            profile=self._syntax.value,
            ids=ids,
            call_id=ids.get("channel_id") or ids.get("channel") or ids.get("connection_id", ""),
            caller_format=audio,
            # Packets have no fixed size, whatever the opening says of the codec.
            reply_format=attrs.evolve(audio, frame_size=0) if self._is_packets else audio,
            variables=fields.texts_of(found, "channel_variables"),
            capabilities=self.capabilities,
        )

    def _decode_status(self, found: fields.Object) -> e.Event:
        return e.StatusReported(
            queue_length=fields.whole_of(found, "queue_length"),
            xon_level=fields.whole_of(found, "xon_level", 800),
            xoff_level=fields.whole_of(found, "xoff_level", 900),
            is_full=fields.flag_of(found, "queue_full"),
            is_buffering=fields.flag_of(found, "bulk_media"),
            is_paused=fields.flag_of(found, "media_paused"),
        )

    def _decode_completed(self, found: fields.Object) -> e.Event:
        name = fields.text_of(found, "correlation_id", "")
        if name in self._stop_marks:
            self._stop_marks.remove(name)
            return e.MarkReached(name)
        return e.BufferingCompleted(name)

    def _decode_error(self, found: fields.Object) -> e.Event:
        text = fields.text_of(found, "error_text").rstrip("\n")
        if text.endswith(_NO_PASSTHROUGH) and not self._is_packets:
            # Before generation 7 this is the only way in which option `p` shows.
            self._is_passthrough = self._is_packets = True
            self._set_capabilities()
        return e.PlatformFailed(text)

    # Events, as a driver says them

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        """Return the message in which this generation says `event`."""
        match event:
            case e.AudioReceived(data=data):
                return [data]
            case e.SessionOpened():
                return [self._encode_start(event)]
            case e.StatusReported():
                return [
                    self._render(
                        "STATUS",
                        channel_id=self._channel_id,
                        queue_length=event.queue_length,
                        xon_level=event.xon_level,
                        xoff_level=event.xoff_level,
                        queue_full=event.is_full,
                        bulk_media=event.is_buffering,
                        media_paused=event.is_paused,
                    )
                ]
            case e.DigitReceived(digit=digit) if self._syntax is Syntax.JSON:
                return [self._render("DTMF_END", channel_id=self._channel_id, digit=digit)]
            case e.DigitReceived(digit=digit):
                return [self._render("DTMF_END", digit=digit, channel_id=self._channel_id)]
            case e.MarkReached(name=name):
                return [self._render_named("MEDIA_MARK_PROCESSED", name)]
            case e.BufferingCompleted(name=name):
                return [self._render_named("MEDIA_BUFFERING_COMPLETED", name)]
            case e.PlatformFailed(text=text):
                if self._generation is not None and self._generation < Generation.G3:
                    return []
                return [self._render("ERROR", channel_id=self._channel_id, error_text=text)]
        name = _BARE.get(type(event))
        if name is None:
            return []
        return [self._render(name, channel_id=self._channel_id) if self._syntax is Syntax.JSON else name]

    def _encode_start(self, event: e.SessionOpened) -> str:
        self._channel_id = event.ids.get("channel_id")
        self._is_open = True
        audio = event.caller_format
        values: dict[str, object] = {
            "connection_id": event.ids.get("connection_id", ""),
            "channel": event.ids.get("channel", ""),
            "channel_id": self._channel_id,
            "format": format_name(audio),
            "optimal_frame_size": audio.frame_size,
            "ptime": round(audio.ptime * 1000),
        }
        if self._syntax is Syntax.JSON:
            values["channel_variables"] = dict(event.variables)
        return self._render("MEDIA_START", **values)

    def _render(self, name: str, **values: object) -> str:
        known = {key: value for key, value in values.items() if value is not None}
        if self._syntax is Syntax.JSON:
            return _dump({"event": name, **known})
        words = (f"{key}:{str(value).lower() if isinstance(value, bool) else value}" for key, value in known.items())
        return " ".join((name, *words))

    def _render_named(self, name: str, correlation_id: str) -> str:
        if self._syntax is Syntax.JSON:
            return self._render(name, channel_id=self._channel_id, correlation_id=correlation_id)
        return f"{name} {correlation_id}" if correlation_id else name

    # Commands, as the application says them

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        """Return the message for `command`; raise where the driver would silently ignore it."""
        if isinstance(command, c.SendAudio):
            return [command.data]
        name = _COMMANDS.get(type(command))
        if name is None:
            raise Unsupported(f"Asterisk has no message for {type(command).__name__} on a media socket")
        if isinstance(command, c.PlaceMark) and self._marks_by_stop:
            name = "STOP_MEDIA_BUFFERING"
        text = self._command_text(name, command)
        size = len(text.encode(errors="surrogateescape"))
        if size > MAX_TEXT:
            raise LocalProtocolError(f"{name} would be {size} bytes long and Asterisk ignores more than {MAX_TEXT}; "
                                     "choose a shorter name")  # fmt: skip
        if isinstance(command, c.PlaceMark) and self._marks_by_stop:
            self._stop_marks.append(command.name)
        return [text]

    @property
    def _marks_by_stop(self) -> bool:
        if self._generation is not None:
            return self._generation < Generation.G3
        return self._channel_id is None

    def _command_text(self, name: str, command: c.Command) -> str:
        argument = command.name if isinstance(command, c.PlaceMark | c.StopBuffering) else ""
        if "\0" in argument or not _is_text(argument):
            raise LocalProtocolError(f"{argument!r}: a name is valid Unicode text without NUL")
        if self._syntax is Syntax.PLAIN:
            if argument != argument.rstrip(_BLANKS):
                raise LocalProtocolError(f"{argument!r}: Asterisk cuts blanks at the end of a name; leave them out")
            return f"{name} {argument}" if argument else name
        values: dict[str, object] = {"command": name}
        if argument:
            values["correlation_id"] = argument
        if isinstance(command, c.SetDirection):
            values["direction"] = command.direction.value
        return _dump(values)

    # Commands, as a driver hears them

    def decode_command(self, message: str | bytes) -> Sequence[c.Command]:
        """Return what the application said, as this generation would understand it."""
        if isinstance(message, bytes):
            return [c.SendAudio(message)]
        size = len(message.encode(errors="surrogateescape"))
        if size > MAX_TEXT:
            raise Malformed(f"a text of {size} bytes is ignored: Asterisk reads {MAX_TEXT} at most")
        text = message.partition("\0")[0].strip(_BLANKS)
        if size == 0:
            raise Malformed("an empty text is ignored")
        if self._syntax is Syntax.JSON:
            name, argument, found = self._read_json(text)
        else:
            name, argument, found = self._read_plain(text)
        since, make = _WORDS.get(name, (None, None))
        if since is None or make is None or (self._generation or Generation.G5) < since:
            raise Malformed(f"unknown command {message[:40]!r} is ignored")
        if name == "SET_MEDIA_DIRECTION":
            return [self._read_direction(found)]
        command = make()
        if isinstance(command, c.PlaceMark):
            return [c.PlaceMark(argument)]
        return [c.StopBuffering(argument)] if isinstance(command, c.StopBuffering) else [command]

    def _read_json(self, text: str) -> tuple[str, str, fields.Object]:
        try:
            value = fields.parse_json(text)
        except Malformed:
            value = None
        if not isinstance(value, dict | list) or _has_nul(value):
            raise Refused("Unable to parse JSON command")
        found = value if isinstance(value, dict) else {}
        name, argument = found.get("command"), found.get("correlation_id")
        return name if isinstance(name, str) else "", argument if isinstance(argument, str) else "", found

    def _read_plain(self, text: str) -> tuple[str, str, fields.Object]:
        if (self._generation or Generation.G5) >= Generation.G3:
            name, _, argument = text.partition(" ")
            return name, argument, {}
        stop = "STOP_MEDIA_BUFFERING"
        if text.startswith(stop):
            return stop, text.removeprefix(stop).strip(_BLANKS), {}
        return text, "", {}

    def _read_direction(self, found: fields.Object) -> c.Command:
        refusal = self.refusal(c.SetDirection(e.Direction.BOTH), e.Direction.BOTH)
        if refusal:
            raise Refused(refusal)
        value = found.get("direction")
        if not isinstance(value, str):
            raise Refused("SET_MEDIA_DIRECTION requires a 'direction' parameter.\n")
        try:
            return c.SetDirection(e.Direction(value))
        except ValueError:
            raise Refused(f"'{value}' is not a valid direction for SET_MEDIA_DIRECTION.\n") from None

    # What the driver refuses, and how it closes

    def refusal(self, command: c.Command, direction: e.Direction) -> str | None:
        """Return the text of the ERROR that `command` would get now, or None."""
        kind = type(command)
        if self._is_packets and kind in _REFUSED_IN_PASSTHROUGH:
            return _COMMANDS[kind] + _NO_PASSTHROUGH
        if direction is e.Direction.IN and kind in _REFUSED_WHILE_IN:
            return f"{_COMMANDS[kind]} not supported while media direction is 'in'"
        if kind is c.SetDirection and self._syntax is Syntax.PLAIN:
            return "SET_MEDIA_DIRECTION only supports JSON format.\n"
        return None

    def closing_code(self, code: int | None) -> int | None:
        """Return the code of the driver's answer: it depends on the generation, and on nothing that we say."""
        if code is None:
            return None
        generation = self._generation or Generation.G5
        if generation < Generation.G3:
            return 1000
        if generation < Generation.G6:
            return 1001
        return 1000 if code == 1005 else code


_BARE: dict[type, str] = {
    e.FlowPaused: "MEDIA_XOFF",
    e.FlowResumed: "MEDIA_XON",
    e.PlayoutDrained: "QUEUE_DRAINED",
}
_EVENTS: dict[str, Callable[[AsteriskCodec, fields.Object], e.Event]] = {
    "MEDIA_START": AsteriskCodec._decode_start,
    "STATUS": AsteriskCodec._decode_status,
    "MEDIA_BUFFERING_COMPLETED": AsteriskCodec._decode_completed,
    "ERROR": AsteriskCodec._decode_error,
    "MEDIA_XOFF": lambda _codec, _found: e.FlowPaused(),
    "MEDIA_XON": lambda _codec, _found: e.FlowResumed(),
    "QUEUE_DRAINED": lambda _codec, _found: e.PlayoutDrained(),
    "MEDIA_MARK_PROCESSED": lambda _codec, found: e.MarkReached(fields.text_of(found, "correlation_id", "")),
    "DTMF_END": lambda _codec, found: e.DigitReceived(fields.text_of(found, "digit").strip(" ")),
}
_PLAIN_KEYS: dict[str, Sequence[str]] = {
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


def _dump(values: dict[str, object]) -> str:
    """Return compact JSON as Asterisk writes it: only quotes, backslashes and control characters are escaped."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    # Asterisk's JSON library writes the digits of an escape in upper case.
    return re.sub(r"\\\\|\\u00[0-9a-f]{2}", lambda found: found[0][:2] + found[0][2:].upper(), text)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value
