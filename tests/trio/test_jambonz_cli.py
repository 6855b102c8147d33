"""What the command line tells of jambonz."""

from __future__ import annotations

import pytest

from callstream_trio.admission import Auth, Basic, HeaderToken, QueryToken
from callstream_trio.cli.paste import jambonz_lines
from callstream_trio.settings import BadSettings, Settings, load_settings

ADDRESS = ("192.0.2.7", 8787)


@pytest.mark.parametrize("is_shown", [True, False])
@pytest.mark.parametrize(
    ("auth", "query", "rest"),
    [
        ([], "", []),
        ([HeaderToken("X-Key", "s3cr3t")], "", []),
        ([HeaderToken("X-Key", "s3cr3t"), QueryToken("key", "s3cr3t")], "?key=s3cr3t", []),
        ([Basic("me", "s3cr3t")], "", ["Username: me", "Password: s3cr3t"]),
    ],
)
@pytest.mark.parametrize("public", ["", "wss://calls.example.org/"])
def test_what_to_enter_into_jambonz(auth: list[Auth], query: str, rest: list[str], public: str, is_shown: bool) -> None:
    lines = jambonz_lines(Settings(jambonz_url=public), ADDRESS, auth, shows_secrets=is_shown)
    base = public.rstrip("/") or "ws://192.0.2.7:8787"
    wanted = [f"Calling webhook: {base}/jambonz{query}", *rest, f"Call status webhook: {base}/jambonz{query}"]
    assert lines == [line if is_shown else line.replace("s3cr3t", "SECRET") for line in wanted]


def test_the_public_address_is_a_setting() -> None:
    settings = load_settings({}, {"CALLSTREAM_JAMBONZ_URL": "wss://calls.example.org"}, None)
    assert settings.server.jambonz.public_url == "wss://calls.example.org"
    assert Settings().server.jambonz.public_url is None
    with pytest.raises(BadSettings, match="jambonz_url is like wss"):
        load_settings({"jambonz_url": "calls.example.org"}, {}, None)
