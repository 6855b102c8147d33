"""What the caller hears, in simulated time: gap-free, at the right rate, no further ahead than was promised."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndWorkerFrame,
    ErrorFrame,
    Frame,
    OutputTransportMessageFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pydantic import ValidationError

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_pipecat import CallstreamHeardFrame, CallstreamParams
from tests.asyncio.simulation import simulated, until
from tests.pipecat.bots import FRAME, Hum, Script, gaps, phoning, speaker, tone


@pytest.mark.parametrize(("blocked", "every"), [(0.0, 1.0), (0.1, 0.5), (0.05, 0.2), (0.06, 0.5), (0.2, 1.0)])
@simulated
async def test_ten_seconds_in_one_burst_have_no_gap_though_the_loop_stalls(blocked: float, every: float) -> None:
    script = speaker(10.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(1)
        while not script.times(BotStoppedSpeakingFrame):
            await asyncio.sleep(every - blocked)
            phone.platform.stall(blocked)
        frames = phone.platform.frames
    assert phone.platform.audio == tone(10.0)
    assert gaps(frames) == 0
    # The look-ahead, a chunk above it, and the frame that is about to be played.
    assert phone.platform.deepest <= 17
    told = script.times(BotStoppedSpeakingFrame)[0] - (frames[-1].at + FRAME)
    assert -0.001 <= told <= blocked + 0.001


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
@simulated
async def test_speech_of_24_kilohertz_is_resampled_without_clicks(rate: int) -> None:
    format = "slin" if rate == 8000 else f"slin{rate // 1000}"
    script = speaker(1.0, 24000)
    async with phoning(script, profile=AsteriskProfile(format=format)) as phone:
        await until(lambda: script.found(BotStoppedSpeakingFrame))
    samples = np.frombuffer(phone.platform.audio, "<i2").astype(float)
    assert abs(len(samples) / rate - 1.0) < 0.06
    steps = np.abs(np.diff(samples[: round(0.9 * rate)]))
    assert steps.max() < 8000 * 2 * math.pi * 400 / rate * 1.3
    assert gaps(phone.platform.frames) == 0


@simulated
async def test_a_stop_holds_and_a_go_loses_nothing() -> None:
    told: list[str] = []

    async def note(_: object, event: object) -> None:
        told.append(type(event).__name__)

    async with phoning(speaker(1.0)) as phone:
        phone.transport.add_event_handler("on_call_event", note)
        await phone.platform.wait_played(10)
        phone.platform.jam()
        sent = len(phone.platform.times(c.SendAudio))
        await asyncio.sleep(2.0)
        assert len(phone.platform.times(c.SendAudio)) == sent
        phone.platform.unjam()
        await phone.platform.wait_played(50)
    assert phone.platform.audio == tone(1.0)
    assert phone.transport.output().dropped == 0
    assert [name for name in told if name.startswith("Flow")] == ["FlowPaused", "FlowResumed"]


@simulated
async def test_a_stop_that_never_ends_costs_chunks_and_not_the_call() -> None:
    script = speaker(2.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        phone.platform.jam()
        output = phone.transport.output()
        await asyncio.sleep(4.9)
        assert output.dropped == 0
        await asyncio.sleep(5.2)
        assert output.dropped == 1
        await script.broadcast_interruption()
        phone.platform.unjam()
        await asyncio.sleep(0.1)
        heard = len(phone.platform.frames)
        await script.speak(tone(0.4), 16000)
        await phone.platform.wait_played(heard + 20)
    assert output.dropped == 1


@simulated
async def test_a_goodbye_into_a_stop_that_never_ends_is_over_after_one_patience() -> None:
    script = speaker(5.0, 16000, (EndWorkerFrame(), FrameDirection.UPSTREAM))
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        phone.platform.jam()
        start = asyncio.get_running_loop().time()
        await phone.is_over.wait()
    assert asyncio.get_running_loop().time() - start < 5 + 10
    assert phone.transport.output().dropped > 100


@simulated
async def test_a_background_sound_neither_gaps_nor_runs_ahead_nor_hides_the_end_of_speech() -> None:
    script = speaker(0.5)
    async with phoning(script, params=CallstreamParams(audio_out_mixer=Hum())) as phone:
        await until(lambda: script.found(BotStoppedSpeakingFrame))
        [stopped] = script.times(BotStoppedSpeakingFrame)
        spoken = [frame for frame in phone.platform.frames if len(set(frame.data)) > 2]
        await asyncio.sleep(2.0)
        await script.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
        await phone.is_over.wait()
    frames = phone.platform.frames
    assert len(spoken) == 25
    # Whatever hums on behind it.
    assert 0 <= stopped - (spoken[-1].at + FRAME) < 0.001
    assert gaps(frames) == 0
    assert len(frames) > 120
    assert phone.platform.deepest <= 17
    assert phone.platform.times(c.HangUp)


@simulated
async def test_speech_that_goes_on_before_it_was_silent_is_one() -> None:
    script = speaker(0.5)
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        await script.speak(tone(0.5), 16000)
        await phone.platform.wait_played(50)
        await asyncio.sleep(0.5)
    assert len(script.found(BotStartedSpeakingFrame)) == 1
    [stopped] = script.times(BotStoppedSpeakingFrame)
    assert stopped == pytest.approx(phone.platform.frames[-1].at + FRAME, abs=0.001)
    assert gaps(phone.platform.frames) == 0


@simulated
async def test_two_short_utterances_end_with_the_second() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.speak(tone(0.1), 16000)
            await script.speak(tone(0.1), 16000)

    script = Script(react)
    async with phoning(script) as phone:
        await until(lambda: script.found(BotStoppedSpeakingFrame))
    [stopped] = script.times(BotStoppedSpeakingFrame)
    assert len(phone.platform.frames) == 10
    assert stopped == pytest.approx(phone.platform.frames[-1].at + FRAME, abs=0.001)


@simulated
async def test_the_end_of_speech_is_told_by_the_clock_where_no_mark_is_left() -> None:
    script = speaker(1.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(1)
        started = phone.platform.frames[0].at
        phone.platform.is_deaf = True
        call = phone.transport.call
        for number in range(call.session.limits.max_marks):
            call.say(c.PlaceMark(str(number)))
        await until(lambda: script.found(BotStoppedSpeakingFrame))
    assert script.times(BotStoppedSpeakingFrame)[0] - started == pytest.approx(1.0, abs=0.05)


@simulated
async def test_a_voice_that_does_not_say_where_it_ends_speaks_utterances_all_the_same() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.murmur(tone(0.5), 16000)

    script = Script(react)
    async with phoning(script) as phone:
        await until(lambda: script.found(BotStoppedSpeakingFrame))
        await script.murmur(tone(2.0), 16000)
        await phone.platform.wait_played(25 + 30)
        await script.broadcast_interruption()
        await until(lambda: script.found(CallstreamHeardFrame))
    assert script.found(CallstreamHeardFrame)[0].heard == pytest.approx(30 * FRAME, abs=FRAME)


@simulated
async def test_a_command_that_cannot_be_said_is_an_error_and_not_the_end_of_the_voice() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.push_frame(OutputTransportMessageFrame(message={"label": "rtvi-ai"}))
            await script.push_frame(OutputTransportMessageFrame(message=c.SendDigit("1")))
            await script.speak(tone(0.2), 16000)

    script = Script(react)
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
    [error] = script.found(ErrorFrame)
    assert "outside the media socket" in error.error


@simulated
async def test_commands_of_the_core_can_be_said_by_message() -> None:
    script = speaker(0.2, 16000, (OutputTransportMessageFrame(message=c.HangUp()), FrameDirection.DOWNSTREAM))
    async with phoning(script) as phone:
        await phone.is_over.wait()
    assert phone.transport.call.ended is not None
    assert phone.transport.call.ended.is_clean
    assert phone.transport.call.ended.initiator is e.Side.APP


@pytest.mark.parametrize("wrong", [{"look_ahead": 6}, {"look_ahead": -1}, {"stop_patience": 10}, {"max_waiting": 0}])
def test_parameters_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CallstreamParams(**wrong)
