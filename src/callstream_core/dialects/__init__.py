"""The dialects that this library speaks, and how to tell them apart."""

from __future__ import annotations

from callstream_core.dialect import Dialect
from callstream_core.dialects import asterisk, jambonz, sinch, yeastar

_DIALECTS = {dialect.name: dialect for dialect in (asterisk.DIALECT, jambonz.DIALECT, sinch.DIALECT, yeastar.DIALECT)}


def names() -> list[str]:
    """Return the names of all dialects."""
    return sorted(_DIALECTS)


def get(name: str) -> Dialect:
    """Return a dialect by name."""
    try:
        return _DIALECTS[name]
    except KeyError:
        raise ValueError(f"unknown dialect {name!r}; there are {', '.join(names())}") from None


def detect(first_message: str | bytes | None = None, subprotocol: str | None = None, path: str = "/") -> Dialect | None:
    """Name the dialect of a fresh connection, by what is known of it: path, subprotocol, first message.

    A query behind the path does not matter. Return None where that is not enough; ask again with the first message.
    """
    path = path.partition("?")[0]
    for dialect in _DIALECTS.values():
        if path in dialect.paths or (subprotocol is not None and subprotocol in dialect.subprotocols):
            return dialect
    if isinstance(first_message, str):
        for dialect in _DIALECTS.values():
            if dialect.recognizes(first_message):
                return dialect
    return None
