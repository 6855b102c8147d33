"""The serializer for the stock transport."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
)

from callstream_pipecat import CallstreamMarkFrame, CallstreamSerializer

START = (
    '{"event":"MEDIA_START","channel":"WebSocket/c/0x1","channel_id":"7",'
    '"format":"ulaw","optimal_frame_size":160,"ptime":20}'
)


def opened(format: str = "ulaw", rate: int = 8000) -> CallstreamSerializer:
    serializer = CallstreamSerializer()
    for _ in range(2):
        # Once for each side of a transport.
        run(serializer.setup(SimpleNamespace(audio_in_sample_rate=rate, audio_out_sample_rate=rate)))
    frame = run(serializer.deserialize(START.replace("ulaw", format)))
    assert isinstance(frame, InputTransportMessageFrame)
    assert frame.message["call_id"] == "7"
    return serializer


def run(awaitable: Any) -> Any:
    async def main() -> Any:
        return await awaitable

    return asyncio.run(main())


def test_audio_both_ways() -> None:
    serializer = opened()
    frame = run(serializer.deserialize(b"\xff" * 160))
    assert isinstance(frame, InputAudioRawFrame)
    assert frame.audio == bytes(320)
    said = OutputAudioRawFrame(audio=bytes(320), sample_rate=8000, num_channels=1)
    assert run(serializer.serialize(said)) == b"\xff" * 160


def test_audio_of_another_rate_leaves_in_whole_frames() -> None:
    serializer = opened(rate=24000)
    sizes = []
    for _ in range(50):
        said = OutputAudioRawFrame(audio=bytes(960), sample_rate=24000, num_channels=1)
        sizes.append(len(run(serializer.serialize(said)) or b""))
    assert sum(sizes) >= 40 * 160
    assert not any(size % 160 for size in sizes)


@pytest.mark.parametrize("format", ["opus", "g722"])
def test_a_call_that_it_cannot_take_stays_silent(format: str) -> None:
    serializer = opened(format)
    assert run(serializer.deserialize(b"\x01" * 60)) is None
    said = OutputAudioRawFrame(audio=bytes(320), sample_rate=8000, num_channels=1)
    assert run(serializer.serialize(said)) is None
    assert "HANGUP" in run(serializer.serialize(EndFrame()))


def test_digits_marks_and_the_end() -> None:
    serializer = opened()
    digit = '{"event":"DTMF_END","channel_id":"7","digit":"5","duration_ms":100}'
    assert isinstance(run(serializer.deserialize(digit)), InputDTMFFrame)
    assert "FLUSH_MEDIA" in run(serializer.serialize(InterruptionFrame()))
    assert "MARK_MEDIA" in run(serializer.serialize(CallstreamMarkFrame(mark="m")))
    assert "HANGUP" in run(serializer.serialize(EndFrame()))


def test_what_it_does_not_know_it_leaves_alone() -> None:
    serializer = CallstreamSerializer()
    assert run(serializer.serialize(InterruptionFrame())) is None
    assert run(serializer.deserialize("good morning")) is None
    assert run(opened().serialize(OutputTransportMessageFrame(message={"label": "rtvi-ai"}))) is None
    assert "CallstreamSerializer" in str(serializer)
