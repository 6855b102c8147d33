"""What a verb's hook reports, typed. What the engine adds besides stays in the event's `data`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from callstream_core.jambonz.values import Object, text_in
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


@attrs.frozen
class KeysCaptured:
    """Someone in a dial has pressed keys that its `dtmf_capture` names."""

    keys: str


@attrs.frozen
class HoldChanged:
    """The dialled party was put on hold, or taken back."""

    detail: Object


@attrs.frozen
class ReferAsked:
    """A party asks to be transferred."""

    details: Object


@attrs.frozen
class ReferProgressed:
    """A transfer that we asked for goes on."""

    status: str


@attrs.frozen
class MachineDetected:
    """Answering machine detection has something to tell: `human_detected`, `machine_detected` …"""

    kind: str


@attrs.frozen
class DialogueEnded:
    """Somebody else's dialogue is over: Dialogflow's, Lex's, Rasa's."""

    result: str


@attrs.frozen(kw_only=True)
class TransferEnded:
    """A transfer is over (commercial editions)."""

    result: str
    reason: str = ""


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
    | KeysCaptured
    | HoldChanged
    | ReferAsked
    | ReferProgressed
    | MachineDetected
    | DialogueEnded
    | TransferEnded
)


def result_of(event: HookCalled) -> Result | None:
    """Return what a hook reports, where it is of a kind that is known; what it lacks is taken for nothing."""
    data = event.data
    for key, read in _READERS:
        if key in data and (found := read(data)) is not None:
            return found
    return None


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
    return text_in(first, "transcript") or "", _number(first, "confidence"), found.get("is_final") is not False


def _reason(data: Object) -> Result | None:
    reason = text_in(data, "reason") or ""
    if reason in ("playCompleted", "playFailed"):
        played = _number(data, "playback_milliseconds")
        return PlayEnded(reason == "playCompleted", None if played is None else played / 1000)
    if reason not in ("dtmfDetected", "speechDetected", "timeout", "error", "stt-low-confidence"):
        return None
    transcript, confidence, is_final = _best(data)
    return InputGathered(
        reason=reason,
        digits=text_in(data, "digits") or "",
        transcript=transcript,
        confidence=confidence,
        is_final=is_final,
        details=text_in(data, "details") or "",
    )


def _dial(data: Object) -> Result:
    status, leg = text_in(data, "dial_call_status") or "", text_in(data, "dial_call_sid")
    return DialEnded(status=status, sip_status=_whole(data, "dial_sip_status"), leg=leg)


def _listen(data: Object) -> Result:
    return ListenEnded(_number(data, "dial_call_duration") or 0, text_in(data, "digits") or "")


def _speech(data: Object) -> Result:
    transcript, _, is_final = _best(data)
    return SpeechTranscribed(transcript, is_final)


def _queue(data: Object) -> Result:
    return QueueLeft(result=text_in(data, "queue_result") or "", waited=_number(data, "queue_time"))


def _wait(data: Object) -> Result:
    return QueueWaits(
        size=_whole(data, "queue_size") or 0,
        position=_whole(data, "queue_position"),
        waited=_number(data, "queue_time"),
    )


def _conference(data: Object) -> Result:
    sid, members = text_in(data, "conference_sid"), _whole(data, "members")
    return ConferenceReported(event=text_in(data, "event") or "", sid=sid, members=members)


def _machine(data: Object) -> Result | None:
    kind = text_in(data, "type") or ""
    return MachineDetected(kind.removeprefix("amd_")) if kind.startswith("amd_") else None


def _progress(data: Object) -> Result | None:
    status = text_in(data, "call_status")
    return ReferProgressed(status) if data["event"] == "transfer-status" and status is not None else None


def _transfer(data: Object) -> Result:
    return TransferEnded(result=text_in(data, "transfer_result") or "", reason=text_in(data, "transfer_reason") or "")


def _object(data: Object, key: str) -> Object:
    value = data[key]
    return value if isinstance(value, dict) else {}


# By the member that tells them apart; the first that is there, and makes sense, counts.
_READERS: tuple[tuple[str, Callable[[Object], Result | None]], ...] = (
    ("reason", _reason),
    ("dial_call_status", _dial),
    ("dial_call_duration", _listen),
    ("queue_result", _queue),
    ("queue_size", _wait),
    ("dequeue_result", lambda data: QueueLeft(result=text_in(data, "dequeue_result") or "")),
    ("conference_sid", _conference),
    ("completion_reason", lambda data: LlmEnded(text_in(data, "completion_reason") or "")),
    ("refer_status", lambda data: ReferEnded(_whole(data, "refer_status"), _whole(data, "final_referred_call_status"))),
    ("message_status", lambda data: MessageEnded(text_in(data, "message_status") or "", text_in(data, "message_sid"))),
    ("result", lambda data: SipRequestEnded(data.get("result") == "success", _whole(data, "sip_status"))),
    ("speech", _speech),
    ("translation", _speech),
    ("dtmf", lambda data: KeysCaptured(text_in(data, "dtmf") or "")),
    ("hold_detail", lambda data: HoldChanged(_object(data, "hold_detail"))),
    ("refer_details", lambda data: ReferAsked(_object(data, "refer_details"))),
    ("type", _machine),
    ("event", _progress),
    ("transfer_result", _transfer),
    *(
        (f"{name}_result", lambda data, key=f"{name}_result": DialogueEnded(text_in(data, key) or ""))
        for name in ("dialogflow", "lex", "rasa")
    ),
)
