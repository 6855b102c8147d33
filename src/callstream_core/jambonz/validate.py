"""jambonz's own check of a stack of verbs, to the letter: what it refuses, and in which words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from callstream_core.errors import Malformed
from callstream_core.jambonz.bot_verbs import Llm
from callstream_core.jambonz.table import NOT_EXECUTED, Property, is_part, is_verb, properties_of
from callstream_core.jambonz.values import Object, Verb, read_verb

# Other names of the same verbs.
_ALIASES = {"stream": "listen", "s2s": "llm"}
_VENDORS = {
    f"{vendor}_s2s": vendor
    for vendor in ("openai", "microsoft", "google", "elevenlabs", "deepgram", "voiceagent", "ultravox")
}


def read_stack(data: Any) -> tuple[Verb, ...]:
    """Return the verbs in `data`, typed. Raise `Malformed` with jambonz's own words where it would refuse them."""
    return tuple(read_verb(name, found) for name, found in check_stack(data))


def check_stack(data: Any) -> list[tuple[str, Object]]:
    """Return the name, as it is spelled, and the properties of each verb in `data`."""
    if not isinstance(data, list | tuple):
        raise Malformed("malformed jambonz payload: must be array")
    found = [_opened(item) for item in data]
    for name, properties in found:
        _check_verb(_ALIASES.get(name, name), properties)
    return found


def _opened(item: Any) -> tuple[str, Object]:
    """Return the name and the properties of an item in either of its two forms."""
    if not isinstance(item, Mapping):
        raise Malformed("malformed jambonz payload: must be array of objects")
    if "verb" in item:
        name = item["verb"]
        properties = {key: value for key, value in item.items() if key != "verb"}
    elif len(item) == 1:
        ((name, properties),) = item.items()
    else:
        raise Malformed("malformed jambonz payload: missing verb property")
    if not isinstance(name, str) or not isinstance(properties, Mapping):
        raise Malformed(f"invalid instruction: {_text(name)}")
    if name in _VENDORS:
        return Llm.word, {"vendor": _VENDORS[name], **properties}
    return ("llm" if name == "s2s" else name), properties


def _check_verb(name: str, found: Object) -> None:
    if not is_verb(name) and not is_part(name):
        raise Malformed(f"invalid instruction: {name}")
    _check(name, found)
    if is_part(name) or name in NOT_EXECUTED:
        raise Malformed(f"invalid jambonz verb '{name}'")


def _check(name: str, found: Object) -> None:
    properties = properties_of(name)
    for key, value in found.items():
        if key == "_":
            continue
        known = properties.get(key)
        if known is None:
            raise Malformed(f"{name}: unknown property {key}")
        _check_value(name, known, value)
    missing = [known.name for known in properties.values() if known.is_required and known.name not in found]
    if missing:
        raise Malformed(f"{name}: missing value for {','.join(missing)}")


def _check_value(name: str, known: Property, value: Any) -> None:
    part = known.part
    if part is not None:
        _check_part(name, known, part, value)
        return
    if known.kind == "a":
        if not isinstance(value, list | tuple):
            raise Malformed(f"{name}: property {known.name} is not an array")
    elif not any(_IS[kind](value) for kind in known.kind.replace("h", "o/s").split("/")):
        text = f"{name}: property {known.name} has invalid data type"
        if "/" in known.kind or known.kind == "h":
            names = (_TYPES[kind] for kind in known.kind.replace("h", "o/s").split("/"))
            text += f", must be one of {','.join(names)}"
        raise Malformed(text)
    # Arrays are compared whole with the list of values, so none of them passes.
    if known.values and (not isinstance(value, str) or value not in known.values):
        raise Malformed(f"{name}: invalid value {_text(value)} must be one of {','.join(known.values)}")


def _check_part(name: str, known: Property, part: str, value: Any) -> None:
    if known.is_many and not isinstance(value, list | tuple):
        raise Malformed(f"{name}: property {known.name} is not iterable")
    for item in value if known.is_many else (value,):
        if not isinstance(item, Mapping):
            raise Malformed(f"{name}: property {known.name} has invalid data type")
        if not is_verb(part) and not is_part(part):
            # The table names a part that it does not have.
            raise Malformed(f"invalid instruction: {part}")
        _check(part, item)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# As JavaScript's typeof sees it: arrays and null are objects.
_IS: Mapping[str, Callable[[Any], bool]] = {
    "s": lambda value: isinstance(value, str),
    "n": _is_number,
    "b": lambda value: isinstance(value, bool),
    "o": lambda value: value is None or isinstance(value, Mapping | list | tuple),
    "a": lambda value: isinstance(value, list | tuple),
}
_TYPES = {"s": "string", "n": "number", "b": "boolean", "o": "object", "a": "array"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
