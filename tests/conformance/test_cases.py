"""Every numbered case of a protocol that we claim to keep has a test of its number."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

TESTS = Path(__file__).parent.parent


@attrs.frozen
class Claim:
    """Cases that we keep: each has a test `test_<letter><number>_…` in one of the files."""

    name: str
    letter: str
    numbers: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def cases(self) -> list[str]:
        """The beginning of each test's name."""
        return [f"test_{self.letter}{number}_" for number in self.numbers]


def numbers(last: int, width: int = 1, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the numbers from 1 to the last, and more."""
    return (*(f"{number:0{width}}" for number in range(1, last + 1)), *more)


ASTERISK = ("dialects/test_asterisk*.py", "trio/test_*.py", "core/test_*.py")
JAMBONZ_AUDIO = ("dialects/test_jambonz*.py", "jambonz/test_*.py")
CLAIMS = (
    Claim("asterisk, the driver", "d", numbers(58, 2), ASTERISK),
    Claim("asterisk, the application", "a", numbers(27, 2), ASTERISK),
    Claim("jambonz, the platform's control", "c", numbers(64), ("jambonz/test_platform_*.py",)),
    Claim("jambonz, the application's control", "p", numbers(20, more=("12a",)), ("jambonz/test_app_*.py",)),
    Claim("jambonz, audio", "a", numbers(40), JAMBONZ_AUDIO),
)


@cache
def named_in(pattern: str) -> list[str]:
    """Return the names of all tests in the files; a test that is skipped or expected to fail is none."""
    return [name for path in sorted(TESTS.glob(pattern)) for name in _tests_of(ast.parse(path.read_text("utf-8")))]


def _tests_of(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
            if not any(word in marks for word in ("mark.skip", "mark.xfail")):
                yield node.name


def missing(claim: Claim) -> list[str]:
    """Return the cases that have no test."""
    found = [name for pattern in claim.files for name in named_in(pattern)]
    return [case for case in claim.cases if not any(name.startswith(case) for name in found)]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_case_has_a_test(claim: Claim) -> None:
    assert missing(claim) == []


def test_a_case_without_a_test_is_seen() -> None:
    claim = Claim("one too many", "c", numbers(65), ("jambonz/test_platform_*.py",))
    assert missing(claim) == ["test_c65_"]
    assert missing(attrs.evolve(claim, files=("jambonz/nothing_*.py",))) == claim.cases


def test_a_test_that_does_not_run_is_none() -> None:
    source = "@pytest.mark.skip\ndef test_c1_x(): ...\n@pytest.mark.xfail(strict=True)\nasync def test_c2_x(): ...\n"
    assert list(_tests_of(ast.parse(source + "@given(x)\ndef test_c3_x(): ...\ndef other(): ...\n"))) == ["test_c3_x"]
