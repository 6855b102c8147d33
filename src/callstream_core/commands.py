"""What the application says to the platform. Imperatives, frozen, the same objects said and heard."""

from __future__ import annotations

import enum

import attrs

from callstream_core.events import Direction


class When(enum.Enum):
    """When to hang up."""

    NOW = "now"
    AFTER_PLAYOUT = "after playout"


@attrs.frozen
class Answer:
    """Take the call. Harmless where the platform has answered by itself."""


@attrs.frozen
class Reject:
    """Refuse the call."""

    reason: str = ""


# Not frozen, though never changed: freezing doubles what it costs to make one, fifty times a second for every call.
@attrs.define(unsafe_hash=True)
class SendAudio:
    """Play this to the caller, in the reply format: any size, or exactly one packet where the format is packets."""

    data: bytes


@attrs.frozen
class EndUtterance:
    """End an utterance: pad its last frame with silence and, with a name, place a mark behind it."""

    name: str | None = None


@attrs.frozen
class PlaceMark:
    """Ask to be told when everything sent so far was played. A part of a frame at the end does not count."""

    name: str


@attrs.frozen
class ClearPlayout:
    """Drop everything that the caller has not heard yet. Ends a pause and answers every open mark."""


@attrs.frozen
class ReportDrained:
    """Ask to be told, once, when nothing is left to play."""


@attrs.frozen
class PausePlayout:
    """Stop playing; what is queued stays."""


@attrs.frozen
class ResumePlayout:
    """Play on."""


@attrs.frozen
class RequestStatus:
    """Ask for the platform's account of its queue."""


@attrs.frozen
class SetDirection:
    """Choose which media flows."""

    direction: Direction


@attrs.frozen
class SendDigit:
    """Send a DTMF digit to the caller."""

    digit: str


@attrs.frozen
class StartBuffering:
    """Tell the platform to cut frames across message borders. Our own engine never needs it; others use it."""


@attrs.frozen
class StopBuffering:
    """End `StartBuffering`; `name` comes back when everything before it was played."""

    name: str = ""


@attrs.frozen
class KeepAlive:
    """Show that we are there. The session says it by itself where the platform wants to hear from us."""


@attrs.frozen(kw_only=True)
class PlayClip:
    """Play a whole clip, where the platform plays clips and no stream. `ClipPlayed` answers it."""

    data: bytes
    kind: str = "raw"
    """The platform's name for what `data` is: `raw` samples, or a `wav` file."""
    rate: int | None = None
    """Samples per second of raw audio; None where the file tells."""
    name: str | None = None
    """Comes back in `ClipPlayed`."""
    is_queued: bool = True
    """Wait for the clips before; else interrupt them."""


@attrs.frozen
class ForgetMarks:
    """Answer every open mark as cleared, and have the platform forget them; the audio plays on."""


@attrs.frozen
class ReportFailure:
    """Tell the platform that the application failed. What it does then is its own business."""

    text: str = ""


@attrs.frozen
class HangUp:
    """End the call, at once or when the last word was heard."""

    when: When = When.NOW


Command = (
    Answer
    | Reject
    | SendAudio
    | EndUtterance
    | PlaceMark
    | ClearPlayout
    | ReportDrained
    | PausePlayout
    | ResumePlayout
    | RequestStatus
    | SetDirection
    | SendDigit
    | StartBuffering
    | StopBuffering
    | KeepAlive
    | PlayClip
    | ForgetMarks
    | ReportFailure
    | HangUp
)
