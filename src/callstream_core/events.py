"""What the platform says to the application. Past participles, frozen, the same objects heard and said."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from callstream_core.audio import AudioFormat

if TYPE_CHECKING:
    from callstream_core.dialect import Capabilities


CALLER = "caller"
"""The track of a call that has only one."""


class MarkOutcome(enum.Enum):
    """How a mark ended. Each placed mark ends exactly once."""

    PLAYED = "played"
    CLEARED = "cleared"


class Direction(enum.Enum):
    """Which media flows, seen from the application."""

    BOTH = "both"
    IN = "in"
    """Only from the caller to the application."""
    OUT = "out"
    """Only from the application to the caller."""


class Side(enum.Enum):
    """One of the two ends, whoever dialled the socket."""

    PLATFORM = "platform"
    APP = "app"


@attrs.frozen(kw_only=True)
class SessionOpened:
    """The call is announced: always the first event."""

    dialect: str
    profile: str
    """The variant of the dialect that this peer speaks, as far as its opening shows."""
    ids: Mapping[str, str]
    """The platform's names for the call, by the platform's own keys."""
    call_id: str
    """The one of `ids` that tells this call from all others."""
    caller_format: AudioFormat
    """Audio from the caller to the application."""
    reply_format: AudioFormat | None
    """Audio from the application to the caller; None where the platform only listens."""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """Call data that the platform's configuration attached."""
    extras: Mapping[str, object] = attrs.field(factory=dict)
    """What else the opening told, unread."""
    needs_answer: bool = False
    """True where no audio flows before `Answer`."""
    capabilities: Capabilities


# Not frozen, though never changed: freezing doubles what it costs to make one, fifty times a second for every call.
@attrs.define(unsafe_hash=True)
class AudioReceived:
    """A piece of the caller's audio, in the format of its track."""

    data: bytes
    track: str = CALLER


@attrs.frozen
class DigitReceived:
    """The caller pressed a key."""

    digit: str
    duration: float | None = None
    """Seconds, where the platform tells."""


@attrs.frozen(kw_only=True)
class TrackStarted:
    """A party's audio begins (platforms that carry several on one socket)."""

    track: str
    """The platform's name for it. The same name may start again after its end."""
    format: AudioFormat
    details: Mapping[str, str] = attrs.field(factory=dict)
    """What the platform tells of the party, by the platform's own keys."""


@attrs.frozen
class TrackUpdated:
    """The platform tells something else of a party than before."""

    track: str
    details: Mapping[str, str]
    """All of them, as they are from now on."""


@attrs.frozen
class TrackEnded:
    """A party's audio is over; the session goes on."""

    track: str
    reason: str = ""
    """Empty where the platform said so; else how the session ended before that."""


@attrs.frozen
class MarkReached:
    """A mark is answered: the audio before it was played out, or cleared."""

    name: str
    outcome: MarkOutcome = MarkOutcome.PLAYED
    is_estimated: bool = False


@attrs.frozen
class BufferingCompleted:
    """Everything sent before `StopBuffering` was played."""

    name: str = ""


@attrs.frozen(kw_only=True)
class ClipPlayed:
    """A clip has ended: played out, cleared, or interrupted by another."""

    name: str | None = None
    """Its name, if it was given one."""
    duration: float
    """Seconds that were played."""
    last_sample: int = 0
    """How far into the clip, in samples, as the platform counts them."""


@attrs.frozen(kw_only=True)
class PlayoutCleared:
    """The answer to `ClearPlayout`: what the caller heard of the utterance, and what not."""

    heard: float
    """Seconds of the current utterance that were played (since it began, or since the last clear)."""
    discarded: float
    """Seconds of audio that were dropped, here or on the platform."""
    is_estimated: bool = False


@attrs.frozen
class PlayoutDrained:
    """Everything that was sent has been played."""

    is_estimated: bool = False


@attrs.frozen
class FlowPaused:
    """The platform's queue is full. News, not an order: the session holds the audio meanwhile."""


@attrs.frozen
class FlowResumed:
    """The platform takes audio again."""


@attrs.frozen(kw_only=True)
class StatusReported:
    """The platform's own account of its playout queue."""

    queue_length: int
    """Frames (or packets) waiting."""
    xon_level: int | None = None
    xoff_level: int | None = None
    is_full: bool = False
    is_buffering: bool = False
    is_paused: bool = False


@attrs.frozen
class DirectionChanged:
    """Media flows in this direction from now on."""

    direction: Direction


@attrs.frozen
class PlatformFailed:
    """The platform refused something; the call goes on."""

    text: str


@attrs.frozen
class PeerMisbehaved:
    """The peer broke the protocol. Counted; too many close the link."""

    reason: str


@attrs.frozen
class MessageIgnored:
    """A message that this version does not know. Platforms add messages without asking; the call goes on."""

    message: str | bytes


@attrs.frozen
class Tolerated:
    """The peer did something odd, and it was put up with. Counted under its name; it costs the peer nothing."""

    name: str
    """What was odd, in a word or two: the key in `counters`."""
    detail: str = ""


@attrs.frozen
class SessionEnding:
    """The end is announced; the socket closes soon."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class SessionClosed:
    """The session is over: always the last event, exactly once."""

    initiator: Side
    code: int | None
    """The WebSocket close code; None where the connection went away without one."""
    reason: str = ""
    is_clean: bool = True
    """False where the end was not agreed: a lost connection, a broken protocol, a deadline."""
    call_continues: bool | None = False
    """Whether the phone call goes on without us; None where that is up to the platform's configuration."""


Event = (
    SessionOpened
    | AudioReceived
    | DigitReceived
    | TrackStarted
    | TrackUpdated
    | TrackEnded
    | MarkReached
    | BufferingCompleted
    | ClipPlayed
    | PlayoutCleared
    | PlayoutDrained
    | FlowPaused
    | FlowResumed
    | StatusReported
    | DirectionChanged
    | PlatformFailed
    | PeerMisbehaved
    | MessageIgnored
    | Tolerated
    | SessionEnding
    | SessionClosed
)
