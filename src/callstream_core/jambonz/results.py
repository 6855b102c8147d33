"""What a verb's hook reports, typed. What the engine adds besides stays in the event's `data`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from callstream_core.jambonz.values import Object
from callstream_core.jambonz.words import HookCalled


@attrs.frozen
class PlayEnded:
    """A play came to its end, or was interrupted: both are `is_complete`. False where it could not be played."""

    is_complete: bool
    played: float | None = None
    """Seconds."""


@attrs.frozen(kw_only=True)
class InputGathered:
    """A gather ended."""

    reason: str
    """`dtmfDetected`, `speechDetected`, `timeout`, `error`, `stt-low-confidence`."""
    digits: str = ""
    transcript: str = ""
    """The likeliest reading of what was said."""
    confidence: float | None = None
    is_final: bool = True
    """False in a partial result."""
    details: str = ""


@attrs.frozen(kw_only=True)
class DialEnded:
    """A dial ended."""

    status: str
    sip_status: int | None = None
    leg: str | None = None


@attrs.frozen
class ListenEnded:
    """A listen ended."""

    duration: float
    """Seconds."""
    digits: str = ""
    """The key that ended it."""


@attrs.frozen
class SpeechTranscribed:
    """A transcription goes on, or a translation."""

    transcript: str
    is_final: bool = True


@attrs.frozen(kw_only=True)
class ConferenceReported:
    """Something happened in a conference."""

    event: str
    sid: str | None = None
    members: int | None = None


@attrs.frozen(kw_only=True)
class QueueLeft:
    """A caller has left a queue, or was taken out of one."""

    result: str
    waited: float | None = None
    """Seconds."""


@attrs.frozen(kw_only=True)
class QueueWaits:
    """A caller waits in a queue: the wait hook asks what to play."""

    size: int
    position: int | None = None
    waited: float | None = None
    """Seconds."""


@attrs.frozen
class LlmEnded:
    """A model's conversation is over."""

    reason: str


@attrs.frozen
class SipRequestEnded:
    """A SIP request was answered, or not."""

    is_success: bool
    status: int | None = None


@attrs.frozen
class ReferEnded:
    """A REFER was answered."""

    status: int | None
    final_status: int | None = None


@attrs.frozen
class MessageEnded:
    """A text message was handed on, or not."""

    status: str
    sid: str | None = None


Result = (
    PlayEnded
    | InputGathered
    | DialEnded
    | ListenEnded
    | SpeechTranscribed
    | ConferenceReported
    | QueueLeft
    | QueueWaits
    | LlmEnded
    | SipRequestEnded
    | ReferEnded
    | MessageEnded
)


def result_of(event: HookCalled) -> Result | None:
    """Return what a hook reports, where it is of a kind that is known; what it lacks is taken for nothing."""
    data = event.data
    for key, read in _READERS:
        if key in data:
            return read(data)
    return None


def _text(data: Object, key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None


def _number(data: Object, key: str) -> float | None:
    value = data.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(data: Object, key: str) -> int | None:
    value = _number(data, key)
    return None if value is None else int(value)


def _best(data: Object) -> tuple[str, float | None, bool]:
    """Return what was understood, how surely, and whether for good."""
    speech: Any = data.get("speech", data.get("translation"))
    found = speech if isinstance(speech, dict) else {}
    readings = found.get("alternatives")
    first = readings[0] if isinstance(readings, list) and readings and isinstance(readings[0], dict) else {}
    return _text(first, "transcript") or "", _number(first, "confidence"), found.get("is_final") is not False


def _reason(data: Object) -> Result | None:
    reason = _text(data, "reason") or ""
    if reason in ("playCompleted", "playFailed"):
        played = _number(data, "playback_milliseconds")
        return PlayEnded(reason == "playCompleted", None if played is None else played / 1000)
    if reason not in ("dtmfDetected", "speechDetected", "timeout", "error", "stt-low-confidence"):
        return None
    transcript, confidence, is_final = _best(data)
    return InputGathered(
        reason=reason,
        digits=_text(data, "digits") or "",
        transcript=transcript,
        confidence=confidence,
        is_final=is_final,
        details=_text(data, "details") or "",
    )


def _dial(data: Object) -> Result:
    status, leg = _text(data, "dial_call_status") or "", _text(data, "dial_call_sid")
    return DialEnded(status=status, sip_status=_whole(data, "dial_sip_status"), leg=leg)


def _listen(data: Object) -> Result:
    return ListenEnded(_number(data, "dial_call_duration") or 0, _text(data, "digits") or "")


def _speech(data: Object) -> Result:
    transcript, _, is_final = _best(data)
    return SpeechTranscribed(transcript, is_final)


def _queue(data: Object) -> Result:
    return QueueLeft(result=_text(data, "queue_result") or "", waited=_number(data, "queue_time"))


def _wait(data: Object) -> Result:
    return QueueWaits(
        size=_whole(data, "queue_size") or 0,
        position=_whole(data, "queue_position"),
        waited=_number(data, "queue_time"),
    )


def _conference(data: Object) -> Result:
    sid, members = _text(data, "conference_sid"), _whole(data, "members")
    return ConferenceReported(event=_text(data, "event") or "", sid=sid, members=members)


# By the member that tells them apart; the first that is there counts.
_READERS: tuple[tuple[str, Callable[[Object], Result | None]], ...] = (
    ("reason", _reason),
    ("dial_call_status", _dial),
    ("dial_call_duration", _listen),
    ("queue_result", _queue),
    ("queue_size", _wait),
    ("dequeue_result", lambda data: QueueLeft(result=_text(data, "dequeue_result") or "")),
    ("conference_sid", _conference),
    ("completion_reason", lambda data: LlmEnded(_text(data, "completion_reason") or "")),
    ("refer_status", lambda data: ReferEnded(_whole(data, "refer_status"), _whole(data, "final_referred_call_status"))),
    ("message_status", lambda data: MessageEnded(_text(data, "message_status") or "", _text(data, "message_sid"))),
    ("result", lambda data: SipRequestEnded(data.get("result") == "success", _whole(data, "sip_status"))),
    ("speech", _speech),
    ("translation", _speech),
)
