"""The shape of each command on the wire: the one that the engine acts on."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import orders as o
from callstream_core.jambonz.values import Part, Verb, part_json
from callstream_core.jambonz.verbs import Config, Dub

Stack = Callable[[tuple[Verb, ...]], list[Any]]
MAX_TOKENS = 1000
"""Characters (of UTF-16) that jambonz keeps of text that was not spoken; longer pieces never fit."""
_WHISPERS = frozenset({"say", "play"})
_DIGITS = frozenset("0123456789*#ABCDabcd")


def order_values(order: o.Order, stack_json: Stack) -> dict[str, Any]:
    """Return the members of a command but its type. Raise `LocalProtocolError` where jambonz would not act on it."""
    encode = _ENCODERS.get(type(order))
    if encode is None:
        raise LocalProtocolError(f"{type(order).__name__} is no command of jambonz")
    name, data = encode(order, stack_json)
    if isinstance(order, o.RawCommand):
        return _raw_values(order)
    found: dict[str, Any] = {"command": name}
    if isinstance(order, o.Redirect):
        found["queueCommand"] = _want("queue", order.queue, bool)
    call_sid = getattr(order, "call_sid", None)
    if call_sid is not None:
        found["callSid"] = _want("call_sid", call_sid, str)
    if isinstance(order, o.AnswerTool):
        found["tool_call_id"] = _want("tool_call_id", order.tool_call_id, str)
    if data is not None:
        found["data"] = data
    return found


def _raw_values(order: o.RawCommand) -> dict[str, Any]:
    found: dict[str, Any] = {"command": _want("name", order.name, str)}
    if order.queue is not None:
        found["queueCommand"] = order.queue
    return found | _some(callSid=order.call_sid, tool_call_id=order.tool_call_id, data=order.data)


def _want(name: str, value: Any, *kinds: type, optional: bool = False) -> Any:
    """Return `value` as it goes into JSON, or raise for one of the wrong kind; bool is no number here."""
    if value is None and optional:
        return None
    is_wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
    if is_wrong or value == "":
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise LocalProtocolError(f"{name} should be {expected}, not {str(value)[:40]!r}")
    if isinstance(value, Mapping):
        # Whatever kind of mapping it is.
        return dict(value)
    return value.value if isinstance(value, enum.Enum) else value


def _some(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _redirect(order: o.Redirect, stack_json: Stack) -> tuple[str, Any]:
    return "redirect", stack_json(order.verbs)


def _redirect_by_hook(order: o.RedirectByHook, _: Stack) -> tuple[str, Any]:
    data = _some(
        call_hook=_want("call_hook", order.call_hook, str, optional=True),
        child_call_hook=_want("child_call_hook", order.child_call_hook, str, optional=True),
    )
    if not data:
        raise LocalProtocolError("call_hook or child_call_hook is needed")
    return "redirect", data


def _redirect_parent(order: o.RedirectParent, stack_json: Stack) -> tuple[str, Any]:
    return "redirect", {"parent_call": stack_json(order.verbs)}


def _call_status(order: o.SetCallStatus, _: Stack) -> tuple[str, Any]:
    return "call:status", {"call_status": _want("status", order.status, o.LastStatus)}


def _part(name: str, part: Any, kind: type[Part], stack_json: Stack) -> dict[str, Any]:
    stack_json((_want(name, part, kind),))
    return part_json(part)


def _configure(order: o.Configure, stack_json: Stack) -> tuple[str, Any]:
    return "config", _part("config", order.config, Config, stack_json)


def _dub(order: o.DubNow, stack_json: Stack) -> tuple[str, Any]:
    return "dub", _part("dub", order.dub, Dub, stack_json)


def _dial(order: o.PlaceCall, _: Stack) -> tuple[str, Any]:
    return "dial", _want("body", order.body, Mapping)


def _record(order: o.Record, _: Stack) -> tuple[str, Any]:
    if order.type not in (None, "siprec", "cloud"):
        raise LocalProtocolError(f"type should be siprec or cloud, not {order.type!r}")
    server = _want("siprec_server_url", order.siprec_server_url, str, tuple, optional=True)
    if isinstance(server, tuple) and not (server and all(isinstance(url, str) for url in server)):
        raise LocalProtocolError(f"siprec_server_url should be a URL or a list of them, not {server!r}")
    return "record", _some(
        action=_want("action", order.action, o.RecordingAction),
        recordingID=_want("recording_id", order.recording_id, str, optional=True),
        siprecServerURL=list(server) if isinstance(server, tuple) else server,
        headers=_want("headers", order.headers, Mapping, optional=True),
        type=order.type,
        silence=_want("silence", order.silence, bool, optional=True),
    )


def _mute(order: o.SetMute, _: Stack) -> tuple[str, Any]:
    return "mute:status", {"mute_status": _either(order.is_muted, "is_muted", "mute", "unmute")}


def _conference_mute(order: o.SetConferenceMute, _: Stack) -> tuple[str, Any]:
    return "conf:mute-status", {"conf_mute_status": _either(order.is_muted, "is_muted", "mute", "unmute")}


def _conference_hold(order: o.SetConferenceHold, _: Stack) -> tuple[str, Any]:
    return "conf:hold-status", _some(
        conf_hold_status=_either(order.is_held, "is_held", "hold", "unhold"),
        wait_hook=_want("wait_hook", order.wait_hook, str, optional=True),
    )


def _either(value: bool, name: str, yes: str, no: str) -> str:
    return yes if _want(name, value, bool) else no


def _participant(order: o.ActOnParticipant, _: Stack) -> tuple[str, Any]:
    return "conf:participant-action", _some(
        action=_want("action", order.action, o.ParticipantAction),
        tag=_want("tag", order.tag, str, optional=True),
        wait_hook=_want("wait_hook", order.wait_hook, str, optional=True),
    )


def _listening(order: o.PauseListening, _: Stack) -> tuple[str, Any]:
    word = "stream" if _want("stream", order.stream, bool) else "listen"
    return f"{word}:status", {f"{word}_status": _either(order.is_paused, "is_paused", "pause", "resume")}


def _transcription(order: o.PauseTranscription, _: Stack) -> tuple[str, Any]:
    return "transcribe:status", {"transcribe_status": _either(order.is_paused, "is_paused", "pause", "resume")}


def _whisper(order: o.Whisper, stack_json: Stack) -> tuple[str, Any]:
    verbs = stack_json(order.verbs)
    if not verbs or any(verb["verb"] not in _WHISPERS for verb in verbs):
        raise LocalProtocolError("verbs should be say or play: nothing else can be whispered")
    return "whisper", {"whisper": verbs}


def _sip_request(order: o.SendSipRequest, _: Stack) -> tuple[str, Any]:
    found = _some(
        method=_want("method", order.method, str),
        content_type=_want("content_type", order.content_type, str, optional=True),
        content=_want("content", order.content, str, optional=True),
        headers=_want("headers", order.headers, Mapping, optional=True),
    )
    return "sip:request", {"sip_request": found}


def _keys(order: o.SendKeys, _: Stack) -> tuple[str, Any]:
    if _want("digit", order.digit, str) not in _DIGITS:
        raise LocalProtocolError(f"digit should be one of 0-9 * # A-D, not {order.digit!r}")
    duration = _want("duration", order.duration, int, optional=True)
    if duration is not None and duration <= 0:
        raise LocalProtocolError(f"duration should be positive milliseconds, not {duration}")
    return "dtmf", {"dtmf": _some(digit=order.digit, duration=duration)}


def _boost(order: o.BoostAudio, _: Stack) -> tuple[str, Any]:
    gain = _want("gain", order.gain, int, float, str)
    if not gain:
        raise LocalProtocolError("gain should not be the number 0, which jambonz takes for a missing value; say '0dB'")
    return "boostAudioSignal", gain


def _media_path(order: o.SetMediaPath, _: Stack) -> tuple[str, Any]:
    return "media:path", _want("path", order.path, o.MediaPath)


def _tool(order: o.AnswerTool, _: Stack) -> tuple[str, Any]:
    return "llm:tool-output", _want("data", order.data, Mapping, optional=True)


def _update(order: o.UpdateLlm, _: Stack) -> tuple[str, Any]:
    return "llm:update", _want("data", order.data, Mapping)


def _tokens(order: o.SendTokens, _: Stack) -> tuple[str, Any]:
    text = _want("tokens", order.tokens, str)
    if utf16_length(text) > MAX_TOKENS:
        raise LocalProtocolError(f"tokens of {utf16_length(text)} characters; jambonz takes {MAX_TOKENS} at most")
    name = _want("id", order.id, str, int)
    if not name:
        raise LocalProtocolError("id should not be 0: jambonz takes that for a missing one, and drops the tokens")
    return "tts:tokens", {"id": name, "tokens": text}


def utf16_length(text: str) -> int:
    """Return the length of `text` as JavaScript counts it."""
    return len(text) + sum(char > "\uffff" for char in text)


_ENCODERS: Mapping[type, Callable[[Any, Stack], tuple[str, Any]]] = {
    o.Redirect: _redirect,
    o.RedirectByHook: _redirect_by_hook,
    o.RedirectParent: _redirect_parent,
    o.SetCallStatus: _call_status,
    o.Configure: _configure,
    o.PlaceCall: _dial,
    o.DubNow: _dub,
    o.Record: _record,
    o.SetMute: _mute,
    o.SetConferenceMute: _conference_mute,
    o.SetConferenceHold: _conference_hold,
    o.ActOnParticipant: _participant,
    o.PauseListening: _listening,
    o.PauseTranscription: _transcription,
    o.Whisper: _whisper,
    o.SendSipRequest: _sip_request,
    o.SendKeys: _keys,
    o.BoostAudio: _boost,
    o.SetMediaPath: _media_path,
    o.AnswerTool: _tool,
    o.UpdateLlm: _update,
    o.SendTokens: _tokens,
    o.FlushTokens: lambda _order, _stack: ("tts:flush", None),
    o.ClearTokens: lambda _order, _stack: ("tts:clear", None),
    o.RawCommand: lambda order, _stack: (order.name, None),
}
