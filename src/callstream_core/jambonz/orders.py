"""What the application says on the control socket. Imperatives, frozen, the same objects said and heard.

jambonz answers no command, not even one that fails; so each is checked before it leaves, and takes the form that the
engine acts on, which is not always the documented one.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import attrs

from callstream_core.jambonz.values import Object, Verb
from callstream_core.jambonz.verbs import Config, Dub


def _stack(items: Any) -> Any:
    return tuple(items) if isinstance(items, Sequence) and not isinstance(items, str | bytes) else items


@attrs.frozen
class Unusable:
    """What stood where verbs should be, and why jambonz refuses it. Only the platform's end hears such a thing."""

    reason: str
    data: Any


@attrs.frozen
class Ack:
    """Answer a message that needs it, with verbs or without. What verbs do there, the message's kind decides."""

    msgid: str
    verbs: tuple[Verb, ...] | Unusable | None = attrs.field(default=None, converter=_stack)


@attrs.frozen
class Redirect:
    """Run these verbs: at once in place of all others, or behind them."""

    verbs: tuple[Verb, ...] = attrs.field(converter=_stack)
    queue: bool = False


@attrs.frozen(kw_only=True)
class RedirectByHook:
    """Let jambonz ask a hook for new verbs: it sends `SessionRedirected`."""

    call_hook: str | None = None
    child_call_hook: str | None = None


@attrs.frozen
class RedirectParent:
    """Run these verbs on the parent call alone."""

    verbs: tuple[Verb, ...] = attrs.field(converter=_stack)


class LastStatus(enum.Enum):
    """How a call is to end."""

    COMPLETED = "completed"
    """Hang up an answered call."""
    NO_ANSWER = "no-answer"
    """Refuse a call that rings."""


@attrs.frozen
class SetCallStatus:
    """End the call, or another of its legs."""

    status: LastStatus
    call_sid: str | None = None


@attrs.frozen
class Configure:
    """Apply a `config` verb now, without queueing."""

    config: Config
    call_sid: str | None = None


@attrs.frozen
class PlaceCall:
    """Dial out beside this call; `body` is that of jambonz's create-call request."""

    body: Object


@attrs.frozen
class DubNow:
    """Apply a `dub` verb now, without queueing."""

    dub: Dub
    call_sid: str | None = None


class RecordingAction(enum.Enum):
    """What to do with the recording of the call."""

    START = "startCallRecording"
    STOP = "stopCallRecording"
    PAUSE = "pauseCallRecording"
    RESUME = "resumeCallRecording"


@attrs.frozen(kw_only=True)
class Record:
    """Steer the call's recording. What does not fit its state, jambonz ignores."""

    action: RecordingAction
    recording_id: str | None = None
    siprec_server_url: str | Sequence[str] | None = attrs.field(default=None, converter=_stack)
    headers: Object | None = None
    type: str | None = None
    """`siprec` (the default) or `cloud`."""
    silence: bool | None = None
    """With a pause of a cloud recording: record silence instead of nothing."""
    call_sid: str | None = None


@attrs.frozen
class SetMute:
    """Mute a leg inside `dial` or `conference`, or end that."""

    is_muted: bool
    call_sid: str | None = None


@attrs.frozen
class SetConferenceMute:
    """Mute the caller inside a conference, or end that."""

    is_muted: bool
    call_sid: str | None = None


@attrs.frozen
class SetConferenceHold:
    """Put the caller of a conference on hold, or take it back."""

    is_held: bool
    wait_hook: str | None = None
    call_sid: str | None = None


class ParticipantAction(enum.Enum):
    """What to do with a participant of a conference."""

    TAG = "tag"
    UNTAG = "untag"
    COACH = "coach"
    UNCOACH = "uncoach"
    MUTE = "mute"
    UNMUTE = "unmute"
    HOLD = "hold"
    UNHOLD = "unhold"
    KICK = "kick"


@attrs.frozen
class ActOnParticipant:
    """Do something with a participant of a conference."""

    action: ParticipantAction
    tag: str | None = None
    wait_hook: str | None = None
    call_sid: str | None = None


@attrs.frozen
class PauseListening:
    """Stop the running `listen` stream, or let it go on; `stream` says it in the newer words."""

    is_paused: bool
    stream: bool = False
    call_sid: str | None = None


@attrs.frozen
class PauseTranscription:
    """Stop the running transcription, or let it go on."""

    is_paused: bool
    call_sid: str | None = None


@attrs.frozen
class Whisper:
    """Play or say something to one leg of a `dial` alone."""

    verbs: tuple[Verb, ...] = attrs.field(converter=_stack)
    call_sid: str | None = None


@attrs.frozen(kw_only=True)
class SendSipRequest:
    """Send a SIP request inside the call. jambonz takes it only in a wrapping that its documentation lacks."""

    method: str
    content_type: str | None = None
    content: str | None = None
    headers: Object | None = None
    call_sid: str | None = None


@attrs.frozen
class SendKeys:
    """Send DTMF by SIP INFO. jambonz takes it only in a wrapping that its documentation lacks."""

    digit: str
    duration: int | None = None
    """Milliseconds, as the engine wants them."""
    call_sid: str | None = None


@attrs.frozen
class BoostAudio:
    """Make the caller louder or softer, in decibels: a number but zero, or text such as `+3dB`."""

    gain: float | str
    call_sid: str | None = None


class MediaPath(enum.Enum):
    """Where a `dial`'s media flows."""

    NONE = "no-media"
    PARTIAL = "partial-media"
    FULL = "full-media"


@attrs.frozen
class SetMediaPath:
    """Move the media of a `dial`."""

    path: MediaPath
    call_sid: str | None = None


@attrs.frozen
class AnswerTool:
    """Answer a model's tool call, in its vendor's shape."""

    tool_call_id: str
    data: Object | None = None


@attrs.frozen
class UpdateLlm:
    """Tell the running model something, in its vendor's shape."""

    data: Object


@attrs.frozen
class SendTokens:
    """Speak more text of a stream. The session sends it when jambonz has room, in order."""

    id: str | int
    tokens: str


@attrs.frozen
class FlushTokens:
    """Speak what was sent, also where it ends in mid-sentence."""


@attrs.frozen
class ClearTokens:
    """Drop what was not spoken."""


@attrs.frozen(kw_only=True)
class RawCommand:
    """A command as JSON, unchecked: for the commercial editions, and for what is heard in a form without effect."""

    name: str
    data: Any = None
    call_sid: str | None = None
    queue: bool | None = None
    tool_call_id: str | None = None


Order = (
    Redirect
    | RedirectByHook
    | RedirectParent
    | SetCallStatus
    | Configure
    | PlaceCall
    | DubNow
    | Record
    | SetMute
    | SetConferenceMute
    | SetConferenceHold
    | ActOnParticipant
    | PauseListening
    | PauseTranscription
    | Whisper
    | SendSipRequest
    | SendKeys
    | BoostAudio
    | SetMediaPath
    | AnswerTool
    | UpdateLlm
    | SendTokens
    | FlushTokens
    | ClearTokens
    | RawCommand
)
"""A command on the wire."""

# What only the session takes


@attrs.frozen
class Disconnect:
    """Close the socket and leave the call to jambonz.

    Code 1000 says that nothing more will come: the running verb ends, then the call; an idle call stays up in silence.
    Any other makes jambonz dial again within seconds: for restarts and hand-overs.
    """

    code: int = 4000
    reason: str = ""
