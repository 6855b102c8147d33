"""Translate between the control socket's messages and our words. Stateless: every message stands for itself."""

from __future__ import annotations

import json
from typing import Any

from callstream_core import fields
from callstream_core.errors import LocalProtocolError, Malformed
from callstream_core.events import MessageIgnored
from callstream_core.jambonz import javascript
from callstream_core.jambonz.order_codec import order_values
from callstream_core.jambonz.order_reading import order_of
from callstream_core.jambonz.orders import Ack, Order, Unusable
from callstream_core.jambonz.table import INTERNAL
from callstream_core.jambonz.validate import check_stack, read_stack
from callstream_core.jambonz.values import Object, RawVerb, Verb, verb_json
from callstream_core.jambonz.words import NOTICES, HookQuestion, Notice

SUBPROTOCOL = "ws.jambonz.org"
MAX_MESSAGE = 24_576
"""Bytes that jambonz takes in one message. After a longer one it closes with 1009 and dials again."""
MAX_NAME = 256
"""Characters of a message's or a call's id, which we remember; jambonz's own have 36 at most."""


class Refused(Malformed):
    """A message that jambonz answers with `jambonz:error`; the text is its `details`."""

    is_answered = True


# What jambonz says


def encode_event(event: Notice) -> str:
    """Return the message of an event."""
    found: dict[str, Any] = {"type": event.word, "msgid": event.msgid}
    if event.call_sid is not None:
        found["call_sid"] = event.call_sid
    hook = getattr(event, "hook", None)
    if hook is not None:
        found["hook"] = hook
    found["data"] = event.data
    if event.trace is not None:
        found["b3"] = event.trace
    return dump(found)


def decode_event(message: str | bytes) -> Notice | MessageIgnored:
    """Return what jambonz said. Raise `Malformed` where it cannot be read."""
    if isinstance(message, bytes):
        raise Malformed(f"{len(message)} bytes of binary; jambonz sends text")
    found = fields.parse_object(message)
    kind = NOTICES.get(_text(found, "type"))
    if kind is None:
        # A future type may want an ack or not; nothing can be owed for what nobody knows.
        return MessageIgnored(message)
    data = found.get("data", {})
    if not isinstance(data, dict):
        raise Malformed(f"{kind.word}: data should be an object")
    values: dict[str, Any] = {"msgid": _name(found, "msgid"), "data": data, "size": len(message)}
    if not values["msgid"]:
        raise Malformed("msgid is empty")
    if found.get("call_sid") is not None:
        values["call_sid"] = _name(found, "call_sid")
    if isinstance(data.get("call_sid"), str):
        _name(data, "call_sid")
    if found.get("b3") is not None:
        values["trace"] = _text(found, "b3")
    if issubclass(kind, HookQuestion) or (found.get("hook") is not None and hasattr(kind, "hook")):
        values["hook"] = _text(found, "hook")
    for name in _REQUIRED.get(kind.word, ()):
        _check(kind.word, name, values["data"])
    return kind(**values)


_REQUIRED = {
    "call:status": ("call_status",),
    "verb:status": ("event",),
    "jambonz:error": ("msg",),
    "llm:tool-call": ("tool_call_id", "name"),
    "agent:tool-call": ("tool_call_id", "name"),
    "tts:tokens-result": ("id", "status"),
    "tts:streaming-event": ("event_type",),
}


def _check(word: str, name: str, data: Object) -> None:
    value = data.get(name)
    if not isinstance(value, str) and not (name == "id" and isinstance(value, int) and not isinstance(value, bool)):
        raise Malformed(f"{word}: {name} should be text, not {str(value)[:40]}")


