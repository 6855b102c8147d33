"""Keys both ways, and marks."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    Frame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    StartFrame,
)

from callstream_core import events as e
from callstream_pipecat import CallstreamMarkFrame, CallstreamMarkReachedFrame
from tests.asyncio.simulation import simulated, until
from tests.pipecat.bots import FRAME, Script, phoning, tone

ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477)
KEYS = "123456789*0#"


def key_of(audio: bytes, rate: int) -> str | None:
    """Return the key whose two tones are the strongest, as a telephone exchange would find it."""
    samples = np.frombuffer(audio, "<i2").astype(float)
    times = np.arange(len(samples)) / rate

    def strength(pitch: int) -> float:
        return float(abs(np.exp(-2j * np.pi * pitch * times) @ samples))

    row, column = (max(range(len(pitches)), key=lambda i: strength(pitches[i])) for pitches in (ROWS, COLUMNS))
    together = strength(ROWS[row]) ** 2 + strength(COLUMNS[column]) ** 2
    return KEYS[3 * row + column] if together > 0.5 * len(samples) * float(samples @ samples) / 2 else None


@simulated
async def test_all_keys_of_the_caller() -> None:
    script = Script()
    async with phoning(script) as phone:
        for key in "0123456789*#ABCD":
            phone.platform.say(e.DigitReceived(key))
        await until(lambda: len(script.found(InputTransportMessageFrame)) == 5)
    assert [frame.button.value for frame in script.found(InputDTMFFrame)] == list("0123456789*#")
    messages = [frame.message for frame in script.found(InputTransportMessageFrame)][1:]
    assert messages == [{"event": "digit", "digit": key} for key in "ABCD"]


@pytest.mark.parametrize("kind", [OutputDTMFFrame, OutputDTMFUrgentFrame])
@pytest.mark.parametrize("keys", ["5", "1*0#"])
@simulated
async def test_keys_towards_the_caller_are_tones(keys: str, kind: type[Frame]) -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.push_frame(kind(buttons=[KeypadEntry(key) for key in keys]))

    async with phoning(Script(react)) as phone:
        await phone.platform.wait_played(1)
        await until(lambda: phone.transport.call.backlog == 0)
    # Tones of 50 ms, found where there is nothing else for 40.
    audio, window = phone.platform.audio, 2 * 16000 * 40 // 1000
    found = [key_of(audio[at : at + window], 16000) for at in range(0, len(audio) - window, window // 4)]
    pressed = [key for key, before in zip(found, [None, *found], strict=False) if key is not None and key != before]
    assert "".join(pressed) == keys


@simulated
async def test_a_mark_is_reached_when_the_audio_before_it_was_heard() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.murmur(tone(0.2), 16000)
            await script.push_frame(CallstreamMarkFrame(mark="first"))
            await script.murmur(tone(0.4), 16000)
            await script.push_frame(CallstreamMarkFrame(mark="second"))

    script = Script(react)
    async with phoning(script) as phone:
        await until(lambda: len(script.found(CallstreamMarkReachedFrame)) == 2)
        frames = phone.platform.frames
    reached = script.found(CallstreamMarkReachedFrame)
    assert [(mark.mark, mark.was_played, mark.is_estimated) for mark in reached] == [
        ("first", True, False),
        ("second", True, False),
    ]
    first, second = script.times(CallstreamMarkReachedFrame)
    assert first == pytest.approx(frames[9].at + FRAME, abs=0.001)
    assert second == pytest.approx(frames[29].at + FRAME, abs=0.001)
