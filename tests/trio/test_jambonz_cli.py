"""The command line as jambonz, and in front of one."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from callstream_trio.admission import Auth, Basic, HeaderToken, QueryToken
from callstream_trio.cli.paste import jambonz_lines
from callstream_trio.settings import BadSettings, Settings, load_settings
from tests.trio.test_cli import COMMAND, NOBODY, run, serving

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


# Calls, in two processes


def call(url: str, *options: str) -> tuple[int, Any]:
    """Run `callstream call --as jambonz`; return its exit code and its report."""
    command = [*COMMAND, "call", url, "--as", "jambonz", *options, "--json-report"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


@contextmanager
def application(code: str) -> Iterator[str]:
    """Run `menu` of some code for jambonz's calls; give the URL."""
    run_it = """
async def main():
    server = Server(None, settings=ServerSettings(jambonz=JambonzSettings(verbs=menu)))
    async with server.listening(["127.0.0.1:0"]):
        print(*server.addresses[0], sep=":", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
"""
    head = "import sys, trio\nfrom callstream_trio import JambonzSettings, Server, ServerSettings\n"
    source = head + code + run_it + "trio.run(main)\n"
    command = [sys.executable, "-W", "error", "-c", source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"ws://{process.stdout.readline().strip()}/jambonz"
        finally:
            process.kill()


EXAMPLE = (Path(__file__).parent.parent.parent / "docs" / "examples" / "jambonz_ivr.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "rates", "sockets"),
    [
        (["--calls", "5", "--rate", "50", "--assert", "acks.p95<2s", "--assert", "audio_sockets==5"], 8000, 5),
        (["--codec", "g722", "--dtmf", "1,2"], 8000, 1),
    ],
)
def test_calls_with_all_their_sockets_lose_nothing(
    options: list[str], rates: int, sockets: int, tmp_path: Path
) -> None:
    path = tmp_path / "heard.wav"
    with serving("--auth", "basic:me:p@ss") as url:
        url = url.replace("/asterisk", "/jambonz").replace("ws://", "ws://me:p%40ss@")
        code, result = call(url, *options, "--duration", "3", "--record", str(path), "--header", "X-A=b")
    summary = result["summary"]
    assert code == 0, result
    assert (summary["echoes"], summary["echo_lost"], summary["echo_damaged"]) == (sockets, 0, 0)
    assert (summary["connections"], summary["audio_sockets"], summary["misbehaved"]) == (sockets, sockets, 0)
    report = result["calls"][0]
    assert report["control"]["acks"]["max"] < 3
    assert report["ended_by"] == "caller"
    assert report["digits_sent"] == (2 if "--dtmf" in options else 0)
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (rates, 1)
        assert sound.getnframes() > 2 * rates


@pytest.mark.slow
def test_a_menu_is_led_by_keys_and_by_a_script(tmp_path: Path) -> None:
    script = tmp_path / "call.toml"
    script.write_text(
        """
[call]
from = "4711"
character_duration = 0.001

[[step]]
on = "gather"
press = "5"

[[step]]
on = "gather"
after = 0.2
drop = true

[[step]]
after = 1.0
press = "0"

[[step]]
on = "dial"
callee = "answers"

[[step]]
after = 0.1
callee = "hangs up"
"""
    )
    with application(EXAMPLE.partition("if __name__")[0]) as url:
        code, result = call(url, "--dtmf", "1", "--duration", "8")
        assert code == 0, result
        report = result["calls"][0]
        assert (report["ended_by"], report["control"]["questions"], report["frames_sent"]) == ("application", 2, 0)
        code, result = call(url, "--script", str(script), "--duration", "8")
        assert code == 0, result
        report = result["calls"][0]
        assert (report["ended_by"], report["close_code"], report["control"]["connections"]) == ("application", 1000, 2)
        shown = run("call", url, "--as", "jambonz", "--dtmf", "1", "--duration", "8", "--calls", "2")
    assert shown.exit_code == 0, shown.output
    assert "2 calls, all ok" in shown.output
    assert "2 opened, 4 acks wanted, 0 commands" in shown.output
    assert "acks  " in shown.output
    assert "frames" not in shown.output


@pytest.mark.slow
def test_an_application_that_fails_gives_exit_code_1(tmp_path: Path) -> None:
    with application("async def menu(control):\n    raise RuntimeError('no')\n") as url:
        shown = run("call", url, "--as", "jambonz", "--duration", "5")
    assert shown.exit_code == 1
    assert "the call was refused with 480: Temporarily Unavailable" in shown.output
    script = tmp_path / "call.toml"
    script.write_text("[[step]]\non = 'dial'\ncallee = 'answers'\n")
    with serving() as url:
        shown = run(
            "call",
            url.replace("/asterisk", "/jambonz"),
            "--as",
            "jambonz",
            "--duration",
            "0.3",
            "--script",
            str(script),
        )
        wrong = run("call", url, "--as", "jambonz", "--duration", "0.3")
    assert shown.exit_code == 1
    assert "the script did not come to its end: step 1 waits for dial" in shown.output
    assert wrong.exit_code == 1
    assert "the server answered 400 to the upgrade" in wrong.output


@pytest.mark.slow
@pytest.mark.parametrize("codec", [(), ("--codec", "slin24")])
def test_the_audio_socket_alone(codec: tuple[str, ...]) -> None:
    with serving("--auth", "query:key=abc") as url:
        url = url.replace("/asterisk", "/jambonz/audio?key=abc")
        code, result = call(url, "--audio-only", *codec, "--duration", "0.6", "--calls", "2")
    assert code == 0, result
    summary = result["summary"]
    assert (summary["echo_intact"], summary["connections"]) == (60, 0)
    assert result["calls"][0]["control"] is None


def test_nobody_answers_jambonz() -> None:
    result = run("call", NOBODY + "#rc=1", "--as", "jambonz")
    assert result.exit_code == 1
    assert "127.0.0.1:9 cannot be reached: Connection refused" in result.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--variables", "A=1"], "a jambonz call is described by its script ([call])"),
        (["--no-answer", "--passthrough", "--direction", "in"], "leave --no-answer, --passthrough, --direction out"),
        (["--generation", "G5", "--plain"], "leave --generation, --json/--plain out"),
        (["--codec", "slin12"], "no telephone of jambonz speaks slin12; choose ulaw, alaw, g722 or opus"),
        (["--codec", "zzz"], "there are ulaw, alaw"),
        (["--dtmf", "x"], "there is no key 'x' on a telephone"),
        (["--script", "missing.toml"], "missing.toml cannot be read: No such file"),
        (["--play", "missing.wav"], "missing.wav cannot be played"),
        (["--record", "no/such/dir/x.wav"], "create it first"),
        (["--audio-only", "--script", "x.toml"], "a jambonz audio socket alone has no verbs"),
        (["--audio-only", "--generation", "G1"], "leave --generation out"),
        (["--audio-only", "--codec", "ulaw"], "jambonz streams linear audio, not ulaw; choose slin, slin16"),
        (["--audio-only", "--codec", "slin44"], "jambonz streams linear audio, not slin44"),
        (["--as", "asterisk", "--script", "x.toml"], "that is for jambonz calls; leave --script out"),
        (["--as", "sinch", "--audio-only"], "that is for jambonz calls; leave --audio-only out"),
    ],
)
def test_what_jambonz_cannot_do(options: list[str], sentence: str) -> None:
    result = run("call", NOBODY, "--as", "jambonz", *options)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())


def test_a_script_s_mistakes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "call.toml"
    path.write_text("[[step]]\npres = '1'\n")
    result = run("call", NOBODY, "--as", "jambonz", "--script", str(path))
    assert result.exit_code == 2
    assert f"{path}: step 1 has an unknown key 'pres'; did you mean 'press'?" in result.output
