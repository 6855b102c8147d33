"""One Sinch: how it spells its first message, how it plays, and for how long it waits."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from callstream_core.audio import AudioFormat
from callstream_core.dialect import Capabilities, Patience, PlayoutTraits, Support
from callstream_core.events import CALLER, Direction, SessionOpened
from callstream_core.websocket import STRICT, WebSocketRules

RATES = (8000, 16000, 24000, 44100, 48000, 96000)
"""What Sinch documents."""
MIN_RATE, MAX_RATE = 4000, 192000
MAX_QUEUE = 5_000_000
"""Bytes that Sinch queues per call; of more, it throws the oldest away."""
# Sinch ends a call on which nothing was heard for a minute.
_HEARTBEAT = 20.0


class Spelling(enum.Enum):
    """The published descriptions of `connect` do not agree on its keys."""

    V1 = "v1"
    """`CallId`, `ApplicationId`, `Headers`: the page about the connectStream action."""
    TUTORIAL = "tutorial"
    """`callId`, `applicationId`, `headers`: the vendor's tutorials."""
    V2 = "v2"
    """`callId`, `applicationKey`, `callHeaders`, and the format: the AsyncAPI description; seen with v1, too."""
    V2_ARRAY = "v2-array"
    """The same, with headers as an array of `key` and `value`."""

    @property
    def names_format(self) -> bool:
        """Whether the message tells version, codec and sample rate."""
        return self in (Spelling.V2, Spelling.V2_ARRAY)

    @property
    def keys(self) -> tuple[str, str, str]:
        """The keys of the call's id, the application's, and the headers."""
        if self is Spelling.V1:
            return "CallId", "ApplicationId", "Headers"
        if self is Spelling.TUTORIAL:
            return "callId", "applicationId", "headers"
        return "callId", "applicationKey", "callHeaders"


def audio_of(rate: int) -> AudioFormat:
    """Return the format at a rate: linear, in frames of 20 ms, to the sample where the rate allows no more."""
    samples = round(rate / 50)
    return AudioFormat(encoding="slin", rate=rate, frame_size=2 * samples, ptime=samples / rate)


def capabilities_of(frame_size: int, *, is_raw: bool = False, unusable: str | None = None) -> Capabilities:
    """Return what a call can do. `is_raw`: it is answered, and no half of a sample waits for the other."""
    return Capabilities(
        marks=Support.EMULATED,
        # Nothing acknowledges it.
        clear=Support.NATIVE,
        pause=Support.NONE,
        drained=Support.EMULATED,
        is_raw=is_raw,
        sample_size=2,
        # Far from where Sinch would throw audio away without a word.
        max_queue=MAX_QUEUE // 2 // frame_size,
        heartbeat=_HEARTBEAT,
        unusable=unusable,
    )


@attrs.frozen(kw_only=True)
class SinchProfile:
    """A simulated call from Sinch. An application end reads only `rate`, for spellings that do not tell it."""

    rate: int = attrs.field(default=8000, validator=[attrs.validators.ge(MIN_RATE), attrs.validators.le(MAX_RATE)])
    """Samples per second, both ways."""
    spelling: Spelling = Spelling.V2
    call_id: str = "call-1"
    application: str = "callstream"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """`callHeaders` of the SVAML action or the dial command."""
    extras: Mapping[str, object] = attrs.field(factory=dict)
    """Keys that the first message carries besides the known ones."""
    answer_timeout: float | None = 10.0
    """Seconds for the application's answer; Sinch's own example gives ten."""
    silence_timeout: float | None = 60.0
    """Seconds without audio or heartbeat from the application after which the call ends."""
    max_duration: float | None = attrs.field(default=None)
    """Seconds after which an answered call ends; 14400 at most."""
    max_queue: int = MAX_QUEUE
    """Bytes of audio that are queued before the oldest are dropped."""
    omits_rate: bool = False
    """A fault: `sampleRate` is missing."""
    splits_samples: bool = False
    """A fault: messages end in the middle of a sample."""

    @max_duration.validator
    def _check_duration(self, _attribute: object, seconds: float | None) -> None:
        if seconds is not None and not 0 < seconds <= 14400:
            raise ValueError(f"a call of {seconds:g} s; Sinch takes 14400 at most")

    @property
    def audio(self) -> AudioFormat:
        """The call's format, both ways."""
        return audio_of(self.rate)

    @property
    def rules(self) -> WebSocketRules:
        """What its WebSocket layer enforces: nothing is known, so it takes more than its queue holds."""
        return attrs.evolve(STRICT, max_message=2**23)

    @property
    def playout(self) -> PlayoutTraits:
        """How it plays: a stream of bytes, in whatever pieces it comes."""
        audio = self.audio
        return PlayoutTraits(
            format=audio,
            period=audio.ptime,
            joins_messages=True,
            leaks_leftover=True,
            max_size=max(self.max_queue, audio.frame_size),
        )

    @property
    def patience(self) -> Patience:
        """How long it waits."""
        return Patience(answer=self.answer_timeout, silence=self.silence_timeout, duration=self.max_duration)

    @property
    def direction(self) -> Direction:
        """Both ways, always."""
        return Direction.BOTH

    @property
    def auto_answer(self) -> bool:
        """Never: the application decides."""
        return False

    @property
    def tracks(self) -> Sequence[str]:
        """One caller."""
        return (CALLER,)

    @property
    def crashes_on_pong(self) -> bool:
        """Not known to."""
        return False

    def for_call(self, number: int) -> SinchProfile:
        """Return the profile of one of many calls, with an id of its own."""
        return attrs.evolve(self, call_id=f"{self.call_id.rpartition('-')[0]}-{number + 1}")

    def opening(self) -> SessionOpened:
        """Return `connect` as an event."""
        call_key, application_key, _ = self.spelling.keys
        audio = self.audio
        return SessionOpened(
            dialect="sinch",
            profile=self.spelling.value,
            ids={call_key: self.call_id, application_key: self.application},
            call_id=self.call_id,
            caller_format=audio,
            reply_format=audio,
            variables=dict(self.headers),
            extras=dict(self.extras),
            needs_answer=True,
            capabilities=capabilities_of(audio.frame_size),
        )
