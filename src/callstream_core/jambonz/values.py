"""How typed verbs and their parts become JSON, and come from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

import attrs

from callstream_core.jambonz.table import Property, properties_of

Object = Mapping[str, Any]
T = TypeVar("T")
S = TypeVar("S", bound="Part")

_classes: dict[str, type[Any]] = {}
_wires: dict[type, list[tuple[str, str]]] = {}


def _settled(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _settle(_cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    return [field.evolve(converter=_settled) for field in fields]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(attrs.field,))
def spoken(cls: type[T]) -> type[T]:
    """Make a frozen value of `cls`, known by its word; lists in it become tuples, so that values compare."""
    made = attrs.frozen(kw_only=True, field_transformer=_settle)(cls)
    for word in (made.__dict__.get("word"), made.__dict__.get("spelling")):
        if word:
            _classes[word] = made
    # Each property's name on the wire and in the class.
    names = [field for field in attrs.fields(cast(Any, made)) if field.name != "more"]
    _wires[made] = [(field.metadata.get("wire") or _camel(field.name), field.name) for field in names]
    return made


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@spoken
class Part:
    """Something inside a verb."""

    word: ClassVar[str] = ""
    more: Object = attrs.field(factory=dict)
    """Properties that this library does not know, sent unchecked: newer servers may take them."""


@spoken
class Verb(Part):
    """One instruction of a call's stack."""

    id: str | None = None
    """Comes back in `verb:status`, and as `verb_id` in the verb's hook."""


@spoken
class RawVerb(Verb):
    """A verb as JSON, unchecked: for verbs of the commercial editions."""

    name: str
    properties: Object = attrs.field(factory=dict)


@spoken
class Hook(Part):
    """A hook that is more than its URL."""

    url: str
    method: str | None = None
    username: str | None = None
    password: str | None = None


def _properties(cls: type[Part]) -> Mapping[str, Property]:
    return properties_of(cls.word) if cls.word else {}


def part_json(part: Part, *, with_more: bool = True) -> dict[str, Any]:
    """Return the properties of a part; `with_more`, also those that are not ours to check."""
    properties = _properties(type(part))
    found: dict[str, Any] = {}
    for wire, name in _wires[type(part)]:
        value = getattr(part, name)
        if value is not None:
            has_parts = wire in properties and properties[wire].part is not None
            found[wire] = _json(value, with_more=with_more, has_parts=has_parts)
    return found | dict(part.more) if with_more else found


def verb_json(verb: Verb, *, with_more: bool = True) -> dict[str, Any]:
    """Return a verb as an item of a stack."""
    if isinstance(verb, RawVerb):
        named = {"verb": verb.name} if verb.id is None else {"verb": verb.name, "id": verb.id}
        return named | dict(verb.properties) | dict(verb.more)
    return {"verb": _spelling(verb)} | part_json(verb, with_more=with_more)


def _spelling(verb: Verb) -> str:
    return str(getattr(verb, "spelling", verb.word))


def _json(value: Any, *, with_more: bool, has_parts: bool) -> Any:
    if isinstance(value, Verb) and not has_parts:
        return verb_json(value, with_more=with_more)
    if isinstance(value, Part):
        return part_json(value, with_more=with_more)
    if isinstance(value, Mapping):
        return {key: _json(item, with_more=with_more, has_parts=False) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, with_more=with_more, has_parts=has_parts) for item in value]
    return value


def read_verb(name: str, properties: Object) -> Verb:
    """Return the typed verb of properties that the validator has passed."""
    cls = _classes[name]
    assert issubclass(cls, Verb)
    return _read(cls, properties)


def _read(cls: type[S], found: Object) -> S:
    properties = _properties(cls)
    values: dict[str, Any] = {}
    for wire, name in _wires[cls]:
        if wire in found:
            values[name] = _value(found[wire], properties[wire])
    return cls(**values)


def _value(value: Any, known: Property) -> Any:
    if known.kind == "h" and isinstance(value, dict):
        return _hook(value)
    cls = _classes.get(known.part or "")
    if cls is None or value is None:
        return value
    if known.is_many:
        return [_read(cls, item) for item in value]
    return _read(cls, value)


def _hook(found: Object) -> Hook | Object:
    names = {wire for wire, _ in _wires[Hook]}
    if isinstance(found.get("url"), str):
        known = {key: value for key, value in found.items() if key in names}
        return Hook(**known, more={key: value for key, value in found.items() if key not in names})
    return found


def text_in(data: Object, key: str) -> str | None:
    """Return a text among values, or None where there is none."""
    value = data.get(key)
    return value if isinstance(value, str) else None


def snake_cased(value: Any) -> Any:
    """Return `value` with all keys as jambonz writes them in its messages, save those inside a user's own data."""
    if isinstance(value, Mapping):
        return {
            key if key in _VERBATIM else _snake(key): item if key in _VERBATIM else snake_cased(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [snake_cased(item) for item in value]
    return value


_VERBATIM = frozenset({"customerData", "sip", "env_vars", "args"})


@lru_cache(maxsize=1024)
def _snake(key: str) -> str:
    """Return a key as the engine's library makes it: it looks for capitals only where nothing else parts words."""
    if re.search(r"\s", key):
        spaced = key
    elif re.search(r"[_.:-]", key):
        spaced = _UNWORDLY.sub(_blank_before, key) or key
    elif re.search(r"[a-z][A-Z]|[A-Z][a-z]", key):
        spaced = re.sub(r"(.)([A-Z]+)", lambda found: f"{found[1]} {' '.join(found[2])}", key)
    else:
        spaced = key
    return re.sub(r"\s", "_", _UNWORDLY.sub(_blank_before, spaced.lower()).strip())


_UNWORDLY = re.compile(r"[^A-Za-z0-9]+(.|$)")


def _blank_before(found: re.Match[str]) -> str:
    return f" {found[1]}" if found[1] else ""
