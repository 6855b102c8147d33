"""Yeastar's WebSocket Audio Streaming: a tap on a call. JSON, base64, every party on a channel of its own.

The PBX sends one kind of message and reads none. It announces nothing: a call, and each party, begins with its first
audio. The sample rate is a setting of the PBX and stands in no message; both rates give fragments of the same size.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence

import attrs

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import fields
from callstream_core.audio import AudioFormat
from callstream_core.dialect import Capabilities, Clock, Dialect, Patience, PlayoutTraits, Support
from callstream_core.errors import LocalProtocolError, Malformed, Unsupported
from callstream_core.events import Direction, Side
from callstream_core.machine import State, Table
from callstream_core.websocket import STRICT, WebSocketRules

__all__ = ["DIALECT", "Party", "YeastarCodec", "YeastarProfile"]

RATES = (8000, 16000)
FRAGMENT = 1280
"""Bytes of one fragment, at either rate: 80 ms or 40 ms."""
MAX_CHANNELS = 256
"""Channels that are remembered; the oldest that has ended makes room for a new one."""
MAX_FIELD = 256
"""Characters of a name. Asterisk's own channel names are shorter than 80."""

_DETAILS = ("callid", "number", "callflow")
_BLANKS = re.compile(r"[ \t\r\n]+")
_QUIET = 30.0


@attrs.frozen
class Party:
    """One party of a simulated call."""

    channelid: str
    number: str


@attrs.frozen(kw_only=True)
class YeastarProfile:
    """What an application knows of a PBX beforehand (its rate), and what a simulated one sends."""

    rate: int = attrs.field(default=8000, validator=attrs.validators.in_(RATES))
    """The setting Sample Rate, in samples per second."""
    callid: str = "1700000000.1"
    parties: Sequence[Party] = (
        Party("PJSIP/1009-0000000a", "1009"),
        Party("PJSIP/trunk-0000000b", "+4930123456"),
    )
    """Who speaks, from the beginning."""
    callflow: str = ""
    """Where the call is: ivr, queue, ringgroup, cfd, conference, multicast_paging, or nowhere of these."""
    secret_name: str = "Secret"
    """The setting's name for the secret: a header of the upgrade request."""
    secret: str = ""
    """Its value, sent as it stands; empty for none."""
    says_end: bool = True
    """False loses the messages that end a channel."""
    platform_closes: bool = True
    """False leaves the socket open when the call has ended."""
    garbles_every: int | None = None
    """Every so many messages one is no JSON: a comma is missing, as in the vendor's own examples."""

    @property
    def audio(self) -> AudioFormat:
        """The format of every party's audio."""
        return AudioFormat(encoding="slin", rate=self.rate, frame_size=FRAGMENT, ptime=FRAGMENT / 2 / self.rate)

    @property
    def request_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that the PBX adds to its upgrade request."""
        return ((self.secret_name, self.secret),) if self.secret else ()

    @property
    def rules(self) -> WebSocketRules:
        """What its WebSocket layer enforces: nothing that is known."""
        return STRICT

    @property
    def playout(self) -> PlayoutTraits:
        """How it would play; nothing is ever played."""
        return PlayoutTraits(format=self.audio, period=self.audio.ptime)

    @property
    def direction(self) -> Direction:
        """Audio only comes from the platform."""
        return Direction.IN

    @property
    def auto_answer(self) -> bool:
        """Nobody asks the application."""
        return True

    @property
    def patience(self) -> Patience:
        """It waits for nothing that we say."""
        return Patience()

    @property
    def crashes_on_pong(self) -> bool:
        """Nothing of the kind is known."""
        return False

    @property
    def tracks(self) -> Sequence[str]:
        """The names of the parties' tracks."""
        return [party.channelid for party in self.parties]

    def for_call(self, number: int) -> YeastarProfile:
        """Return the profile of one of many calls, with an id of its own."""
        return attrs.evolve(self, callid=f"{self.callid.partition('.')[0]}.{number + 1}")

    def opening(self) -> e.SessionOpened:
        """Return what an application makes of the first message."""
        return _opened(self, self.callid)


def _opened(profile: YeastarProfile, call_id: str) -> e.SessionOpened:
    return e.SessionOpened(
        dialect="yeastar",
        profile=str(profile.rate),
        ids={"callid": call_id},
        call_id=call_id,
        caller_format=profile.audio,
        reply_format=None,
        capabilities=_capabilities(profile),
    )


def _capabilities(profile: YeastarProfile) -> Capabilities:
    return Capabilities(
        clock=Clock.PLATFORM,
        marks=Support.NONE,
        clear=Support.NONE,
        pause=Support.NONE,
        drained=Support.NONE,
        call_continues=True,
        is_tap=True,
        has_tracks=True,
        quiet_opening=_QUIET,
        unannounced_rates=RATES,
        platform_closes=profile.platform_closes,
    )


