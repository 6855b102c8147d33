"""How calls end, in simulated time: a goodbye is heard, a cancelled bot is gone at once, and nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.frames.frames import CancelFrame, CancelWorkerFrame, EndWorkerFrame, Frame, InputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.machine import State
from callstream_pipecat import CallstreamParams
from tests.asyncio.simulation import simulated
from tests.pipecat.bots import FRAME, Hum, Script, phoning, speaker, tone

UP, DOWN = FrameDirection.UPSTREAM, FrameDirection.DOWNSTREAM


@pytest.mark.parametrize("syntax", Syntax, ids=lambda syntax: syntax.value)
@simulated
async def test_a_goodbye_is_heard_to_its_end_before_the_hang_up(syntax: Syntax) -> None:
    script = speaker(1.0, 16000, (EndWorkerFrame(), UP))
    async with phoning(script, profile=AsteriskProfile(format="slin16", syntax=syntax)) as phone:
        await phone.is_over.wait()
    assert phone.platform.audio == tone(1.0)
    [hung_up] = phone.platform.times(c.HangUp)
    assert 0 <= hung_up - (phone.platform.frames[-1].at + FRAME) <= 0.05
    ended = phone.transport.call.ended
    assert ended is not None
    assert ended.is_clean
    assert ended.initiator is e.Side.APP


@simulated
async def test_the_caller_is_heard_by_the_call_while_the_goodbye_plays() -> None:
    # Pipecat has its input stopped by then; flow control and answers come in all the same.
    script = speaker(2.0, 16000, (EndWorkerFrame(), UP))
    async with phoning(script) as phone:
        await phone.platform.wait_played(20)
        heard = len(script.found(InputAudioRawFrame))
        phone.platform.jam()
        await phone.platform.speak([bytes(640)] * 20)
        phone.platform.unjam()
        await phone.is_over.wait()
    assert phone.transport.input()._audio_in_queue.empty()
    assert phone.platform.audio == tone(2.0)
    assert len(script.found(InputAudioRawFrame)) == heard


@pytest.mark.parametrize("frames", [1, 20])
@simulated
async def test_a_cancelled_pipeline_hangs_up_within_50_milliseconds(frames: int) -> None:
    script = speaker(10.0)
    async with phoning(script) as phone:
        await phone.platform.wait_played(frames)
        start = asyncio.get_running_loop().time()
        await script.push_frame(CancelWorkerFrame(), UP)
        await phone.is_over.wait()
    [hung_up] = phone.platform.times(c.HangUp)
    assert hung_up - start < 0.05
    assert phone.platform.times(c.ClearPlayout) == []


@simulated
async def test_a_cancel_ends_a_goodbye() -> None:
    script = speaker(5.0, 16000, (EndWorkerFrame(), UP))
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        start = asyncio.get_running_loop().time()
        await phone.transport.output().queue_frame(CancelFrame())
        await phone.is_over.wait()
    [hung_up] = phone.platform.times(c.HangUp)
    assert hung_up - start < 0.05


@pytest.mark.parametrize("ending", ["hang up", "vanish"])
@simulated
async def test_a_caller_who_leaves_in_mid_word_ends_the_pipeline(ending: str) -> None:
    told: list[str] = []
    async with phoning(speaker(10.0)) as phone:

        async def note(_: object, what: object) -> None:
            told.append(type(what).__name__)

        phone.transport.add_event_handler("on_client_disconnected", note)
        phone.transport.add_event_handler("on_call_ended", note)
        await phone.platform.wait_played(20)
        start = asyncio.get_running_loop().time()
        if ending == "vanish":
            phone.platform.vanish()
        else:
            phone.platform.say(e.SessionEnding())
        await phone.is_over.wait()
        assert asyncio.get_running_loop().time() - start < 0.5
    assert sorted(told) == ["Call", "SessionClosed"]
    assert phone.transport.call.ended is not None
    assert phone.transport.call.ended.initiator is e.Side.PLATFORM
    assert phone.transport.call.ended.is_clean is (ending == "hang up")


@simulated
async def test_a_caller_who_leaves_during_the_goodbye_ends_it() -> None:
    script = speaker(10.0, 16000, (EndWorkerFrame(), UP))
    async with phoning(script) as phone:
        await phone.platform.wait_played(10)
        start = asyncio.get_running_loop().time()
        phone.platform.say(e.SessionEnding())
        await phone.is_over.wait()
        assert asyncio.get_running_loop().time() - start < 0.5


@simulated
async def test_a_platform_that_never_answers_a_goodbye_is_left() -> None:
    script = speaker(0.2, 16000, (EndWorkerFrame(), UP))
    async with phoning(script) as phone:
        await phone.platform.wait_played(1)
        phone.platform.is_deaf = True
        start = asyncio.get_running_loop().time()
        await phone.is_over.wait()
        assert asyncio.get_running_loop().time() - start < 12
    assert phone.transport.call.session.state is State.CLOSED


@pytest.mark.parametrize("ending", [EndWorkerFrame, CancelWorkerFrame])
@simulated
async def test_a_call_that_was_never_answered_is_hung_up(ending: type[Frame]) -> None:
    script = Script()
    profile = SinchProfile()
    async with phoning(script, dialect="sinch", profile=profile, answers=False) as phone:
        await asyncio.sleep(0.5)
        start = asyncio.get_running_loop().time()
        await script.push_frame(ending(), UP)
        await phone.is_over.wait()
        assert asyncio.get_running_loop().time() - start < 1.5
    assert phone.transport.call.ended is not None


@simulated
async def test_a_background_sound_does_not_spin_while_the_call_is_not_answered() -> None:
    class Counting(Hum):
        times = 0

        async def mix(self, audio: bytes) -> bytes:
            self.times += 1
            return audio

    hum = Counting()
    params = CallstreamParams(audio_out_mixer=hum)
    async with phoning(Script(), dialect="sinch", profile=SinchProfile(), params=params, answers=False):
        await asyncio.sleep(1.0)
        assert hum.times <= 60


@simulated
async def test_where_nothing_plays_out_the_goodbye_is_short() -> None:
    script = Script()
    async with phoning(script) as phone:
        await asyncio.sleep(0.1)
        phone.transport.call.say(c.SetDirection(e.Direction.IN))
        start = asyncio.get_running_loop().time()
        await script.push_frame(EndWorkerFrame(), UP)
        await phone.is_over.wait()
        assert asyncio.get_running_loop().time() - start < 0.5
    assert len(phone.platform.times(c.HangUp)) == 1


@simulated
async def test_a_hang_up_of_the_bots_own_plays_out_though_the_pipeline_ends_meanwhile() -> None:
    script = speaker(0.24)
    async with phoning(script) as phone:
        await phone.platform.wait_played(1)
        phone.transport.call.say(c.HangUp(c.When.AFTER_PLAYOUT))
        await script.push_frame(EndWorkerFrame(), UP)
        await phone.is_over.wait()
    assert phone.platform.audio == tone(0.24)
