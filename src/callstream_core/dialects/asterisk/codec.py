"""Translate between chan_websocket's messages and our words, in both control syntaxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import fields
from callstream_core.dialect import Capabilities
from callstream_core.dialects.asterisk import wire
from callstream_core.dialects.asterisk.formats import announced_format, format_name
from callstream_core.dialects.asterisk.profile import AsteriskProfile, Generation, Syntax, capabilities_of
from callstream_core.errors import LocalProtocolError, Malformed, Unsupported

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
# What each name means, given its argument, and since when.
_WORDS: dict[str, tuple[Generation, Callable[[str], c.Command]]] = {
    "ANSWER": (Generation.G1, lambda _: c.Answer()),
    "HANGUP": (Generation.G1, lambda _: c.HangUp()),
    "START_MEDIA_BUFFERING": (Generation.G1, lambda _: c.StartBuffering()),
    "STOP_MEDIA_BUFFERING": (Generation.G1, c.StopBuffering),
    "FLUSH_MEDIA": (Generation.G1, lambda _: c.ClearPlayout()),
    "GET_STATUS": (Generation.G1, lambda _: c.RequestStatus()),
    # Generation 1 has these, but compares them against an unterminated buffer (asterisk#1525).
    "PAUSE_MEDIA": (Generation.G2_21, lambda _: c.PausePlayout()),
    "CONTINUE_MEDIA": (Generation.G2_21, lambda _: c.ResumePlayout()),
    "REPORT_QUEUE_DRAINED": (Generation.G2_21, lambda _: c.ReportDrained()),
    "MARK_MEDIA": (Generation.G3, c.PlaceMark),
    "SET_MEDIA_DIRECTION": (Generation.G4, lambda _: c.SetDirection(e.Direction.BOTH)),
}
_REFUSED_IN_PASSTHROUGH = frozenset(_COMMANDS) - {c.Answer, c.HangUp, c.Reject, c.RequestStatus}
_REFUSED_WHILE_IN = frozenset({c.StartBuffering, c.StopBuffering, c.PlaceMark, c.PausePlayout, c.ResumePlayout})
# Marks sent to drivers without MARK_MEDIA; the engine bounds them far below this.
_MAX_STOP_MARKS = 4096
_WHILE_IN = " not supported while media direction is 'in'"
_NO_PASSTHROUGH = " not supported in passthrough mode"
_PLAIN_DIRECTION = "SET_MEDIA_DIRECTION only supports JSON format.\n"


class AsteriskCodec:
    """One channel's translator. An application end learns syntax, format and mode from MEDIA_START."""

    def __init__(self, profile: AsteriskProfile | None = None) -> None:
        self._generation = profile.generation if profile else None
        self._syntax = profile.syntax if profile else Syntax.PLAIN
        self._channel_id: str | None = None
        self._is_packets = profile.is_packets if profile else False
        self._is_unbuffered = False
        self._is_open = False
        # Names of marks that went out as STOP_MEDIA_BUFFERING, to drivers without MARK_MEDIA.
        self._stop_marks: list[str] = []
        self._frame_size = profile.audio.frame_size if profile else 0
        self._set_capabilities()

    def _set_capabilities(self) -> None:
        self.capabilities: Capabilities = capabilities_of(
            self._frame_size,
            is_packets=self._is_packets,
            is_unbuffered=self._is_unbuffered,
            syntax=self._syntax,
            has_channel_id=self._channel_id is not None,
        )

    @property
    def _as_generation(self) -> Generation:
        return self._generation or Generation.G5

    # Events, as the application hears them

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        """Return what Asterisk said."""
        if isinstance(message, bytes):
            return [e.AudioReceived(message)]
        if not self._is_open:
            self._syntax = wire.syntax_of(message)
        name, found = wire.read_event(message, self._syntax)
        decode = _EVENTS.get(name)
        event = decode(self, found) if decode else e.MessageIgnored(message)
        if isinstance(event, e.PlatformFailed) and event.text.endswith(_WHILE_IN):
            # The only way in which dial option `d(in)` shows.
            return [event, e.DirectionChanged(e.Direction.IN)]
        return [event]

    def _decode_start(self, found: fields.Object) -> e.Event:
        ids = {key: fields.text_of(found, key) for key in ("connection_id", "channel", "channel_id") if key in found}
        frame_size = fields.whole_of(found, "optimal_frame_size")
        ptime = fields.whole_of(found, "ptime", 20)
        if not 0 < ptime <= 1000 or frame_size > 65535:
            raise Malformed(f"frames of {frame_size} bytes and {ptime} ms make no sense")
        audio = announced_format(fields.text_of(found, "format"), frame_size, ptime / 1000)
        # Only generation 7 tells these two.
        is_passthrough = fields.flag_of(found, "passthrough")
        is_unbuffered = fields.flag_of(found, "unbuffered")
        variables = fields.texts_of(found, "channel_variables")
        # Nothing is remembered of an opening that could not be read to its end.
        self._is_packets = self._is_packets or is_passthrough or audio.is_packets
        self._is_unbuffered = is_unbuffered
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
            variables=variables,
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
            self._is_packets = True
            self._set_capabilities()
        return e.PlatformFailed(text)

    # Events, as a driver says them

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        """Return the message in which this generation says `event`; none where it has no word for it."""
        if isinstance(event, e.AudioReceived):
            return [event.data]
        if isinstance(event, e.SessionOpened):
            self._channel_id = event.ids.get("channel_id")
            self._is_open = True
        name, values = self._worded(event)
        if not name:
            return []
        channel = {"channel_id": self._channel_id}
        if name == "DTMF_END" and self._syntax is Syntax.PLAIN:
            values |= channel
        elif name != "MEDIA_START":
            values = channel | values
        return [wire.event_text(name, values, self._syntax)]

    def _worded(self, event: e.Event) -> tuple[str, dict[str, object]]:
        """Return the driver's name of an event and what it tells besides the channel."""
        match event:
            case e.SessionOpened():
                return "MEDIA_START", self._start_values(event)
            case e.StatusReported():
                return "STATUS", {
                    "queue_length": event.queue_length,
                    "xon_level": event.xon_level,
                    "xoff_level": event.xoff_level,
                    "queue_full": event.is_full,
                    "bulk_media": event.is_buffering,
                    "media_paused": event.is_paused,
                }
            case e.DigitReceived(digit=digit):
                return "DTMF_END", {"digit": digit}
            case e.MarkReached(name=name):
                return "MEDIA_MARK_PROCESSED", {"correlation_id": name}
            case e.BufferingCompleted(name=name):
                return "MEDIA_BUFFERING_COMPLETED", {"correlation_id": name}
            case e.PlatformFailed(text=text) if self._as_generation >= Generation.G3:
                return "ERROR", {"error_text": text}
        return _BARE.get(type(event), ""), {}

    def _start_values(self, event: e.SessionOpened) -> dict[str, object]:
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
        return values

    # Commands, as the application says them

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        """Return the message for `command`; raise where the driver would ignore it, or not bring back its name."""
        if isinstance(command, c.SendAudio):
            return [command.data]
        name = _COMMANDS.get(type(command))
        if name is None:
            raise Unsupported(f"Asterisk has no message for {type(command).__name__} on a media socket")
        argument, values = "", dict[str, object]()
        is_stop_mark = isinstance(command, c.PlaceMark) and self._marks_by_stop
        if is_stop_mark:
            name = "STOP_MEDIA_BUFFERING"
        if isinstance(command, c.PlaceMark | c.StopBuffering):
            argument = command.name
            self._check_name(argument)
        elif isinstance(command, c.SetDirection):
            if self._syntax is Syntax.PLAIN:
                raise Unsupported("Asterisk takes a direction in JSON only; dial with option f(json) or d()")
            values["direction"] = command.direction.value
        text = wire.command_text(name, argument, self._syntax, values)
        size = wire.size_of(text)
        if size > wire.MAX_TEXT:
            raise LocalProtocolError(
                f"{name} would be {size} bytes long and Asterisk ignores more than {wire.MAX_TEXT}; "
                "choose a shorter name"
            )
        if is_stop_mark:
            self._stop_marks.append(argument)
            del self._stop_marks[:-_MAX_STOP_MARKS]
        return [text]

    def _check_name(self, name: str) -> None:
        if "\0" in name or not wire.is_text(name):
            raise LocalProtocolError(f"{name!r}: a name is valid Unicode text without NUL")
        if self._syntax is Syntax.PLAIN:
            # Early generations cut them at the beginning, too.
            cut = name.strip(wire.BLANKS) if self._marks_by_stop else name.rstrip(wire.BLANKS)
            if name != cut:
                raise LocalProtocolError(f"{name!r}: Asterisk cuts blanks off a name; leave them out")

    @property
    def _marks_by_stop(self) -> bool:
        if self._generation is not None:
            return self._generation < Generation.G3
        return self._channel_id is None

    # Commands, as a driver hears them

    def decode_command(self, message: str | bytes) -> Sequence[c.Command]:
        """Return what the application said, as this generation would understand it."""
        if isinstance(message, bytes):
            return [c.SendAudio(message)]
        name, argument, found = wire.read_command(message, self._syntax, self._as_generation)
        since, make = _WORDS.get(name, (None, None))
        if since is None or make is None or self._as_generation < since:
            raise Malformed(f"unknown command {message[:40]!r} is ignored")
        return [self._read_direction(found)] if name == "SET_MEDIA_DIRECTION" else [make(argument)]

    def _read_direction(self, found: fields.Object) -> c.Command:
        refusal = self.refusal(c.SetDirection(e.Direction.BOTH), e.Direction.BOTH)
        if refusal:
            raise wire.Refused(refusal)
        value = found.get("direction")
        if not isinstance(value, str):
            raise wire.Refused("SET_MEDIA_DIRECTION requires a 'direction' parameter.\n")
        try:
            return c.SetDirection(e.Direction(value))
        except ValueError:
            raise wire.Refused(f"'{value}' is not a valid direction for SET_MEDIA_DIRECTION.\n") from None

    # What the driver refuses, and how it closes

    def refusal(self, command: c.Command, direction: e.Direction) -> str | None:
        """Return the text of the ERROR that `command` would get now, or None."""
        kind = type(command)
        if self._is_packets and kind in _REFUSED_IN_PASSTHROUGH:
            return _COMMANDS[kind] + _NO_PASSTHROUGH
        if direction is e.Direction.IN and kind in _REFUSED_WHILE_IN:
            return _COMMANDS[kind] + _WHILE_IN
        if kind is c.SetDirection and self._syntax is Syntax.PLAIN:
            return _PLAIN_DIRECTION
        return None

    def closing_code(self, code: int | None) -> int | None:
        """Return the code of the driver's answer: it depends on the generation, and on nothing that we say."""
        if code is None:
            return None
        if self._as_generation < Generation.G3:
            return 1000
        if self._as_generation < Generation.G6:
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
