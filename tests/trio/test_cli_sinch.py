"""The command line as Sinch, and in front of it."""

from __future__ import annotations

import json
import subprocess

import pytest

from callstream_trio.admission import Auth, HeaderToken, QueryToken
from callstream_trio.cli.paste import sinch_lines
from callstream_trio.settings import Settings
from tests.trio.test_cli import COMMAND, NOBODY, run, serving


@pytest.mark.slow
def test_answered_calls_are_echoed() -> None:
    with serving("echo") as url:
        stream = url.replace("/asterisk", "/sinch")
        wanted = [
            "--as",
            "sinch",
            "--codec",
            "slin24",
            "--calls",
            "3",
            "--duration",
            "0.6",
            "--variables",
            "tenant=blue",
        ]
        command = [*COMMAND, "call", stream, *wanted, "--json-report"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert (summary["ok"], summary["frames_sent"], summary["echo_intact"]) == (3, 90, 90)
    assert (summary["echo_lost"], summary["misbehaved"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--codec", "ulaw"], "linear audio, not ulaw; choose slin"),
        (["--codec", "nonsense"], "nonsense"),
        (["--dtmf", "1", "--passthrough"], "no digits; leave --dtmf, --passthrough out"),
    ],
)
def test_what_sinch_cannot_do(arguments: list[str], sentence: str) -> None:
    result = run("call", NOBODY, "--as", "sinch", *arguments)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())


@pytest.mark.parametrize(("shows", "secret"), [(True, "hunter2"), (False, "SECRET")])
def test_what_sinch_is_answered(shows: bool, secret: str) -> None:
    auths: list[Auth] = [HeaderToken("X-Key", "unseen"), QueryToken("token", "hunter2")]
    answer = "\n".join(sinch_lines(Settings(), ("127.0.0.1", 8787), auths, shows_secrets=shows))
    assert json.loads(answer)["action"] == {
        "name": "connectStream",
        "destination": {"type": "Websocket", "endpoint": f"ws://127.0.0.1:8787/sinch?token={secret}"},
        "streamingOptions": {"version": 1, "sampleRate": 16000},
    }
    assert "unseen" not in answer
