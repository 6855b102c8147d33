"""Barge-in, in simulated time: what is cleared, what is not, and what the caller is said to have heard."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.frames import frames as pipecat_frames
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    EndWorkerFrame,
    Frame,
    StartFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection

from callstream_core import commands as c
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_pipecat import CallstreamHeardFrame, CallstreamMarkFrame, CallstreamMarkReachedFrame, CallstreamParams
from tests.asyncio.simulation import simulated, until
from tests.pipecat.bots import FRAME, Hum, Phone, Script, phoning, speaker, tone


async def heard_by(script: Script) -> CallstreamHeardFrame:
    """Return what is published, once it is."""
    await until(lambda: script.found(CallstreamHeardFrame), 3)
    heard: CallstreamHeardFrame = script.found(CallstreamHeardFrame)[0]
    return heard


async def barge_in(script: Script) -> float:
    """Interrupt, and return when."""
    at = asyncio.get_running_loop().time()
    await script.broadcast_interruption()
    return at


def clears(phone: Phone) -> list[float]:
    return phone.platform.times(c.ClearPlayout)


@pytest.mark.parametrize("after", [0.013, 0.1, 0.251, 0.3, 0.487, 1.0, 2.222, 4.999])
@pytest.mark.parametrize("format", ["ulaw", "slin16"])
@simulated
async def test_what_was_heard_is_told_to_the_frame(format: str, after: float) -> None:
    script = speaker(5.0)
    async with phoning(script, profile=AsteriskProfile(format=format)) as phone:
        await phone.platform.wait_played(1)
        await asyncio.sleep(after)
        queued = phone.platform.session.playout.queue_length
        at = await barge_in(script)
        heard = await heard_by(script)
        await asyncio.sleep(0.5)
    frames = phone.platform.frames
    assert abs(heard.heard - len(frames) * FRAME) <= FRAME
    assert not heard.is_estimated
    assert heard.discarded >= queued * FRAME - FRAME / 2
    # Nothing is heard after it.
    assert frames[-1].at <= at
    assert 0 <= clears(phone)[0] - at <= 0.001


@pytest.mark.parametrize("dialect", ["sinch", "jambonz"])
@simulated
async def test_what_was_heard_is_estimated_where_the_platform_does_not_tell(dialect: str) -> None:
    script = speaker(5.0)
    async with phoning(script, dialect=dialect, profile=None) as phone:
        await phone.platform.wait_played(1)
        await asyncio.sleep(1.0)
        await barge_in(script)
        heard = await heard_by(script)
        await asyncio.sleep(0.5)
    assert heard.is_estimated
    assert heard.heard == pytest.approx(len(phone.platform.frames) * FRAME, abs=0.06)


@simulated
async def test_a_second_interruption_finds_nothing_to_clear() -> None:
    script = speaker(5.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(50)
        await barge_in(script)
        await barge_in(script)
        await asyncio.sleep(0.5)
        assert len(clears(phone)) == 1
        assert len(script.found(CallstreamHeardFrame)) == 1
        assert len(script.found(BotStoppedSpeakingFrame)) == 1
        await script.speak(tone(1.0), 16000)
        await phone.platform.wait_played(70)
        await barge_in(script)
        await until(lambda: len(script.found(CallstreamHeardFrame)) == 2)
    assert script.found(CallstreamHeardFrame)[1].heard == pytest.approx(20 * FRAME, abs=FRAME)


@simulated
async def test_a_background_sound_does_not_count_as_heard() -> None:
    script = Script()
    async with phoning(script, params=CallstreamParams(audio_out_mixer=Hum())) as phone:
        await phone.platform.wait_played(100)
        await script.speak(tone(2.0), 16000)
        # The hum that was on its way, and a part of the speech.
        await until(lambda: len([frame for frame in phone.platform.frames if len(set(frame.data)) > 2]) == 25)
        await barge_in(script)
        assert (await heard_by(script)).heard == pytest.approx(25 * FRAME, abs=FRAME)


@simulated
async def test_an_interruption_lifts_a_stop() -> None:
    script = speaker(3.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        phone.platform.jam()
        await asyncio.sleep(1.0)
        await barge_in(script)
        assert (await heard_by(script)).heard == pytest.approx(10 * FRAME, abs=FRAME)
        phone.platform.unjam()
        await script.speak(tone(0.4), 16000)
        await phone.platform.wait_played(30)
    # None of the old speech.
    assert phone.platform.audio == tone(3.0)[: 10 * 640] + tone(0.4)
    assert phone.transport.output().dropped == 0


@pytest.mark.parametrize("frames", [10, 80])
@simulated
async def test_a_goodbye_is_not_interrupted(frames: int) -> None:
    # While Pipecat has a part of it, and when the platform has all.
    script = speaker(2.0, 16000, (EndWorkerFrame(), FrameDirection.UPSTREAM))
    async with phoning(script) as phone:
        await phone.platform.wait_played(frames)
        assert phone.transport.is_leaving
        await barge_in(script)
        await barge_in(script)
        await phone.is_over.wait()
    assert phone.platform.audio == tone(2.0)
    assert clears(phone) == []
    [hung_up] = phone.platform.times(c.HangUp)
    assert 0 <= hung_up - (phone.platform.frames[-1].at + FRAME) <= 0.05
    assert phone.transport.output().was_spared == 2
    assert phone.transport.call.ended is not None
    assert phone.transport.call.ended.is_clean


def spared(seconds: float) -> TTSAudioRawFrame:
    """Return speech that interruptions spare, as this release wants it."""
    audio = tone(seconds, pitch=250)
    if hasattr(Frame, "interruptible") or "interruptible" in Frame.__dataclass_fields__:
        frame = TTSAudioRawFrame(audio=audio, sample_rate=16000, num_channels=1)
        frame.interruptible = False
        return frame

    class Spared(TTSAudioRawFrame, pipecat_frames.UninterruptibleFrame):
        pass

    return Spared(audio=audio, sample_rate=16000, num_channels=1)


def announcer(*parts: Frame) -> Script:
    """Return a processor that says these as soon as the pipeline runs."""

    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            for part in parts:
                await script.push_frame(part)

    return Script(react)


def common(seconds: float) -> TTSAudioRawFrame:
    return TTSAudioRawFrame(audio=tone(seconds), sample_rate=16000, num_channels=1)


@pytest.mark.parametrize("frames", [10, 45])
@simulated
async def test_audio_that_must_be_heard_is_heard_whatever_comes_in_between(frames: int) -> None:
    # While Pipecat has a part of it, and when the platform has all.
    script = announcer(spared(1.0), common(1.0))
    async with phoning(script) as phone:
        await phone.platform.wait_played(frames)
        await barge_in(script)
        await asyncio.sleep(2.0)
    assert phone.platform.audio.startswith(tone(1.0, pitch=250))
    # What may be interrupted is, but for what was on its way already.
    assert len(phone.platform.frames) <= 50 + 15
    assert phone.transport.output().was_spared == 1
    assert clears(phone) == []


@simulated
async def test_behind_audio_that_must_be_heard_an_interruption_clears_again() -> None:
    script = announcer(spared(0.2), common(2.0))
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        await asyncio.sleep(0.021)
        at = await barge_in(script)
        await heard_by(script)
        await asyncio.sleep(1.0)
    assert len(clears(phone)) == 1
    assert phone.platform.frames[-1].at <= at
    assert phone.transport.output().was_spared == 0


@simulated
async def test_a_pause_does_not_make_spared_audio_fair_game() -> None:
    script = announcer(spared(0.2))
    async with phoning(script) as phone:
        await phone.platform.wait_played(2)
        phone.transport.call.say(c.PausePlayout())
        await asyncio.sleep(1.0)
        await barge_in(script)
        phone.transport.call.say(c.ResumePlayout())
        await phone.platform.wait_played(10)
    assert phone.platform.audio == tone(0.2, pitch=250)


@simulated
async def test_every_mark_is_answered_once_though_an_interruption_swallows_it() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            for number in range(4):
                await script.push_frame(common(0.2))
                await script.push_frame(CallstreamMarkFrame(mark=str(number)))

    script = Script(react)
    async with phoning(script) as phone:
        await phone.platform.wait_played(15)
        # One is played, one is on the platform, two are with Pipecat.
        await barge_in(script)
        await until(lambda: len(script.found(CallstreamMarkReachedFrame)) == 4)
        await asyncio.sleep(0.5)
    reached = {frame.mark: frame.was_played for frame in script.found(CallstreamMarkReachedFrame)}
    assert reached == {"0": True, "1": False, "2": False, "3": False}
    assert len(script.found(CallstreamMarkReachedFrame)) == 4


@simulated
async def test_a_clear_that_cannot_be_asked_for_is_an_error_and_not_the_end() -> None:
    script = speaker(5.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        phone.platform.is_deaf = True
        call = phone.transport.call
        # More questions than the session will have open.
        for _ in range(call.session.limits.max_inquiries):
            call.say(c.RequestStatus())
        await barge_in(script)
        await until(lambda: script.found(pipecat_frames.ErrorFrame))
    assert "not cleared" in script.found(pipecat_frames.ErrorFrame)[0].error