def _text(found: Object, key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        raise Malformed(f"{key} should be text, not {str(value)[:40]}")
    return value


def _name(found: Object, key: str) -> str:
    value = _text(found, key)
    if len(value) > MAX_NAME:
        raise Malformed(f"{key} of {len(value)} characters; {MAX_NAME} are the most")
    return value


# What the application says


def encode_ack(ack: Ack) -> str:
    """Return the message of an ack. Raise `LocalProtocolError` where jambonz would refuse its verbs."""
    found: dict[str, Any] = {"type": "ack", "msgid": ack.msgid}
    if isinstance(ack.verbs, Unusable):
        found["data"] = ack.verbs.data
    elif ack.verbs is not None:
        found["data"] = stack_json(ack.verbs)
    return checked(found)


def encode_order(order: Order) -> str:
    """Return the message of a command. Raise `LocalProtocolError` where jambonz would not act on it."""
    return checked({"type": "command", **order_values(order, stack_json)})


def stack_json(verbs: tuple[Verb, ...]) -> list[Any]:
    """Return a stack as JSON values, checked as jambonz will check it."""
    if not isinstance(verbs, tuple):
        raise LocalProtocolError(f"verbs should be a sequence of verbs, not {type(verbs).__name__}")
    for verb in verbs:
        if not isinstance(verb, Verb):
            raise LocalProtocolError(f"verbs should hold verbs, not {type(verb).__name__}")
        if verb.word in INTERNAL:
            raise LocalProtocolError(f"{verb.word} is jambonz's own; it takes no such verb from an application")
    try:
        # What its user vouches for is not checked.
        check_stack([verb_json(verb, with_more=False) for verb in verbs if not isinstance(verb, RawVerb)])
    except Malformed as error:
        raise LocalProtocolError(f"jambonz would refuse the verbs: {error}") from None
    return [verb_json(verb) for verb in verbs]


def checked(found: Object) -> str:
    """Return a message that fits jambonz's limit, or raise `LocalProtocolError`."""
    try:
        message = dump(found)
        size = len(message.encode())
    except (TypeError, ValueError, RecursionError) as error:
        where = ".".join((str(found.get("command", found["type"])), *_fault(found)))
        raise LocalProtocolError(f"{where} is not JSON: {error}") from None
    if size > MAX_MESSAGE:
        raise LocalProtocolError(f"a message of {size} bytes; jambonz takes {MAX_MESSAGE} at most")
    return message


def _fault(value: Any) -> list[str]:
    """Return the way to the value that is not JSON, if it is not too long."""
    way: list[str] = []
    while len(way) < _MAX_WAY:
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        )
        found = next(((key, item) for key, item in items if not _is_json(item)), None)
        if found is None:
            break
        way.append(str(found[0]))
        value = found[1]
    return way


_MAX_WAY = 8


def _is_json(value: Any) -> bool:
    try:
        dump(value).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def decode_order(message: str | bytes) -> Ack | Order:
    """Return what the application said. Raise `Refused` with jambonz's words where it answers with an error."""
    found = _parsed(message)
    kind = found.get("type")
    if not kind:
        raise Refused("type property not supplied")
    if kind == "ack":
        return _ack(found)
    if kind != "command":
        raise Refused(f"invalid type property: {kind}")
    if not found.get("command"):
        raise Refused("command property not supplied")
    if _is_empty(found.get("data")) and found["command"] not in _WITHOUT_DATA:
        raise Refused("data property not supplied")
    return order_of(found)


_WITHOUT_DATA = ("llm:tool-output", "tts:flush", "tts:clear")


def _parsed(message: str | bytes) -> Object:
    # The engine means to refuse binary messages, but tests the wrong variable.
    text = message.decode(errors="replace") if isinstance(message, bytes) else message
    try:
        found = fields.parse_json(text)
    except Malformed:
        raise Refused(javascript.parse_error(text)) from None
    if found is None:
        raise Refused("Cannot destructure property 'type' of 'obj' as it is null.")
    return found if isinstance(found, dict) else {}


def _is_empty(value: Any) -> bool:
    """Tell whether JavaScript takes `value` for false: arrays and objects never are."""
    return not value and not isinstance(value, list | dict)


def _ack(found: Object) -> Ack:
    if not found.get("msgid"):
        raise Refused("msgid not supplied")
    data = found.get("data")
    return Ack(str(found["msgid"]), None if data is None else _verbs_of(data))


def _verbs_of(data: Any) -> tuple[Verb, ...] | Unusable:
    try:
        return read_stack(data)
    except Malformed as error:
        return Unusable(str(error), data)


def dump(found: Any) -> str:
    """Return compact JSON."""
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
