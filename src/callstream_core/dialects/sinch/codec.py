"""Translate between Sinch's stream messages and our words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import fields
from callstream_core.audio import AudioFormat
from callstream_core.dialect import Capabilities
from callstream_core.dialects.sinch.profile import (
    MAX_RATE,
    MIN_RATE,
    SinchProfile,
    Spelling,
    audio_of,
    capabilities_of,
)
from callstream_core.errors import Malformed, Unsupported

_VERSION = 1
_CODEC = "PCM"
_COMMANDS: dict[str, Callable[[], c.Command]] = {
    "answer": c.Answer,
    "busy": lambda: c.Reject("busy"),
    "reject": c.Reject,
    "clear": c.ClearPlayout,
    "heartbeat": c.KeepAlive,
}
_SAID: dict[type, str] = {c.Answer: "answer", c.Reject: "reject", c.ClearPlayout: "clear", c.KeepAlive: "heartbeat"}
# Words of the sibling product, whose `connect` looks the same.
_RELAY_WORDS = frozenset({"text", "prompt"})
_KNOWN = frozenset(
    {
        *("command", "version", "callid", "applicationid", "applicationkey"),
        *("codec", "samplerate", "headers", "callheaders"),
    }
)


def command_of(found: fields.Object) -> str:
    """Return the command of a message, in lower case; empty where it has none."""
    value = next((value for key, value in found.items() if key.lower() == "command"), None)
    return value.lower() if isinstance(value, str) else ""


def is_connect(text: str) -> bool:
    """Tell whether a first message opens a stream."""
    try:
        return command_of(fields.parse_object(text)) == "connect"
    except Malformed:
        return False


class SinchCodec:
    """One stream's translator. Audio is a stream of bytes: half a sample waits for its other half."""

    def __init__(self, profile: SinchProfile | None = None) -> None:
        self._profile = profile or SinchProfile()
        self._is_connected = False
        self._is_answered = False
        self._half = b""
        self._set_frame_size(self._profile.audio.frame_size)

    def _set_frame_size(self, size: int, unusable: str | None = None) -> None:
        self._closed = capabilities_of(size, unusable=unusable)
        self._raw = capabilities_of(size, is_raw=True, unusable=unusable)

    @property
    def capabilities(self) -> Capabilities:
        """What the call can do: audio is raw once it is answered, as long as samples are whole."""
        return self._raw if self._is_answered and not self._half else self._closed

    # Events, as the application hears them

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        """Return what Sinch said."""
        if isinstance(message, bytes):
            return self._decode_audio(message)
        found = fields.parse_object(message)
        command = command_of(found)
        if command in _RELAY_WORDS:
            raise Malformed(
                f"{command!r} belongs to VOICE_RELAY, which carries text and no audio; dial a STREAM instead"
            )
        if command != "connect":
            return [e.MessageIgnored(message)]
        if self._is_connected:
            return [e.Tolerated("repeated_connect", "a second connect was ignored")]
        return self._decode_connect(found)

    def _decode_audio(self, message: bytes) -> Sequence[e.Event]:
        if not self._is_answered:
            return [e.Tolerated("audio_before_answer", f"{len(message)} bytes of audio were dropped")]
        whole, odd = self._whole_samples(message)
        events: list[e.Event] = [e.AudioReceived(whole)] if whole else []
        return [*events, e.Tolerated("split_samples", odd)] if odd else events

    def _whole_samples(self, message: bytes) -> tuple[bytes, str]:
        """Return the whole samples so far, and what was odd about the message; keep what is left."""
        odd = f"a message of {len(message)} bytes ends in the middle of a sample" if len(message) % 2 else ""
        data = self._half + message
        end = len(data) & ~1
        self._half = data[end:]
        return data[:end], odd

    def _decode_connect(self, found: fields.Object) -> Sequence[e.Event]:
        known = {key.lower(): (key, value) for key, value in found.items() if value is not None}
        ids = {
            known[name][0]: _text(known[name])
            for name in ("callid", "applicationid", "applicationkey")
            if name in known
        }
        rate = fields.whole_of({"sampleRate": known["samplerate"][1]}, "sampleRate") if "samplerate" in known else None
        codec = _text(known["codec"]) if "codec" in known else _CODEC
        header_key, headers = known.get("callheaders") or known.get("headers") or ("", {})
        variables, is_whole = _read_headers(headers)
        oddities = [] if is_whole else [e.Tolerated("odd_headers", "some headers are repeated, or are no headers")]
        version = known["version"][1] if "version" in known else _VERSION
        if version not in (_VERSION, str(_VERSION)):
            oddities.append(e.Tolerated("unknown_version", f"version {str(version)[:20]!r} is taken for {_VERSION}"))
        audio, unusable = _format(codec, self._profile.rate if rate is None else rate)
        # Nothing is remembered of an opening that could not be read to its end.
        self._is_connected = True
        self._set_frame_size(audio.frame_size or 2, unusable)
        opened = e.SessionOpened(
            dialect="sinch",
            profile=_spelling_of(found, headers).value,
            ids=ids,
            call_id=_text(known["callid"]) if "callid" in known else "",
            caller_format=audio,
            reply_format=None if unusable else audio,
            variables=variables,
            extras={
                key: value
                for key, value in found.items()
                # Of repeated headers, `variables` has only the last.
                if key.lower() not in _KNOWN or (key == header_key and not is_whole)
            },
            needs_answer=True,
            capabilities=self.capabilities,
        )
        return [opened, *oddities]

    # Events, as Sinch says them

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        """Return the message that says `event`; Sinch has words for few."""
        if isinstance(event, e.AudioReceived):
            return [self._split(event.data)] if self._profile.splits_samples else [event.data]
        if isinstance(event, e.SessionOpened):
            self._is_connected = True
            return [_dump(self._connect_values(event))]
        return [event.message] if isinstance(event, e.MessageIgnored) else []

    def _split(self, data: bytes) -> bytes:
        """Return one byte less, then one more."""
        data, self._half = self._half + data, b""
        if len(data) % 2 == 0:
            data, self._half = data[:-1], data[-1:]
        return data

    def _connect_values(self, event: e.SessionOpened) -> Mapping[str, object]:
        spelling = self._profile.spelling
        key = spelling.keys[2]
        headers: object = dict(event.variables)
        if spelling is Spelling.V2_ARRAY:
            headers = [{"key": name, "value": value} for name, value in event.variables.items()]
        if not spelling.names_format:
            return {"command": "connect", **event.ids, key: headers, **event.extras}
        rate = {} if self._profile.omits_rate else {"sampleRate": event.caller_format.rate}
        return {
            "command": "connect",
            "version": _VERSION,
            **event.ids,
            "codec": _CODEC,
            **rate,
            key: headers,
            **event.extras,
        }

    # Commands, as the application says them

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        """Return the message for `command`; a hang-up has none: closing the socket says it."""
        if isinstance(command, c.SendAudio):
            return [command.data]
        if isinstance(command, c.HangUp):
            return []
        name = _SAID.get(type(command))
        if name is None:
            raise Unsupported(f"Sinch has no message for {type(command).__name__} on a stream")
        if isinstance(command, c.Reject) and command.reason == "busy":
            name = "busy"
        self._is_answered = self._is_answered or isinstance(command, c.Answer)
        return [_dump({"command": name})]

    # Commands, as Sinch hears them

    def decode_command(self, message: str | bytes) -> Sequence[c.Command | e.PeerMisbehaved]:
        """Return what the application said."""
        if isinstance(message, bytes):
            if self._is_answered and len(message) % 2 == 0 and not self._half:
                return [c.SendAudio(message)] if message else []
            return self._decode_odd_audio(message)
        name = command_of(fields.parse_object(message))
        make = _COMMANDS.get(name)
        if make is None:
            raise Malformed(f"unknown command {message[:40]!r} is ignored")
        command = make()
        self._is_answered = self._is_answered or isinstance(command, c.Answer)
        if isinstance(command, c.ClearPlayout):
            self._half = b""
        return [command]

    def _decode_odd_audio(self, message: bytes) -> Sequence[c.Command | e.PeerMisbehaved]:
        if not self._is_answered:
            # The session drops it, and says why.
            return [c.SendAudio(message)]
        whole, odd = self._whole_samples(message)
        commands: list[c.Command | e.PeerMisbehaved] = [c.SendAudio(whole)] if whole else []
        return [*commands, e.PeerMisbehaved(odd)] if odd else commands

    # What Sinch refuses, and how it closes

    def refusal(self, command: c.Command, direction: e.Direction) -> str | None:
        """Return None: Sinch has no word for a refusal."""
        return None

    def closing_code(self, code: int | None) -> int | None:
        """Return the same code, as RFC 6455 suggests."""
        return 1000 if code == 1005 else code


