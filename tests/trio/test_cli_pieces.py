"""Parts of the command line on their own: lines to paste, conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from callstream_trio.admission import Auth, Basic, HeaderToken, QueryToken
from callstream_trio.cli.asserts import Condition
from callstream_trio.cli.paste import asterisk_lines, url_of, yeastar_lines
from callstream_trio.report import Spread, Summary
from callstream_trio.settings import Settings


def lines(*auth: QueryToken | HeaderToken | Basic, shows: bool = True, **settings: object) -> list[str]:
    return asterisk_lines(Settings(**settings), ("127.0.0.1", 8787), auth, shows_secrets=shows)[0]  # type: ignore[arg-type]


def test_a_secret_in_the_url_is_quoted() -> None:
    assert "uri = ws://127.0.0.1:8787/asterisk?key=a%26b%3Bc" in lines(QueryToken("key", "a&b;c"))


def test_a_password_stands_in_its_section_and_a_semicolon_begins_no_comment() -> None:
    assert lines(Basic("pbx", "a;b"))[-2:] == ["username = pbx", "password = a\\;b"]


def test_secrets_are_shown_to_people_only() -> None:
    for auth in (QueryToken("key", "hunter2"), Basic("pbx", "hunter2")):
        assert "hunter2" in "\n".join(lines(auth))
        assert "hunter2" not in "\n".join(lines(auth, shows=False))


def test_a_header_is_passed_over_for_what_asterisk_can_send() -> None:
    assert "?key=x" in lines(HeaderToken("authorization", "y"), QueryToken("key", "x"))[2]


def test_tls_is_switched_on_in_the_section() -> None:
    assert "tls_enabled = yes" in lines(tls_cert=Path("x"))
    assert "uri = wss://127.0.0.1:8787/asterisk" in lines(tls_cert=Path("x"))


def test_urls() -> None:
    assert url_of(("::1", 80), is_secure=False) == "ws://[::1]:80"
    assert "0.0.0.0" not in url_of(("0.0.0.0", 80), is_secure=False)


SPREAD = Spread(p50=0.1, p95=0.2, p99=0.3, max=0.4)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("first_audio.p95<800ms", None),
        ("first_audio.p50 <= 0.1s", None),
        ("first_audio.max<400ms", "first_audio.max<400ms: it is 400.0 ms"),
        ("set_up.p99<1s", "set_up.p99<1s: nothing was measured"),
        ("calls==0", None),
        ("gaps>=1", "gaps>=1: it is 0"),
        ("failed > 0", "failed > 0: it is 0"),
    ],
)
def test_conditions(text: str, failure: str | None) -> None:
    summary = attrs.evolve(Summary.of([]), first_audio=SPREAD)
    assert Condition.parse(text).failure(summary) == failure


# What to enter into a Yeastar PBX


@pytest.mark.parametrize(
    ("auth", "shows", "secret"),
    [
        ((), True, []),
        ((QueryToken("token", "s"),), True, []),
        ((QueryToken("token", "s"), HeaderToken("X-Tap", "Bearer s")), True, ["X-Tap", "Bearer s"]),
        ((HeaderToken("X-Tap", "s"),), False, ["X-Tap", "SECRET"]),
        ((Basic("pbx", "pw"),), True, ["Authorization", "Basic cGJ4OnB3"]),
    ],
)
def test_what_a_yeastar_pbx_is_told(auth: Sequence[Auth], shows: bool, secret: list[str]) -> None:
    entries = yeastar_lines(Settings(yeastar_rate=16000), ("127.0.0.1", 8787), auth, shows_secrets=shows)
    address, *told, rate = (entry.partition(": ")[2] for entry in entries)
    assert (address, told, rate) == ("ws://127.0.0.1:8787/yeastar", secret, "16 kHz")
