"""Translate between the audio socket's messages and our words."""

from __future__ import annotations

import json
import re
from array import array
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence

import attrs

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import fields
from callstream_core.audio import linear
from callstream_core.dialects.jambonz.profile import (
    CALLEE,
    CALLER,
    MAX_METADATA,
    RATES,
    REPLY_RATE,
    JambonzProfile,
    MixType,
    capabilities_of,
    is_rate,
    opened,
)
from callstream_core.errors import LocalProtocolError, Malformed, Unsupported

_FILES = ("wav", "wave")
# DTMF durations count at the clock of telephone events (RFC 4733).
_CLOCK = 8000
# Exactly so, and the name as it is: jambonz escapes nothing.
_MARK = re.compile(r'\{"type": "mark", "data": \{"name":"(.*)", "event": "(playout|cleared)"\}\}', re.DOTALL)
_OUTCOMES = {"playout": e.MarkOutcome.PLAYED, "cleared": e.MarkOutcome.CLEARED}
_WORDS = {outcome: word for word, outcome in _OUTCOMES.items()}
# What survives where quotes or blanks in metadata have broken the first message, or its end is missing.
_RATE = re.compile(r'"sampleRate"\s*:\s*(\d{1,6})')
_MIX = re.compile(r'"mixType"\s*:\s*"(\w+)"')
_BARE = {c.ClearPlayout: "killAudio", c.ForgetMarks: "clearMarks", c.HangUp: "disconnect", c.Reject: "disconnect"}


class _Crash(Malformed):
    is_fatal = True