@attrs.define
class _Channel:
    """What is remembered of a channel, by whoever speaks or hears."""

    details: dict[str, str]
    generation: int = 1
    is_ended: bool = False
    rest: bytes = b""
    """Audio that makes no whole sample (heard) or fragment (said) yet."""


class YeastarCodec:
    """One socket's translator. It makes up the opening, and the beginning of each track, from the first message."""

    def __init__(self, profile: YeastarProfile | None = None) -> None:
        self._profile = profile or YeastarProfile()
        self.capabilities: Capabilities = _capabilities(self._profile)
        self._channels: dict[str, _Channel] = {}
        self._is_open = False
        self._said = 0

    # Events, as the application hears them

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        """Return what the PBX said. One that cannot be read costs itself alone: the next is as good as ever."""
        if isinstance(message, bytes):
            return [e.MessageIgnored(message)]
        out: list[e.Event] = []
        try:
            self._decode(fields.parse_object(message), out)
        except Malformed as error:
            out.append(e.Tolerated("unreadable_message", str(error)))
        return out

    def _decode(self, found: fields.Object, out: list[e.Event]) -> None:
        details = {key: _name_of(found, key) for key in _DETAILS if found.get(key) is not None}
        channelid = _name_of(found, "channelid") if found.get("channelid") is not None else ""
        track = channelid or details.get("number") or e.CALLER
        status = fields.text_of(found, "status", "")
        is_end = status == "end"
        text = fields.text_of(found, "audio", "")
        # Nothing is remembered of a message that could not be read so far.
        data = _audio_of(text)
        if data is None:
            out.append(e.Tolerated("unreadable_audio", f"{track}: not base64"))
            if not is_end:
                return
        if not is_end and status != "process":
            out.append(e.Tolerated("unknown_status", f"{track}: {status[:40]!r}"))
            if not data:
                return
        channel = self._channels.get(track)
        if channel is None or channel.is_ended:
            if is_end and not data:
                out.append(e.Tolerated("stray_end", track))
                return
            if not channelid:
                out.append(e.Tolerated("missing_channelid", track))
            channel = self._begin(track, channel, details, out)
            if channel is None:
                return
        elif not is_end and not details.items() <= channel.details.items():
            channel.details = channel.details | details
            out.append(e.TrackUpdated(track, channel.details))
        if data:
            _hear(track, channel, data, out)
        elif not is_end:
            out.append(e.Tolerated("empty_audio", track))
        if is_end:
            self._end(track, channel, out)

    def _begin(self, track: str, last: _Channel | None, details: dict[str, str], out: list[e.Event]) -> _Channel | None:
        """Begin a track, and with the first of all the session; None where there are too many."""
        if last is None and len(self._channels) >= MAX_CHANNELS:
            ended = next((name for name, channel in self._channels.items() if channel.is_ended), None)
            if ended is None:
                out.append(e.Tolerated("too_many_channels", track))
                return None
            del self._channels[ended]
        channel = _Channel(dict.fromkeys(_DETAILS, "") | details)
        if last is not None:
            channel.generation = last.generation + 1
            channel.details["generation"] = str(channel.generation)
            out.append(e.Tolerated("audio_after_end", track))
        if not self._is_open:
            self._is_open = True
            if not details.get("callid"):
                out.append(e.Tolerated("missing_callid", track))
            out.append(_opened(self._profile, details.get("callid") or track))
        self._channels[track] = channel
        out.append(e.TrackStarted(track=track, format=self._profile.audio, details=channel.details))
        return channel

    def _end(self, track: str, channel: _Channel, out: list[e.Event]) -> None:
        channel.is_ended = True
        channel.rest = b""
        out.append(e.TrackEnded(track))
        if all(channel.is_ended for channel in self._channels.values()):
            out.append(e.SessionEnding("every party has left"))

    # Events, as the PBX says them

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        """Return the messages that say `event`: audio in fragments, and ends. All else shows in these."""
        match event:
            case e.AudioReceived(data=data, track=track):
                return self._encode_audio(track, self._party(track), data)
            case e.SessionOpened():
                for party in self._profile.parties:
                    self._introduce(party.channelid, {"number": party.number})
            case e.TrackStarted(track=track, details=details):
                self._introduce(track, details)
            case e.TrackUpdated(track=track, details=details):
                self._party(track).details |= details
            case e.TrackEnded(track=track):
                return self._encode_end(track, self._party(track))
            case e.SessionEnding():
                present = [(track, party) for track, party in self._channels.items() if not party.is_ended]
                return [message for each in present for message in self._encode_end(*each)]
        return []

    def _introduce(self, track: str, details: Mapping[str, str]) -> None:
        known = {"callid": self._profile.callid, "number": "", "callflow": self._profile.callflow}
        self._channels[track] = _Channel(known | dict(details))

    def _party(self, track: str) -> _Channel:
        party = self._channels.get(track)
        if party is None or party.is_ended:
            raise LocalProtocolError(f"nobody speaks on {track!r}; say TrackStarted first")
        return party

    def _encode_audio(self, track: str, party: _Channel, data: bytes) -> list[str | bytes]:
        data = party.rest + data
        end = len(data) - len(data) % FRAGMENT
        party.rest = data[end:]
        pieces = (data[start : start + FRAGMENT] for start in range(0, end, FRAGMENT))
        return [self._message(track, party, "process", piece) for piece in pieces]

    def _encode_end(self, track: str, party: _Channel) -> list[str | bytes]:
        party.is_ended = True
        messages: list[str | bytes] = []
        if party.rest:
            messages.append(self._message(track, party, "process", party.rest.ljust(FRAGMENT, b"\0")))
        if self._profile.says_end:
            messages.append(self._message(track, party, "end", b""))
        return messages

    def _message(self, track: str, party: _Channel, status: str, data: bytes) -> str:
        known = party.details
        values = {
            "callid": known["callid"],
            "channelid": track,
            "number": known["number"],
            "callflow": known["callflow"],
            "status": status,
            "audio": b2a_base64(data, newline=False).decode("ascii"),
        }
        text = json.dumps(values, separators=(",", ":"))
        self._said += 1
        every = self._profile.garbles_every
        return text.replace('","', '""', 1) if every and self._said % every == 0 else text

    # Commands: there are none

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        """Return nothing for a hang-up: the close is all that the PBX understands."""
        if isinstance(command, c.HangUp):
            return []
        raise Unsupported(f"a Yeastar PBX reads nothing on this socket: {type(command).__name__} cannot be said")

    def decode_command(self, message: str | bytes) -> Sequence[c.Command]:
        """Refuse whatever an application says."""
        what = "a text" if isinstance(message, str) else "a binary message"
        raise Malformed(f"{what} of {len(message)} is ignored: nothing is read on this socket")

    def refusal(self, command: c.Command, direction: Direction) -> str | None:
        """Return None: nothing gets as far as being refused."""
        return None

    def closing_code(self, code: int | None) -> int | None:
        """Return the code itself."""
        return 1000 if code == 1005 else code


