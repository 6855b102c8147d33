"""One jambonz: what its `listen` verb asks for, and how its media server plays."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from callstream_core.audio import AudioFormat, linear
from callstream_core.dialect import Capabilities, Clips, Patience, PlayoutTraits, Prebuffer, Support
from callstream_core.events import Direction, SessionOpened
from callstream_core.websocket import STRICT, WebSocketRules

CALLER, CALLEE = "caller", "callee"
"""The tracks of a stereo stream: left and right."""
RATES = (8000, 16000, 24000, 32000, 48000, 64000)
REPLY_RATE = "replyRate"
"""A member that the verb's `metadata` may have: the rate of the reply stream, or 0 where clips are played."""
MAX_MARKS = 30
MAX_METADATA = 8192
"""Bytes of the first message; the rest is cut off."""
_MAX_TEXT = 2**24
# The media server's own parameters: samples on a channel of the same rate, and bytes.
_FIRST, _RELEASE, _PIECE = 1280, 640, 1024
_MINUS_ONE = b"\xff\xff"
# The slowest channel: there the thresholds last longest.
_SLOWEST = 8000


class MixType(enum.Enum):
    """Whom we hear."""

    MONO = "mono"
    """The caller."""
    MIXED = "mixed"
    """Both parties in one."""
    STEREO = "stereo"
    """The caller left, the callee right: two tracks."""


def _is_rate(_instance: object, attribute: attrs.Attribute[Any], rate: int | None) -> None:
    if rate is not None and (rate <= 0 or rate % _SLOWEST):
        raise ValueError(f"{attribute.name} is a multiple of {_SLOWEST}, not {rate}")


def is_rate(rate: object) -> bool:
    """Tell whether jambonz could stream at this rate."""
    return isinstance(rate, int) and not isinstance(rate, bool) and 0 < rate <= 192000 and not rate % _SLOWEST


def capabilities_of(*, is_stereo: bool, is_streaming: bool) -> Capabilities:
    """Return what a call can do."""
    if not is_streaming:
        return Capabilities(
            marks=Support.NONE,
            clear=Support.NATIVE,
            pause=Support.NONE,
            drained=Support.NONE,
            is_raw=not is_stereo,
            sample_size=2,
            has_tracks=is_stereo,
            plays_clips=True,
            call_continues=True,
        )
    return Capabilities(
        marks=Support.NATIVE,
        clear=Support.NATIVE,
        pause=Support.EMULATED,
        drained=Support.EMULATED,
        is_raw=not is_stereo,
        sample_size=2,
        has_tracks=is_stereo,
        holds_first=_FIRST / _SLOWEST,
        holds_back=_RELEASE / _SLOWEST,
        max_marks=MAX_MARKS,
        answers_cleared=True,
        mistakes_minus_one=True,
        call_continues=True,
    )


def _call_info() -> Mapping[str, object]:
    return {
        "callSid": "c0ffee00-0000-4000-8000-000000000001",
        "direction": "inbound",
        "from": "15550001",
        "to": "15550002",
        "callId": "call-1@example.org",
        "sbcCallid": "sbc-1@example.org",
        "sipStatus": 200,
        "sipReason": "OK",
        "callStatus": "in-progress",
        "accountSid": "account-1",
        "traceId": "00000000000000000000000000000001",
        "applicationSid": "application-1",
        "fsSipAddress": "10.0.0.5:5060",
    }


