"""Typed reading of JSON objects and plain lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core.errors import Malformed
from callstream_core.fields import flag_of, parse_json, parse_object, read_line, text_of, texts_of, whole_of


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a":1}x',
        "NaN",
        "[-Infinity]",
        "1e999",
        '"\\ud800"',
        '{"\\udfff":1}',
        '"\udcff"',
        "01",
        '"\x01"',
        "\ufeff{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 10_000,
    ],
)
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(Malformed, match="not JSON"):
        parse_json(text)


def test_json() -> None:
    assert parse_json(' {"a":[1,2.5,true,null,"ü\\u00fc\\ud83d\\ude00"]}\n') == {"a": [1, 2.5, True, None, "üü😀"]}
    assert parse_json('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize("text", ["[]", "1", '"{}"', "null"])
def test_an_object_is_wanted(text: str) -> None:
    with pytest.raises(Malformed, match="not a JSON object"):
        parse_object(text)


def test_text() -> None:
    fields = {"a": "x", "n": 7, "f": 1.5, "t": True, "z": None, "l": []}
    assert [text_of(fields, key) for key in "anf"] == ["x", "7", "1.5"]
    assert text_of(fields, "missing", "default") == "default"
    for key in ("t", "z", "l", "missing"):
        with pytest.raises(Malformed, match=f"{key} should be text"):
            text_of(fields, key)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (7, 7), ("7", 7), ("007", 7), (10**15 - 1, 10**15 - 1)])
def test_whole_numbers(value: Any, expected: int) -> None:
    assert whole_of({"n": value}, "n") == expected


@pytest.mark.parametrize("value", [-1, 10**15, 1.0, "1.0", "-1", "", " 1", "٣", "²", "9" * 16, True, None, [], {}])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(Malformed, match="n should be a whole number"):
        whole_of({"n": value}, "n")


def test_missing_numbers_and_flags() -> None:
    assert whole_of({}, "n", 3) == 3
    assert flag_of({}, "f") is False
    assert flag_of({}, "f", True) is True


def test_flags() -> None:
    assert [flag_of({"f": value}, "f") for value in (True, False, "true", "false")] == [True, False, True, False]
    others: list[Any] = [1, 0, "True", "", None, [], {}]
    for value in others:
        with pytest.raises(Malformed, match="f should be true or false"):
            flag_of({"f": value}, "f")


def test_texts() -> None:
    assert texts_of({"v": {"a": "x", "b": 1, "c": None, "d": {"e": []}}}, "v") == {
        "a": "x",
        "b": "1",
        "c": "null",
        "d": '{"e": []}',
    }
    assert texts_of({}, "v") == {}
    with pytest.raises(Malformed, match="v should be an object"):
        texts_of({"v": "x"}, "v")


def test_what_is_shown_of_a_value_is_short() -> None:
    with pytest.raises(Malformed) as caught:
        whole_of({"n": "x" * 10_000}, "n")
    assert len(str(caught.value)) < 100


def test_lines() -> None:
    keys = ("one", "two", "three")
    assert read_line("one:1 two:2 three:3", keys) == {"one": "1", "two": "2", "three": "3"}
    assert read_line("one:a b:c two: two three:x three:y", keys) == {
        "one": "a b:c",
        "two": " two",
        "three": "x three:y",
    }
    assert read_line("one: three:", keys) == {"one": "", "three": ""}
    assert read_line("two:2 one:1", keys) == {"one": "1"}
    assert read_line("phone:1", keys) == {}
    assert read_line("", keys) == {}
    assert read_line("one:1", ()) == {}


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(("one", "two", "three")), st.text(st.sampled_from("ab: "))))
def test_lines_come_back(values: dict[str, str]) -> None:
    keys = ("one", "two", "three")
    found = {key: values[key] for key in keys if key in values}
    assert read_line(" ".join(f"{key}:{value}" for key, value in found.items()), keys) == found
