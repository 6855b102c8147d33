"""The registry: dialects by name, and how a fresh connection tells its own."""

from __future__ import annotations

import pytest

from callstream_core import detect, dialects


@pytest.mark.parametrize("name", dialects.names())
def test_each_dialect_is_found_by_name_path_and_subprotocol(name: str) -> None:
    dialect = dialects.get(name)
    assert dialect.name == name
    for path in dialect.paths:
        assert detect(path=path) is dialect
    for subprotocol in dialect.subprotocols:
        assert detect(subprotocol=subprotocol) is dialect


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown dialect 'nonesuch'; there are .*asterisk"):
        dialects.get("nonesuch")


@pytest.mark.parametrize("message", [None, b"", b"\x00" * 320, "", "hello", "{}", "[1]", '{"event":"start"}'])
def test_what_tells_nothing_is_nobody_s(message: str | bytes | None) -> None:
    assert detect(message) is None