@attrs.frozen(kw_only=True)
class JambonzProfile:
    """A `listen` verb, as an application knows it beforehand, and the simulated media server that carries it out."""

    sample_rate: int = attrs.field(default=8000, validator=_is_rate)
    """`sampleRate`: what we hear. An application reads it from the first message."""
    mix_type: MixType = MixType.MONO
    """`mixType`; read from the first message, too."""
    is_streaming: bool = True
    """`bidirectionalAudio.streaming`: we play a stream; else clips. The first message does not tell."""
    reply_rate: int | None = attrs.field(default=None, validator=_is_rate)
    """`bidirectionalAudio.sampleRate`; None for the same as `sampleRate`."""
    takes_clips: bool = True
    """`bidirectionalAudio.enabled`: False ignores clips."""
    pass_dtmf: bool = True
    """`passDtmf`: keys are told."""
    finish_on_key: str = ""
    """`finishOnKey`: keys that end the verb."""
    max_length: float | None = None
    """`maxLength`: seconds after which the verb ends."""
    call_info: Mapping[str, object] = attrs.field(factory=_call_info)
    metadata: Mapping[str, object] = attrs.field(factory=dict)
    """`metadata`: merged into the first message, and stronger than what is there."""
    kept: float = 0.0
    """Seconds of audio that were kept while the application was slow to accept, and come with the first."""
    channel_rate: int = 8000
    """Samples per second of the telephone's codec."""
    prebuffer: int = _FIRST
    """Samples that must have come before anything is played, on a channel of the same rate."""
    release: int = _RELEASE
    """The same, from then on."""
    mistakes_minus_one: bool = False
    """A fault of the real media server: the sample -1 is taken for a mark while marks are in the stream."""
    loses_marks: bool = False
    """Another: where it resamples, only the first mark in the stream is ever reported."""
    swallows_marks: bool = False
    """Another: marks that a clear hit in the stream cost as many later marks."""
    crashes_without_type: bool = True
    """Another: a clip without `audioContentType` ends the process."""
    max_clips: int = 11
    """Clips that wait; more vanish."""
    interrupts: bool = True
    """A clip without `queuePlay` ends the one that plays; else it comes next."""
    clip_duration: float | None = None
    """Seconds that every clip lasts, whatever is in it; None for as long as it is."""

    @property
    def audio(self) -> AudioFormat:
        """What we hear."""
        return linear(self.sample_rate, channels=2 if self.mix_type is MixType.STEREO else 1)

    @property
    def reply_audio(self) -> AudioFormat:
        """What is played."""
        return linear(self.reply_rate or self.sample_rate)

    @property
    def rules(self) -> WebSocketRules:
        """What its WebSocket layer enforces: a clip comes in one message."""
        return attrs.evolve(STRICT, max_message=_MAX_TEXT)

    @property
    def playout(self) -> PlayoutTraits:
        """How it plays: a stream, or clips."""
        audio = self.reply_audio
        factor = max(1, audio.rate // self.channel_rate)
        stream = Prebuffer(
            first=self.prebuffer * factor,
            release=self.release * factor,
            piece=_PIECE,
            max_marks=MAX_MARKS,
            mark_sample=_MINUS_ONE if self.mistakes_minus_one else None,
            loses_marks=self.loses_marks and audio.rate != self.channel_rate,
            swallows_marks=self.swallows_marks,
        )
        clips = Clips(max_waiting=self.max_clips, interrupts=self.interrupts, duration=self.clip_duration)
        return PlayoutTraits(
            format=audio,
            period=audio.ptime,
            prebuffer=stream if self.is_streaming else None,
            clips=None if self.is_streaming else clips,
        )

    @property
    def patience(self) -> Patience:
        """When the verb ends by itself."""
        return Patience(duration=self.max_length, last_digits=self.finish_on_key)

    @property
    def direction(self) -> Direction:
        """Both ways."""
        return Direction.BOTH

    @property
    def auto_answer(self) -> bool:
        """The call was answered before the verb began."""
        return True

    @property
    def tracks(self) -> Sequence[str]:
        """The names of the tracks that we hear."""
        return (CALLER, CALLEE) if self.mix_type is MixType.STEREO else (CALLER,)

    @property
    def crashes_on_pong(self) -> bool:
        """Its WebSocket library takes any."""
        return False

    def for_call(self, number: int) -> JambonzProfile:
        """Return the profile of one of many calls, with an id of its own."""
        sid = f"{str(self.call_info.get('callSid')).rpartition('-')[0]}-{number + 1:012}"
        return attrs.evolve(self, call_info={**self.call_info, "callSid": sid})

    def opening(self) -> SessionOpened:
        """Return the first message as an event."""
        return opened(self, {**self.call_info, **self.metadata})


_IDS = ("callSid", "callId", "sbcCallid", "parentCallSid", "accountSid", "applicationSid", "traceId")


def opened(profile: JambonzProfile, members: Mapping[str, object]) -> SessionOpened:
    """Return the opening of a call of which the first message told all these, besides rate and mix."""
    ids = {key: value for key in _IDS if isinstance(value := members.get(key), str)}
    return SessionOpened(
        dialect="jambonz",
        profile=profile.mix_type.value,
        ids=ids,
        call_id=ids.get("callSid", ""),
        caller_format=profile.audio,
        reply_format=profile.reply_audio if profile.is_streaming else None,
        variables={key: value for key, value in members.items() if isinstance(value, str) and key not in ids},
        extras=dict(members),
        capabilities=capabilities_of(is_stereo=profile.mix_type is MixType.STEREO, is_streaming=profile.is_streaming),
    )