def _name_of(found: fields.Object, key: str) -> str:
    text = fields.text_of(found, key)
    if len(text) > MAX_FIELD:
        raise Malformed(f"{key} of {len(text)} characters; {MAX_FIELD} are the most")
    return text


def _audio_of(text: str) -> bytes | None:
    """Return what a base64 text holds, or None. White space and missing padding do no harm."""
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        text = _BLANKS.sub("", text)
    try:
        return a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        return None


def _hear(track: str, channel: _Channel, data: bytes, out: list[e.Event]) -> None:
    """Pass audio on in whole samples."""
    if len(data) % 2:
        out.append(e.Tolerated("odd_audio", f"{track}: {len(data)} bytes"))
    if channel.rest or len(data) % 2:
        data = channel.rest + data
        end = len(data) // 2 * 2
        data, channel.rest = data[:end], data[end:]
    if data:
        out.append(e.AudioReceived(data, track))


def _is_fragment(text: str) -> bool:
    start = text.lstrip()
    return start.startswith("{") and all(f'"{key}"' in start for key in ("callid", "channelid", "status"))


_NEWS = (e.AudioReceived, e.TrackStarted, e.TrackUpdated, e.TrackEnded)
_TABLE: Table = {
    State.OPENING: {(Side.PLATFORM, e.SessionOpened): State.OPEN},
    State.OPEN: {
        **{(Side.PLATFORM, word): State.OPEN for word in _NEWS},
        (Side.PLATFORM, e.SessionEnding): State.ENDING,
        (Side.APP, c.HangUp): State.ENDING,
    },
    # Everybody has left: the socket closes, unless somebody comes first.
    State.ENDING: {(Side.PLATFORM, e.TrackStarted): State.OPEN, (Side.APP, c.HangUp): State.ENDING},
    State.CLOSED: {},
}

DIALECT = Dialect(
    name="yeastar",
    table=_TABLE,
    codec=YeastarCodec,
    profile=YeastarProfile,
    paths=("/yeastar",),
    recognizes=_is_fragment,
)
