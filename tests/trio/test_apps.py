"""The built-in handlers, heard from the other end."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import trio
from structlog.typing import EventDict

from callstream_core.audio import linear
from callstream_core.codecs import to_linear
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.events import AudioReceived
from callstream_trio import apps
from callstream_trio.apps.recording import _MAX_WAITING, _Buffer, _reserve
from callstream_trio.caller import Caller, dial
from callstream_trio.voice import make_voice, tone
from tests.trio.serving import serving

SLIN16 = AsteriskProfile(format="slin16", syntax=Syntax.JSON)


def write(path: Path, pcm: bytes, rate: int) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(pcm)
    return path


def read(path: Path) -> tuple[int, npt.NDArray[np.int16]]:
    with wave.open(str(path)) as sound:
        return sound.getframerate(), np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


def pitch(pcm: bytes, rate: int) -> float:
    """Return the strongest frequency."""
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, "<i2")))
    return float(np.argmax(spectrum) * rate / (len(pcm) / 2))


async def heard_until_the_end(caller: Caller) -> bytes:
    with trio.fail_after(10):
        await caller.wait_ended()
    return bytes(caller.heard_audio)


async def test_a_file_is_played_once_and_the_app_hangs_up(tmp_path: Path) -> None:
    audio = linear(16000)
    path = write(tmp_path / "hello.wav", tone(audio)[: 640 * 20 + 100], 16000)
    async with serving(apps.play(path)) as url, dial(url, profile=SLIN16) as caller:
        heard = await heard_until_the_end(caller)
    assert heard == tone(audio)[: 640 * 20 + 100] + bytes(540)
    assert caller.ended is not None
    assert caller.ended.code == 1000


async def test_a_file_is_converted_to_the_call(tmp_path: Path) -> None:
    path = write(tmp_path / "hello.wav", tone(linear(48000))[:48000], 48000)
    async with serving(apps.play(path)) as url, dial(url, profile=AsteriskProfile(format="alaw")) as caller:
        heard = await heard_until_the_end(caller)
    assert len(heard) / 8000 == pytest.approx(0.5, abs=0.021)
    assert pitch(to_linear(heard, SLIN16_ALAW), 8000) == pytest.approx(440, abs=3)


SLIN16_ALAW = AsteriskProfile(format="alaw").audio


async def test_the_call_is_answered_by_every_app(tmp_path: Path) -> None:
    profile = AsteriskProfile(auto_answer=False)
    path = write(tmp_path / "hello.wav", tone(linear(8000))[:3200], 8000)
    for app in (apps.echo, apps.bridge(), apps.tone, apps.play(path), apps.record(tmp_path)):
        async with serving(app) as url, dial(url, profile=profile) as caller:
            with trio.fail_after(5):
                await anext(caller)
            assert caller.is_answered


async def test_a_tone_until_the_caller_hangs_up() -> None:
    async with serving(apps.tone) as url, dial(url, profile=SLIN16) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(640 * 15)
        caller.hang_up()
    assert pitch(bytes(caller.heard_audio[: 640 * 15]), 16000) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("codec", ["g722", "opus"])
async def test_a_codec_that_no_sound_can_be_made_for(codec: str, tmp_path: Path, logs: list[EventDict]) -> None:
    profile = AsteriskProfile(format=codec)
    path = write(tmp_path / "hello.wav", bytes(3200), 8000)
    for app in (apps.tone, apps.play(path), apps.record(tmp_path / "calls")):
        (tmp_path / "calls").mkdir(exist_ok=True)
        async with serving(app) as url, dial(url, profile=profile) as caller:
            assert await heard_until_the_end(caller) == b""
        assert caller.ended is not None
        assert caller.ended.code == 1000
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) == 3
    assert all(entry["event"].startswith("hanging up: ") and entry["call"] == "1700000000.1" for entry in warnings)
    assert not [entry for entry in logs if entry["log_level"] == "error"]
    assert list_of(tmp_path / "calls") == []


def list_of(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_each_call_is_recorded_to_a_file_of_its_own(tmp_path: Path) -> None:
    said = make_voice(SLIN16.audio).frames
    async with serving(apps.record(tmp_path)) as url:
        for start in (0, 10):
            async with dial(url, profile=SLIN16) as caller:
                caller.say_audio(b"".join(said[start : start + 10]))
                await trio.sleep(0.3)
    assert list_of(tmp_path) == ["1700000000.1-001.wav", "1700000000.1-002.wav"]
    for number, start in ((1, 0), (2, 10)):
        rate, samples = read(tmp_path / f"1700000000.1-{number:03}.wav")
        assert rate == 16000
        assert samples.tobytes() == b"".join(said[start : start + 10])


@pytest.mark.slow
async def test_a_recording_grows_while_the_call_lasts(tmp_path: Path) -> None:
    async with serving(apps.record(tmp_path)) as url, dial(url, profile=SLIN16) as caller:
        caller.say_audio(b"".join(make_voice(SLIN16.audio).frames[:60]))
        await trio.sleep(1.5)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 16000  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("call_id", "name"),
    [
        ("1700000000.1", "1700000000.1-001.wav"),
        ("../../etc/passwd", "etc_passwd-001.wav"),
        ("a/b\\c d\0\n:*é", "a_b_c_d-001.wav"),
        ("", "call-001.wav"),
        ("..", "call-001.wav"),
        ("x" * 500, "x" * 80 + "-001.wav"),
    ],
)
def test_names_of_recordings_are_safe(tmp_path: Path, call_id: str, name: str) -> None:
    assert _reserve(tmp_path, call_id) == tmp_path / name
    assert _reserve(tmp_path, call_id) == tmp_path / name.replace("001", "002")


def test_a_recorder_does_not_grow_without_end() -> None:
    buffer = _Buffer()
    piece = AudioReceived(bytes(1024))
    for _ in range(_MAX_WAITING // 1024 + 3):
        buffer.take(piece, 0.0)
    assert buffer.dropped == 3 * 1024
    assert sum(len(data) for _, _, data in buffer.empty()) == _MAX_WAITING
    buffer.take(piece, 1.0)
    assert buffer.empty() == [("caller", 1.0, bytes(1024))]


# Handlers by name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty working directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_a_handler_of_ones_own(here: Path) -> None:
    (here / "shop_calls.py").write_text("async def greet(call): ...\nclass Office:\n    greet = staticmethod(greet)\n")
    assert apps.load("shop_calls:greet").__name__ == "greet"
    assert apps.load("shop_calls:Office.greet") is apps.load("shop_calls:greet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "use MODULE:HANDLER"),
        (":x", "use MODULE:HANDLER"),
        ("x:", "use MODULE:HANDLER"),
        ("no_such_module:x", "cannot be imported: No module named"),
        ("bad_calls:x", "fails when it is imported: ZeroDivisionError"),
        ("good_calls:nothing", "has no 'nothing'"),
        ("good_calls:number", "is no function"),
    ],
)
def test_handlers_that_are_none(here: Path, name: str, message: str) -> None:
    (here / "bad_calls.py").write_text("1 / 0")
    (here / "good_calls.py").write_text("number = 1")
    with pytest.raises(ValueError, match=message):
        apps.load(name)
