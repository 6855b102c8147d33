"""The command line: what it shows, what it answers to mistakes, and its exit codes."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
import trustme
from click.testing import CliRunner, Result

from callstream_trio.cli import main
from callstream_trio.cli.common import set_up_logs

COMMAND = [sys.executable, "-W", "error", "-m", "callstream_trio"]
NOBODY = "ws://127.0.0.1:9/asterisk"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("CALLSTREAM_"):
            monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env or {}).invoke(main, list(arguments), prog_name="callstream")


@contextmanager
def serving(*arguments: str, cwd: Path | None = None) -> Iterator[str]:
    """Run `callstream serve` on a free port; give the URL for calls."""
    server = subprocess.Popen(
        [*COMMAND, "serve", *arguments, "--bind", "127.0.0.1:0", "--json-logs"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    assert server.stderr is not None
    with server, server.stderr:
        try:
            line = json.loads(server.stderr.readline())
            assert line["event"] == "listening"
            yield f"ws://{line['addresses'][0]}/asterisk"
        finally:
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
            assert server.wait(10) == 0


# Two processes


@pytest.mark.slow
def test_twenty_calls_to_an_echo_lose_nothing() -> None:
    with serving() as url:
        wanted = ["--calls", "20", "--duration", "2", "--json-report", "--assert", "first_audio.p95<800ms"]
        done = subprocess.run([*COMMAND, "call", url, *wanted], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert (summary["calls"], summary["ok"], summary["echoes"], summary["echo_lost"]) == (20, 20, 20, 0)
    assert summary["frames_sent"] == summary["echo_intact"] == summary["frames_played"] == 2000


@pytest.mark.slow
def test_an_application_that_loses_frames_gives_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "sieve.py").write_text(
        """
from callstream_core.commands import SendAudio

class Sieve:
    count = 0
    def take(self, audio, now):
        self.count += 1
        return [SendAudio(audio.data)] if self.count % 7 else []

async def leak(call):
    call.connect(Sieve())
    await call.wait_ended()
