"""The command line as a Yeastar PBX, and in front of one."""

from __future__ import annotations

import json
import subprocess
import wave
from pathlib import Path

import pytest

from tests.trio.test_cli import COMMAND, NOBODY, run, serving


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "rate"), [("slin", 8000), ("slin16", 16000)])
def test_tapped_calls_are_recorded_party_by_party(codec: str, rate: int, tmp_path: Path) -> None:
    options = ["--auth", "header:X-Tap-Key=Bearer abc", "--yeastar-rate", str(rate)]
    with serving("record", str(tmp_path), *options) as url:
        tap = url.replace("/asterisk", "/yeastar")
        wanted = ["--as", "yeastar", "--codec", codec, "--calls", "2", "--parties", "3", "--duration", "0.8"]
        secret = ["--header", "X-Tap-Key=Bearer abc"]
        command = [*COMMAND, "call", tap, *wanted, *secret, "--json-report"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        refused = run("call", tap, *wanted)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)["summary"]
    frames = round(0.8 * rate / 640)
    assert (summary["ok"], summary["frames_sent"], summary["misbehaved"]) == (2, 2 * 3 * frames, 0)
    assert refused.exit_code == 1
    assert "401" in refused.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1700000000.1-001.wav", "1700000000.2-001.wav"]
    for path in tmp_path.iterdir():
        with wave.open(str(path)) as sound:
            assert (sound.getnchannels(), sound.getframerate()) == (3, rate)
            assert sound.getnframes() / rate == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--codec", "ulaw"], "sends slin or slin16, not ulaw"),
        (["--dtmf", "1", "--record", "x.wav"], "nothing else; leave --dtmf, --record out"),
        (["--direction", "in", "--no-answer", "--passthrough"], "leave --no-answer, --passthrough, --direction out"),
        (["--parties", "0"], "0 is not in the range"),
        (["--header", "hunter2"], "write it like --header Secret=s3cr3t"),
        (["--header", "Na me=hunter2"], "write it like --header"),
        (["--header", "Secret=hunter2\r\nX: y"], "write it like --header"),
    ],
)
def test_what_a_yeastar_pbx_cannot_do(arguments: list[str], sentence: str) -> None:
    result = run("call", NOBODY, "--as", "yeastar", *arguments)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())
    assert "hunter2" not in result.output