def _text(item: tuple[str, object]) -> str:
    key, value = item
    return fields.text_of({key: value}, key)


def _format(codec: str, rate: int) -> tuple[AudioFormat, str | None]:
    """Return the format, and why it cannot be used, if so."""
    if codec.upper() != _CODEC:
        return AudioFormat(encoding=codec.lower(), rate=rate, frame_size=0), f"codec {codec[:20]!r} is not {_CODEC}"
    if not MIN_RATE <= rate <= MAX_RATE:
        return AudioFormat(encoding="slin", rate=rate, frame_size=0), f"{rate} samples per second"
    return audio_of(rate), None


def _spelling_of(found: fields.Object, headers: object) -> Spelling:
    """Tell the spelling by the keys; what they share is taken for the newest."""
    if isinstance(headers, list):
        return Spelling.V2_ARRAY
    if "CallId" in found or "Headers" in found:
        return Spelling.V1
    return Spelling.TUTORIAL if "applicationId" in found or "headers" in found else Spelling.V2


def _read_headers(headers: object) -> tuple[dict[str, str], bool]:
    """Return headers from an object, or from an array of `key` and `value`, and whether that is all of them."""
    if isinstance(headers, dict):
        return fields.texts_of({"headers": headers}, "headers"), True
    items = headers if isinstance(headers, list) else [headers]
    pairs = {
        item["key"]: item["value"]
        for item in items
        if isinstance(item, dict) and isinstance(item.get("key"), str) and "value" in item
    }
    return fields.texts_of({"headers": pairs}, "headers"), len(pairs) == len(items)


def _dump(values: Mapping[str, object]) -> str:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)
