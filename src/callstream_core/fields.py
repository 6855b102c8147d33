"""Typed reading of JSON objects and `key:value` lines: the only place that meets untyped data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from callstream_core.errors import Malformed

Object = Mapping[str, Any]


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, by the letter of RFC 8259: no NaN, no infinity, no lone surrogates."""
    try:
        value = json.loads(text, parse_constant=_no_constants)
        # Escapes can smuggle in what no UTF-8 text can hold, and large exponents what no number can.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    return value


def parse_object(text: str) -> Object:
    """Return the JSON object in `text`."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise Malformed(f"not a JSON object but {type(value).__name__}")
    return value


def text_of(fields: Object, key: str, default: str | None = None) -> str:
    """Return a string field; numbers are taken as their text. Without a default the field must be there."""
    value = fields.get(key, default)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise Malformed(f"{key} should be text, not {_shown(value)}")


def whole_of(fields: Object, key: str, default: int | None = None) -> int:
    """Return a whole number that is not negative; digits in a string are taken too."""
    value = fields.get(key, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    raise Malformed(f"{key} should be a whole number, not {_shown(value)}")


def flag_of(fields: Object, key: str, default: bool = False) -> bool:
    """Return a truth value; `true` and `false` as text are taken too."""
    value = fields.get(key, default)
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise Malformed(f"{key} should be true or false, not {_shown(value)}")


def texts_of(fields: Object, key: str) -> dict[str, str]:
    """Return an object of strings; other values in it are given as JSON. Missing is empty."""
    value = fields.get(key, {})
    if not isinstance(value, dict):
        raise Malformed(f"{key} should be an object, not {_shown(value)}")
    return {name: item if isinstance(item, str) else json.dumps(item) for name, item in value.items()}


def read_line(line: str, keys: Sequence[str]) -> dict[str, str]:
    """Read `key:value key:value …` whose values may hold spaces and colons, by the known order of its keys.

    A value runs to the next known key. Keys may be missing; after the last known key, other words are ignored.
    """
    found: dict[str, str] = {}
    line = " " + line
    at = 0
    starts: list[tuple[str, int, int]] = []
    for key in keys:
        begin = line.find(f" {key}:", at)
        if begin >= 0:
            at = begin + len(key) + 2
            starts.append((key, begin, at))
    for i, (key, _, value_at) in enumerate(starts):
        end = starts[i + 1][1] if i + 1 < len(starts) else len(line)
        found[key] = line[value_at:end]
    return found


def _shown(value: object) -> str:
    return repr(value)[:40]