class JambonzCodec:
    """One audio socket's translator. An application end learns rate and mix from the first message."""

    def __init__(self, profile: JambonzProfile | None = None) -> None:
        self._profile = profile or JambonzProfile()
        # Only who was told nothing believes the metadata.
        self._is_told = profile is not None
        self._is_open = False
        self._half = b""
        self._kept = self._profile.kept
        self._sides: dict[str, bytes] = {CALLER: b"", CALLEE: b""}
        self._set_capabilities()

    def _set_capabilities(self) -> None:
        self.capabilities = capabilities_of(is_stereo=self._is_stereo, is_streaming=self._profile.is_streaming)

    @property
    def _is_stereo(self) -> bool:
        return self._profile.mix_type is MixType.STEREO

    # Events, as the application hears them

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        """Return what jambonz said."""
        if isinstance(message, bytes):
            return self._decode_audio(message)
        if not self._is_open:
            return self._decode_opening(message)
        mark = _MARK.fullmatch(message)
        if mark is not None:
            return [e.MarkReached(mark[1], _OUTCOMES[mark[2]])]
        found = fields.parse_object(message)
        decode = _EVENTS.get(_kind_of(found, "type") or _kind_of(found, "event"))
        return [decode(found) if decode else e.MessageIgnored(message)]

    def _decode_opening(self, message: str) -> Sequence[e.Event]:
        tolerated: list[e.Event] = []
        try:
            found = dict(fields.parse_object(message))
        except Malformed as error:
            rate, mix = _RATE.search(message), _MIX.search(message)
            found = {"sampleRate": int(rate[1])} if rate else {}
            found |= {"mixType": mix[1]} if mix else {}
            tolerated = [e.Tolerated("garbled_metadata", str(error)[:200])]
        profile = self._profile
        rate_found, mix_found = found.pop("sampleRate", None), found.pop("mixType", None)
        if is_rate(rate_found):
            profile = attrs.evolve(profile, sample_rate=rate_found)
        else:
            tolerated.append(e.Tolerated("unknown_rate", f"taken for {profile.sample_rate} samples per second"))
        if mix_found in [mix.value for mix in MixType]:
            profile = attrs.evolve(profile, mix_type=MixType(mix_found))
        reply_rate = found.get(REPLY_RATE)
        if not self._is_told and (is_rate(reply_rate) or reply_rate == 0):
            profile = attrs.evolve(profile, is_streaming=reply_rate != 0, reply_rate=reply_rate or None)
        self._profile = profile
        self._is_open = True
        self._set_capabilities()
        tracks = (CALLER, CALLEE) if self._is_stereo else ()
        started = [e.TrackStarted(track=track, format=linear(profile.sample_rate)) for track in tracks]
        return [opened(profile, found), *started, *tolerated]

    def _decode_audio(self, message: bytes) -> Sequence[e.Event]:
        if not message:
            return [e.Tolerated("end_of_audio", "no more audio will come")]
        message = self._half + message
        size = 4 if self._is_stereo else 2
        whole = len(message) - len(message) % size
        self._half = message[whole:]
        if not whole:
            return []
        if not self._is_stereo:
            return [e.AudioReceived(message[:whole])]
        samples = array("H", message[:whole])
        return [e.AudioReceived(samples[i::2].tobytes(), track) for i, track in enumerate((CALLER, CALLEE))]

    # Events, as jambonz says them

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        """Return the messages that say `event`."""
        match event:
            case e.AudioReceived(data=data, track=track):
                return self._encode_audio(data, track)
            case e.SessionOpened():
                return [self._encode_opening(event)]
            case e.MarkReached(name=name, outcome=outcome):
                return [f'{{"type": "mark", "data": {{"name":"{name}", "event": "{_WORDS[outcome]}"}}}}']
            case e.DigitReceived(digit=digit, duration=duration) if self._profile.pass_dtmf:
                clock = round((0.2 if duration is None else duration) * _CLOCK)
                return [_dump({"event": "dtmf", "dtmf": digit, "duration": str(clock)})]
            case e.ClipPlayed():
                return [_dump({"type": "playDone", "data": _played_values(event)})]
            case e.MessageIgnored(message=message):
                return [message]
        return []

    def _encode_opening(self, event: e.SessionOpened) -> str:
        self._is_open = True
        told = {"sampleRate": event.caller_format.rate, "mixType": event.profile}
        text = _dump({**told, **(event.extras or {**event.ids, **event.variables})})
        return text.encode()[:MAX_METADATA].decode(errors="ignore")

    def _encode_audio(self, data: bytes, track: str) -> Sequence[bytes]:
        if self._is_stereo:
            data = self._interleave(data, track)
        if self._kept and data:
            # The handshake took its time, and the media server kept what was said meanwhile.
            early = self._profile.audio
            data = bytes(round(self._kept * early.rate) * 2 * early.channels) + data
            self._kept = 0.0
        return [data] if data else []

    def _interleave(self, data: bytes, track: str) -> bytes:
        """Return as much as both sides have said; the rest waits for the other."""
        sides = self._sides
        sides[track if track in sides else CALLER] += data
        size = min(map(len, sides.values())) // 2 * 2
        both = array("H", bytes(2 * size))
        for i, side in enumerate((CALLER, CALLEE)):
            both[i::2] = array("H", sides[side][:size])
            sides[side] = sides[side][size:]
        return both.tobytes()

    # Commands, as the application says them

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        """Return the message for `command`; raise where it would have no effect, or a bad one."""
        if isinstance(command, c.SendAudio):
            return [command.data]
        if isinstance(command, c.Answer):
            return []
        if isinstance(command, c.PlaceMark):
            _check_name(command.name)
            return [_dump({"type": "mark", "data": {"name": command.name}})]
        if isinstance(command, c.PlayClip):
            return [self._encode_clip(command)]
        if isinstance(command, c.ReportFailure):
            return [_dump({"type": "error", "data": {"message": command.text}})]
        name = _BARE.get(type(command))
        if name is None:
            raise Unsupported(f"jambonz has no message for {type(command).__name__} on an audio socket")
        return [_dump({"type": name})]

    def _encode_clip(self, clip: c.PlayClip) -> str:
        if self._profile.is_streaming:
            raise Unsupported("jambonz ignores clips where it plays a stream: send audio instead")
        if clip.kind not in ("raw", *_FILES):
            raise LocalProtocolError(f"{clip.kind!r}: jambonz plays raw samples and wav files, and nothing else")
        if clip.kind == "raw" and clip.rate not in RATES:
            raise LocalProtocolError(f"raw audio has one of the rates {', '.join(map(str, RATES))}, not {clip.rate}")
        content = b2a_base64(clip.data, newline=False).decode()
        data: dict[str, object] = {"audioContent": content, "audioContentType": clip.kind}
        if clip.rate is not None:
            data["sampleRate"] = clip.rate
        if clip.name is not None:
            data["id"] = clip.name
        if clip.is_queued:
            data["queuePlay"] = True
        return _dump({"type": "playAudio", "data": data})

    # Commands, as jambonz hears them

    def decode_command(self, message: str | bytes) -> Sequence[c.Command | e.PeerMisbehaved]:
        """Return what the application said."""
        if isinstance(message, bytes):
            if self._profile.is_streaming:
                return [c.SendAudio(message)] if message else []
            return [e.PeerMisbehaved(f"{len(message)} bytes of audio have no effect: this call plays clips")]
        found = fields.parse_object(message)
        data = found.get("data")
        decode = _COMMANDS.get(_kind_of(found, "type"))
        if decode is None:
            raise Malformed(f"{message[:40]!r} is ignored")
        return [decode(self, data if isinstance(data, dict) else {})]

    def _decode_mark(self, data: fields.Object) -> c.Command | e.PeerMisbehaved:
        name = data.get("name")
        if not isinstance(name, str):
            raise Malformed("a mark without a name is ignored")
        if not self._profile.is_streaming:
            return e.PeerMisbehaved("a mark is never reached: this call plays clips")
        return c.PlaceMark(name)

    def _decode_clip(self, data: fields.Object) -> c.Command | e.PeerMisbehaved:
        if self._profile.is_streaming or not self._profile.takes_clips:
            return e.PeerMisbehaved("a clip is ignored: this call does not play any")
        content, kind = data.get("audioContent"), data.get("audioContentType")
        if not isinstance(content, str):
            raise Malformed("a clip without audioContent is ignored")
        if not isinstance(kind, str):
            if self._profile.crashes_without_type:
                raise _Crash("would_crash: a clip without audioContentType ends the media server; never send one")
            raise Malformed("a clip without audioContentType is ignored")
        rate, name = data.get("sampleRate"), data.get("id")
        is_known = isinstance(rate, int) and rate in RATES
        if kind == "raw" and not is_known:
            rate = 16000
        try:
            audio = a2b_base64(content.encode("ascii"))
        except (Error, UnicodeEncodeError) as error:
            raise Malformed(f"audioContent cannot be read: {error}") from None
        return c.PlayClip(
            data=audio,
            kind=kind,
            rate=rate if kind == "raw" or is_known else None,
            name=name if isinstance(name, str) else None,
            is_queued=data.get("queuePlay") is True,
        )

    # What jambonz refuses, and how it closes

    def refusal(self, command: c.Command, direction: e.Direction) -> str | None:
        """Return None: jambonz has no word for a refusal."""
        return None

    def closing_code(self, code: int | None) -> int | None:
        """Return the same code, as RFC 6455 suggests."""
        return 1000 if code == 1005 else code


