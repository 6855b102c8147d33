"""Read commands as the engine does: what it would not act on stays a `RawCommand`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from callstream_core.errors import Malformed
from callstream_core.jambonz import orders as o
from callstream_core.jambonz.validate import check_stack, read_stack
from callstream_core.jambonz.values import Object, Verb, read_verb

K = TypeVar("K", bound=Enum)


class _NoEffectError(Exception):
    """The engine would pass this form over."""


def order_of(found: Object) -> o.Order:
    """Return the command in a message that has all that the envelope needs."""
    name, data = found["command"], found.get("data")
    call_sid = found.get("callSid")
    if not isinstance(call_sid, str):
        call_sid = None
    read = _READERS.get(name) if isinstance(name, str) else None
    try:
        if read is None:
            raise _NoEffectError
        return read(found, data, call_sid)
    except (_NoEffectError, Malformed):
        queue, tool = found.get("queueCommand"), found.get("tool_call_id")
        return o.RawCommand(
            name=str(name),
            data=data,
            call_sid=call_sid,
            queue=queue if isinstance(queue, bool) else None,
            tool_call_id=tool if isinstance(tool, str) else None,
        )


def _object(data: Any) -> Object:
    if not isinstance(data, dict):
        raise _NoEffectError
    return data


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _NoEffectError
    return value


def _one(kind: type[K], value: Any) -> K:
    try:
        return kind(value)
    except ValueError:
        raise _NoEffectError from None


def _flag(value: Any, yes: str, no: str) -> bool:
    if value not in (yes, no):
        raise _NoEffectError
    return bool(value == yes)


def _redirect(found: Object, data: Any, _: str | None) -> o.Order:
    if isinstance(data, list):
        return o.Redirect(read_stack(data), found.get("queueCommand") is True)
    data = _object(data)
    if "parent_call" in data and "child_call" not in data:
        return o.RedirectParent(read_stack(data["parent_call"]))
    call_hook, child = _text(data.get("call_hook")), _text(data.get("child_call_hook"))
    if not call_hook and not child:
        raise _NoEffectError
    return o.RedirectByHook(call_hook=call_hook, child_call_hook=child)


def _call_status(_: Object, data: Any, call_sid: str | None) -> o.Order:
    return o.SetCallStatus(_one(o.LastStatus, _object(data).get("call_status")), call_sid)


def _verb(word: str, data: Any) -> Verb:
    ((name, properties),) = check_stack([{"verb": word, **_object(data)}])
    return read_verb(name, properties)


def _configure(_: Object, data: Any, call_sid: str | None) -> o.Order:
    return o.Configure(_verb("config", data), call_sid)  # type: ignore[arg-type]


def _dub(_: Object, data: Any, call_sid: str | None) -> o.Order:
    return o.DubNow(_verb("dub", data), call_sid)  # type: ignore[arg-type]


def _dial(_: Object, data: Any, _sid: str | None) -> o.Order:
    return o.PlaceCall(_object(data))


def _record(_: Object, data: Any, call_sid: str | None) -> o.Order:
    data = _object(data)
    headers, silence = data.get("headers"), data.get("silence")
    server = data.get("siprecServerURL")
    return o.Record(
        action=_one(o.RecordingAction, data.get("action")),
        recording_id=_text(data.get("recordingID")),
        siprec_server_url=server if isinstance(server, str | list) else None,
        headers=headers if isinstance(headers, dict) else None,
        type=_text(data.get("type")),
        silence=silence if isinstance(silence, bool) else None,
        call_sid=call_sid,
    )


def _mute(_: Object, data: Any, call_sid: str | None) -> o.Order:
    # This one command may be a bare string.
    status = data.get("mute_status") if isinstance(data, dict) else data
    return o.SetMute(_flag(status, "mute", "unmute"), call_sid)


def _conference_mute(_: Object, data: Any, call_sid: str | None) -> o.Order:
    return o.SetConferenceMute(_flag(_object(data).get("conf_mute_status"), "mute", "unmute"), call_sid)


def _conference_hold(_: Object, data: Any, call_sid: str | None) -> o.Order:
    data = _object(data)
    is_held = _flag(data.get("conf_hold_status"), "hold", "unhold")
    return o.SetConferenceHold(is_held, _text(data.get("wait_hook")), call_sid)


def _participant(_: Object, data: Any, call_sid: str | None) -> o.Order:
    data = _object(data)
    action = _one(o.ParticipantAction, data.get("action"))
    return o.ActOnParticipant(action, _text(data.get("tag")), _text(data.get("wait_hook")), call_sid)


def _listening(found: Object, data: Any, call_sid: str | None) -> o.Order:
    word = "stream" if found["command"] == "stream:status" else "listen"
    is_paused = _flag(_object(data).get(f"{word}_status"), "pause", "resume")
    return o.PauseListening(is_paused, word == "stream", call_sid)


def _transcription(_: Object, data: Any, call_sid: str | None) -> o.Order:
    return o.PauseTranscription(_flag(_object(data).get("transcribe_status"), "pause", "resume"), call_sid)


def _whisper(_: Object, data: Any, call_sid: str | None) -> o.Order:
    found = _object(data).get("whisper")
    verbs = read_stack(found if isinstance(found, list) else [found])
    if not verbs or any(verb.word not in ("say", "play") for verb in verbs):
        raise _NoEffectError
    return o.Whisper(verbs, call_sid)


def _sip_request(_: Object, data: Any, call_sid: str | None) -> o.Order:
    found = _object(_object(data).get("sip_request"))
    method, headers = _text(found.get("method")), found.get("headers")
    if not method:
        raise _NoEffectError
    return o.SendSipRequest(
        method=method,
        content_type=_text(found.get("content_type")),
        content=_text(found.get("content")),
        headers=headers if isinstance(headers, dict) else None,
        call_sid=call_sid,
    )


def _keys(_: Object, data: Any, call_sid: str | None) -> o.Order:
    found = _object(_object(data).get("dtmf"))
    digit, duration = _text(found.get("digit")), found.get("duration")
    if not digit:
        raise _NoEffectError
    is_whole = isinstance(duration, int) and not isinstance(duration, bool)
    return o.SendKeys(digit, duration if is_whole else None, call_sid)


def _boost(_: Object, data: Any, call_sid: str | None) -> o.Order:
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        raise _NoEffectError
    return o.BoostAudio(data, call_sid)


def _media_path(_: Object, data: Any, call_sid: str | None) -> o.Order:
    return o.SetMediaPath(_one(o.MediaPath, data), call_sid)


def _tool(found: Object, data: Any, _: str | None) -> o.Order:
    tool_call_id = _text(found.get("tool_call_id"))
    if not tool_call_id:
        raise _NoEffectError
    return o.AnswerTool(tool_call_id, None if data is None else _object(data))


def _update(_: Object, data: Any, _sid: str | None) -> o.Order:
    return o.UpdateLlm(_object(data))


def _tokens(_: Object, data: Any, _sid: str | None) -> o.Order:
    data = _object(data)
    name, tokens = data.get("id"), data.get("tokens")
    if not isinstance(name, str | int) or isinstance(name, bool) or not tokens or not isinstance(tokens, str):
        raise _NoEffectError
    return o.SendTokens(name, tokens)


_READERS: Mapping[str, Callable[[Object, Any, str | None], o.Order]] = {
    "redirect": _redirect,
    "call:status": _call_status,
    "config": _configure,
    "dub": _dub,
    "dial": _dial,
    "record": _record,
    "mute:status": _mute,
    "conf:mute-status": _conference_mute,
    "conf:hold-status": _conference_hold,
    "conf:participant-action": _participant,
    "listen:status": _listening,
    "stream:status": _listening,
    "transcribe:status": _transcription,
    "whisper": _whisper,
    "sip:request": _sip_request,
    "dtmf": _keys,
    "boostAudioSignal": _boost,
    "media:path": _media_path,
    "llm:tool-output": _tool,
    "llm:update": _update,
    "tts:tokens": _tokens,
    "tts:flush": lambda _found, _data, _sid: o.FlushTokens(),
    "tts:clear": lambda _found, _data, _sid: o.ClearTokens(),
}