"""
    )
    with serving("sieve:leak", cwd=tmp_path) as url:
        result = run("call", url, "--calls", "2", "--duration", "1", "--codec", "ulaw")
    assert result.exit_code == 1
    assert "2 calls: 0 ok, 2 failed" in result.output
    assert "14 lost, 0 damaged" in result.output
    assert "2 calls: the echo lost frames" in result.output
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_serve_tells_what_to_paste_and_a_signal_stops_it() -> None:
    server = subprocess.Popen([*COMMAND, "serve", "--bind", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    with server, server.stderr:
        screen = ""
        while "Ctrl+C" not in screen:
            screen += server.stderr.readline()
        server.send_signal(signal.SIGINT)
        rest = server.stderr.read()
        assert server.wait(5) == 0
    found = re.search(r"callstream  echo  ws://127\.0\.0\.1:(\d+)\n", screen)
    assert found
    assert f"uri = ws://127.0.0.1:{found[1]}/asterisk\n" in screen
    assert "same => n,Dial(WebSocket/callstream/c(slin16)f(json))\n" in screen
    assert f"callstream call ws://127.0.0.1:{found[1]}/asterisk\n" in screen
    assert "stopped" in rest


@pytest.mark.slow
def test_a_second_signal_quits_at_once() -> None:
    server = subprocess.Popen(
        [*COMMAND, "serve", "--bind", "127.0.0.1:0", "--json-logs"], stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    with server, server.stderr:
        url = f"ws://{json.loads(server.stderr.readline())['addresses'][0]}/asterisk"
        caller = subprocess.Popen([*COMMAND, "call", url, "--duration", "20"], stdout=subprocess.PIPE, text=True)
        with caller:
            assert json.loads(server.stderr.readline())["event"] == "call"
            start = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert "running calls may end" in server.stderr.readline()
            server.send_signal(signal.SIGTERM)
            assert server.wait(5) == -signal.SIGTERM
            assert time.monotonic() - start < 3
            assert caller.stdout is not None
            assert "the connection was lost" in caller.stdout.read()
            assert caller.wait(5) == 1


@pytest.mark.slow
def test_an_interrupted_run_hangs_up_and_tells_what_it_has() -> None:
    with serving() as url:
        caller = subprocess.Popen([*COMMAND, "call", url, "--duration", "20", "--json-report"], stdout=subprocess.PIPE)
        with caller:
            wait_for_call(url)
            time.sleep(0.5)
            caller.send_signal(signal.SIGINT)
            result = json.load(caller.stdout)  # type: ignore[arg-type]
            assert caller.wait(5) == 1
    report = result["calls"][0]
    assert report["failures"] == ["the call was interrupted"]
    assert report["close_code"] == 1000
    assert report["echo_intact"] > 0


def wait_for_call(url: str) -> None:
    """Wait until the server has a call."""
    metrics = url.replace("ws://", "http://").rpartition("/")[0] + "/metrics"
    deadline = time.monotonic() + 20
    while b"\ncallstream_calls 1.0" not in urllib.request.urlopen(metrics, timeout=5).read():
        assert time.monotonic() < deadline, "no call came"
        time.sleep(0.05)


@pytest.mark.slow
def test_over_tls_with_a_password(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with serving("--tls-cert", str(tmp_path / "server.pem"), "--auth", "basic:pbx:se cret") as url:
        url = url.replace("ws://", "wss://pbx:se%20cret@")
        common = ("--duration", "0.2", "--json-report")
        assert run("call", url, *common, "--cacert", str(tmp_path / "ca.pem")).exit_code == 0
        assert run("call", url, *common, "--insecure").exit_code == 0
        distrust = run("call", url, *common)
        assert distrust.exit_code == 1
        assert "CERTIFICATE_VERIFY_FAILED" in distrust.output
        wrong = run("call", url.replace("se%20cret", "guess"), *common, "--insecure")
        assert wrong.exit_code == 1
        assert "answered 401" in wrong.output
        assert "guess" not in wrong.output


def test_what_was_heard_is_recorded_and_digits_are_pressed(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    with serving() as url:
        result = run("call", url, "--duration", "0.5", "--record", str(path), "--generation", "g1", "--dtmf", "1")
    assert result.exit_code == 0, result.output
    assert "1 call, ok" in result.output
    with wave.open(str(path)) as sound:
        assert sound.getnframes() / 16000 == pytest.approx(1.0, abs=0.6)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["call", "example.com"], "is not a WebSocket URL; write it like ws://"),
        (["call", "http://example.com/"], "is not a WebSocket URL"),
        (["call", "ws://:80/"], "is not a WebSocket URL"),
        (["call", "ws://a:99999/"], "is not a WebSocket URL"),
        (["call", NOBODY, "--as", "asterix"], "did you mean 'asterisk'?"),
        (["call", NOBODY, "--codec", "sln16"], "did you mean 'slin16'?"),
        (["call", NOBODY, "--codec", "zzz"], "there are ulaw, alaw"),
        (["call", NOBODY, "--dtmf", "1x"], "there is no key 'x' on a telephone"),
        (["call", NOBODY, "--generation", "G1", "--json"], "generation G1 speaks plain text only"),
        (["call", NOBODY, "--generation", "G9"], "there are G1, "),
        (["call", NOBODY, "--generation", "G3", "--direction", "in"], "knows no media direction"),
        (["call", NOBODY, "--play", "missing.wav"], "missing.wav cannot be played"),
        (["call", NOBODY, "--play", "x.wav", "--codec", "opus"], "no file can be played with opus"),
        (["call", NOBODY, "--record", "x.wav", "--codec", "opus"], "opus cannot be recorded"),
        (["call", NOBODY, "--record", "no/such/dir/x.wav"], "create it first"),
        (["call", NOBODY, "--variables", "LANGUAGE"], "write it like --variables LANGUAGE=en"),
        (["call", NOBODY, "--assert", "speed>3"], "'speed' is not measured"),
        (["call", NOBODY, "--assert", "fast"], "is no condition"),
        (["call", NOBODY, "--assert", "lateness<3ms"], "needs a statistic and a unit"),
        (["call", NOBODY, "--assert", "gaps<3ms"], "gaps is a plain count"),
        (["call", NOBODY, "--insecure"], "are for wss:// URLs"),
        (["call", "wss://127.0.0.1:9/", "--cacert", "missing.pem"], "cannot be read as certificates"),
        (["call", NOBODY, "--calls", "0"], "invalid value for '--calls': 0 is not in the range"),
        (["call", NOBODY, "--calls", "100000000"], "see callstream call --help"),
        (["serve", "play"], "callstream serve play FILE"),
        (["serve", "record"], "callstream serve record DIR"),
        (["serve", "play", "missing.wav"], "there is no file missing.wav"),
        (["serve", "record", "/proc/nowhere"], "cannot be used for recordings"),
        (["serve", "echo", "x"], "echo takes nothing behind it"),
        (["serve", "bridge", "x"], "bridge takes nothing behind it"),
        (["serve", "sing"], "there is no application 'sing'"),
        (["serve", "no_such_module:x"], "cannot be imported"),
        (["serve", "json:nothing"], "has no 'nothing'"),
        (["serve", "--auth", "hunter2"], "use query:NAME=SECRET, header:NAME=SECRET or basic:USER:PASSWORD"),
        (["serve", "--bind", "nowhere"], "use HOST:PORT"),
        (["serve", "--bind", "192.0.2.1:80"], "choose another address with --bind"),
        (["serve", "--tls-key", "x"], "name the certificate"),
        (["serve", "--tls-cert", "missing.pem"], "missing.pem cannot be read"),
        (["serve", "--tls-cert", __file__], "is not usable as a certificate"),
        (["serve", "--config", "missing.toml"], "missing.toml cannot be read"),
        (["serve", "--max-calls", "many"], "max_calls is a number"),
        (["sing"], "callstream: no such command 'sing'; see callstream --help"),
        (["call"], "callstream: missing argument 'URL'; see callstream call --help"),
        (["serve", "--bnd", "x"], "callstream: no such option '--bnd'"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(arguments: list[str], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert "hunter2" not in result.output


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--bind", f"127.0.0.1:{port}")
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another" in result.output


def test_an_unknown_key_of_the_environment_s_file(tmp_path: Path) -> None:
    path = tmp_path / "callstream.toml"
    path.write_text("max_cals = 3")
    result = run("serve", env={"CALLSTREAM_CONFIG": str(path)})
    assert result.exit_code == 2
    assert "did you mean 'max_calls'?" in result.output


def test_nobody_answers() -> None:
    result = run("call", NOBODY, "--calls", "2")
    assert result.exit_code == 1
    assert "2 calls: 127.0.0.1:9 cannot be reached: Connection refused" in result.output


def test_what_a_peer_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    set_up_logs("info", json=False)
    structlog.get_logger().info("call", call="a\x1b[31mb\nc")
    assert "a\\x1b[31mb\\nc" in capsys.readouterr().err


# Tables and checks


def test_codecs() -> None:
    result = run("codecs")
    assert result.exit_code == 0
    assert re.search(r"slin16 +16 kHz +640 B +20 ms +played and recorded", result.output)
    assert re.search(r"opus +48 kHz +packet +20 ms +carried as it is", result.output)


def test_dialects() -> None:
    result = run("dialects")
    assert result.exit_code == 0
    assert re.search(r"asterisk +/asterisk, / +media", result.output)


def test_help_and_version() -> None:
    assert "callstream 0." in run("--version").output
    for command in ([], ["serve"], ["call"], ["check"], ["codecs"], ["dialects"]):
        assert "Usage: callstream" in run(*command, "--help").output


def test_check_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "callstream.toml"
    path.write_text('bind = ["127.0.0.1:0"]\nmax_calls = 10')
    result = run("check", "--config", str(path))
    assert result.exit_code == 0, result.output
    assert result.output.count("✓") == 4


def test_check_finds_everything(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    path = tmp_path / "callstream.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path.write_text(
            f'app = "play missing.wav"\nbind = ["127.0.0.1:{port}", "0.0.0.0:0", "x"]\n'
            f'tls_cert = "{tmp_path}/server.pem"\nmax_calls = 100000000'
        )
        result = run("check", env={"CALLSTREAM_CONFIG": str(path), "CALLSTREAM_BINDS": "x"})
    assert result.exit_code == 1
    for finding in (
        "there is no file missing.wav",
        f"127.0.0.1:{port}: Address already in use",
        "'x' is not an address",
        "has expired",
        "fewer than max_calls",
        "CALLSTREAM_BINDS is set and means nothing; did you mean 'CALLSTREAM_BIND'?",
        "anybody who reaches the port may call",
    ):
        assert finding in result.output


def test_check_of_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "callstream.toml"
    path.write_text("=")
    result = run("check", "--config", str(path))
    assert result.exit_code == 1
    assert "✗" in result.output