def _check_name(name: str) -> None:
    # The C string ends at a NUL, and nothing is escaped on the way back.
    if not name.isprintable() or '"' in name or "\\" in name:
        raise LocalProtocolError(f"{name!r}: jambonz brings a name back unescaped; no quotes, backslashes or controls")


def _played_values(event: e.ClipPlayed) -> Mapping[str, str]:
    named = {} if event.name is None else {"id": event.name}
    return named | {
        "playbackSeconds": str(int(event.duration)),
        "playbackMilliseconds": str(round(event.duration * 1000)),
        "playbackLastOffsetPos": str(event.last_sample),
    }


def _decode_mark_event(found: fields.Object) -> e.Event:
    data = _data_of(found)
    outcome = _OUTCOMES.get(fields.text_of(data, "event"))
    if outcome is None:
        raise Malformed("a mark is neither played nor cleared")
    return e.MarkReached(fields.text_of(data, "name"), outcome)


def _decode_played(found: fields.Object) -> e.Event:
    data = _data_of(found)
    return e.ClipPlayed(
        name=fields.text_of(data, "id") if "id" in data else None,
        duration=fields.whole_of(data, "playbackMilliseconds", 0) / 1000,
        last_sample=fields.whole_of(data, "playbackLastOffsetPos", 0),
    )


def _decode_digit(found: fields.Object) -> e.Event:
    duration = fields.whole_of(found, "duration") / _CLOCK if "duration" in found else None
    return e.DigitReceived(fields.text_of(found, "dtmf"), duration)


def _decode_failure(data: fields.Object) -> c.Command:
    text = data.get("message")
    return c.ReportFailure(text if isinstance(text, str) else _dump(data))


def _kind_of(found: fields.Object, key: str) -> str:
    kind = found.get(key)
    return kind if isinstance(kind, str) else ""


def _data_of(found: fields.Object) -> fields.Object:
    data = found.get("data")
    if not isinstance(data, dict):
        raise Malformed("data is missing")
    return data


def _dump(values: Mapping[str, object]) -> str:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)


_EVENTS: dict[str, Callable[[fields.Object], e.Event]] = {
    "mark": _decode_mark_event,
    "playDone": _decode_played,
    "dtmf": _decode_digit,
}
_COMMANDS: dict[str, Callable[[JambonzCodec, fields.Object], c.Command | e.PeerMisbehaved]] = {
    "mark": JambonzCodec._decode_mark,
    "playAudio": JambonzCodec._decode_clip,
    "killAudio": lambda _codec, _data: c.ClearPlayout(),
    "clearMarks": lambda _codec, _data: c.ForgetMarks(),
    "disconnect": lambda _codec, _data: c.HangUp(),
    "error": lambda _codec, data: _decode_failure(data),
}
