"""Whole calls through a Pipecat pipeline, from a simulated platform."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
import trio

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    StartFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from callstream_core import codecs
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.outputs import FramePlayed
from callstream_pipecat import (
    CallstreamHeardFrame,
    CallstreamMarkFrame,
    CallstreamMarkReachedFrame,
    CallstreamParams,
    CallstreamTransport,
)
from callstream_trio.caller import Caller, dial
from callstream_trio.voice import make_voice
from tests.pipecat.serving import Script, serving, until

JSON = AsteriskProfile(format="slin16", syntax=Syntax.JSON)
FAITHFUL = CallstreamParams(fills_silence=False)


class Echo(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1)
        await self.push_frame(frame, direction)


def tone(rate: int, seconds: float) -> bytes:
    times = np.arange(round(rate * seconds)) / rate
    return (8000 * np.sin(2 * math.pi * 400 * times)).astype("<i2").tobytes()


def speaker(seconds: float, rate: int = 16000) -> Script:
    """Return a processor that says a tone as soon as the pipeline runs."""

    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.speak(tone(rate, seconds), rate)

    return Script(react)


async def frames_until_quiet(caller: Caller, quiet: float = 0.4) -> list[FramePlayed]:
    """Return what is played until nothing came for a while."""
    frames: list[FramePlayed] = []
    while True:
        with trio.move_on_after(quiet if frames else 5) as scope:
            async for word in caller:
                if isinstance(word, FramePlayed):
                    frames.append(word)
                    break
            else:
                return frames
        if scope.cancelled_caught:
            return frames


def gaps(frames: list[FramePlayed], period: float = 0.02) -> int:
    """Count the ticks at which nothing was played."""
    return sum(round((b.at - a.at) / period) - 1 for a, b in pairwise(frames))


@pytest.mark.parametrize("syntax", Syntax, ids=lambda syntax: syntax.value)
@pytest.mark.parametrize("format", ["ulaw", "alaw", "slin", "slin16", "slin24", "slin48"])
async def test_an_echo_in_every_format(format: str, syntax: Syntax) -> None:
    profile = AsteriskProfile(format=format, syntax=syntax)
    said = b"".join(make_voice(profile.audio).frames[:15])
    async with serving(lambda _: [Echo()], FAITHFUL) as bot, dial(bot.url, profile=profile) as caller:
        caller.say_audio(said)
        with trio.fail_after(5):
            await caller.wait_heard(len(said))
        caller.hang_up()
        await bot.wait_over()
    audio = profile.audio
    assert codecs.to_linear(bytes(caller.heard_audio), audio) == codecs.to_linear(said, audio)
    assert bot.tasks_left == []


@pytest.mark.parametrize("format", ["slin", "slin16", "slin24", "slin48"])
async def test_speech_of_another_rate_is_resampled_without_clicks(format: str) -> None:
    profile = AsteriskProfile(format=format)
    async with serving(lambda _: [speaker(1.0, 24000)]) as bot, dial(bot.url, profile=profile) as caller:
        frames = await frames_until_quiet(caller)
    samples = np.frombuffer(b"".join(frame.data for frame in frames), "<i2").astype(float)
    assert abs(len(samples) / profile.audio.rate - 1.0) < 0.06
    steepest = 8000 * 2 * math.pi * 400 / profile.audio.rate
    steps = np.abs(np.diff(samples[: round(0.9 * profile.audio.rate)]))
    assert steps.max() < steepest * 1.3
    assert gaps(frames) == 0


@pytest.mark.slow
async def test_ten_seconds_are_heard_without_a_gap_though_the_loop_stalls() -> None:
    speech = speaker(10.0)

    def block() -> None:
        if not bot.over.is_set():
            time.sleep(0.1)
            assert bot.loop is not None
            bot.loop.call_later(0.4, block)

    def processors(_: CallstreamTransport) -> list[FrameProcessor]:
        return [speech]

    async with serving(processors) as bot, dial(bot.url, profile=JSON) as caller:
        # A stall between the first chunk and the second is one that no look-ahead helps against.
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        bot.call(block)
        deepest = 0
        frames: list[FramePlayed] = []
        with trio.move_on_after(14):
            async for word in caller:
                if isinstance(word, FramePlayed):
                    frames.append(word)
                    deepest = max(deepest, caller.session.playout.queue_length)
                    if len(frames) == 500:
                        break
        await until(lambda: speech.times(BotStoppedSpeakingFrame), 2)
    assert len(frames) == 500
    assert gaps(frames) == 0
    assert deepest <= 20
    late = speech.times(BotStoppedSpeakingFrame)[0] - frames[-1].at
    assert -0.02 <= late < 0.25, f"the bot was said to stop {late:.3f} s after the last word"


async def test_an_interruption_clears_and_tells_what_was_heard() -> None:
    speech = speaker(10.0)
    async with serving(lambda _: [speech]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(50 * 640)
        for _ in range(2):
            bot.call(lambda: bot.loop and bot.loop.create_task(speech.broadcast_interruption()))
        before = len(caller.heard_audio)
        frames = await frames_until_quiet(caller, 0.3)
        heard = speech.found(CallstreamHeardFrame)
        stopped = speech.found(BotStoppedSpeakingFrame)
    assert len(caller.heard_audio) - before <= 5 * 640
    assert len(heard) == 1
    assert not heard[0].is_estimated
    assert heard[0].heard == pytest.approx(len(frames) * 0.02, abs=0.021)
    assert heard[0].discarded > 0.1
    assert len(stopped) == 1


async def test_a_goodbye_is_heard_to_its_end_before_the_hang_up() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.speak(tone(16000, 1.0), 16000)
            await script.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    async with serving(lambda _: [Script(react)]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            words = [(word, trio.current_time()) async for word in caller]
        await bot.wait_over()
    frames = [word for word, _ in words if isinstance(word, FramePlayed)]
    hung_up = next(at for word, at in words if isinstance(word, c.HangUp))
    last = max(at for word, at in words if isinstance(word, FramePlayed))
    assert len(frames) == 50
    assert 0 <= hung_up - last < 0.06
    assert caller.ended is not None
    assert caller.ended.is_clean
    assert bot.tasks_left == []


async def test_a_cancelled_pipeline_hangs_up_at_once() -> None:
    speech = speaker(10.0)
    async with serving(lambda _: [speech]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(20 * 640)
        start = trio.current_time()
        output = bot.transports[0].output()
        bot.call(
            lambda: bot.loop and bot.loop.create_task(output.process_frame(CancelFrame(), FrameDirection.DOWNSTREAM))
        )
        with trio.fail_after(2):
            await caller.wait_ended()
        assert trio.current_time() - start < 0.1


async def test_a_caller_who_vanishes_in_mid_word_leaves_no_task() -> None:
    async with serving(lambda _: [speaker(10.0)]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(20 * 640)
        caller.vanish()
        await bot.wait_over()
    assert bot.tasks_left == []


async def test_digits_and_marks() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.speak(tone(16000, 0.2), 16000)
            await script.push_frame(CallstreamMarkFrame(mark="spoken"))

    script = Script(react)
    async with serving(lambda _: [script]) as bot, dial(bot.url, profile=JSON) as caller:
        caller.press("0*#9A")
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        await until(lambda: script.found(CallstreamMarkReachedFrame) and len(script.found(InputDTMFFrame)) == 4)
        await trio.sleep(0.05)
    assert [frame.button.value for frame in script.found(InputDTMFFrame)] == ["0", "*", "#", "9"]
    messages = [frame.message for frame in script.found(InputTransportMessageFrame)]
    assert messages[0]["event"] == "opened"
    assert {"event": "digit", "digit": "A"} in messages
    [mark] = script.found(CallstreamMarkReachedFrame)
    assert (mark.mark, mark.was_played) == ("spoken", True)


async def test_silence_is_filled_in_while_the_platform_sends_none() -> None:
    script = Script()
    async with serving(lambda _: [script]) as bot, dial(bot.url, profile=JSON):
        await trio.sleep(0.5)
    assert 10 <= len(script.found(InputAudioRawFrame)) <= 30
    assert all(not any(frame.audio) for frame in script.found(InputAudioRawFrame))


async def test_commands_of_the_core_can_be_said_by_message() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, InputDTMFFrame):
            await script.push_frame(OutputTransportMessageFrame(message={"label": "rtvi-ai"}))
            await script.push_frame(OutputTransportMessageFrame(message=c.HangUp()))

    async with serving(lambda _: [Script(react)]) as bot, dial(bot.url, profile=JSON) as caller:
        caller.press("1")
        with trio.fail_after(3):
            ended = await caller.wait_ended()
        await bot.wait_over()
    assert ended.is_clean


async def test_a_stop_that_never_ends_costs_chunks_and_not_the_call() -> None:
    speech = speaker(2.0)
    params = CallstreamParams(stop_patience=0.2)
    async with serving(lambda _: [speech], params) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        caller._say(e.FlowPaused())
        await trio.sleep(1.2)
        output = bot.transports[0].output()
        assert output.dropped >= 1
        heard = len(caller.heard_audio)
        bot.call(lambda: bot.loop and bot.loop.create_task(speech.broadcast_interruption()))
        await trio.sleep(0.1)
        bot.call(lambda: bot.loop and bot.loop.create_task(speech.speak(tone(16000, 0.4), 16000)))
        with trio.fail_after(3):
            await caller.wait_heard(heard + 20 * 640)


@pytest.mark.skipif(not hasattr(Frame, "interruptible"), reason="this release marks it by a class")
async def test_what_must_not_be_interrupted_is_not() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            speech = TTSAudioRawFrame(audio=tone(16000, 1.0), sample_rate=16000, num_channels=1)
            speech.interruptible = False
            await script.push_frame(speech)

    script = Script(react)
    async with serving(lambda _: [script]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        bot.call(lambda: bot.loop and bot.loop.create_task(script.broadcast_interruption()))
        with trio.fail_after(3):
            await caller.wait_heard(50 * 640)
    assert bot.transports[0].output().was_spared == 1


async def test_an_interruption_during_a_goodbye_cuts_nothing_off_the_end() -> None:
    async def react(script: Script, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await script.speak(tone(16000, 0.6), 16000)
            await script.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)

    script = Script(react)
    async with serving(lambda _: [script]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(20 * 640)
        bot.call(lambda: bot.loop and bot.loop.create_task(script.broadcast_interruption()))
        with trio.fail_after(3):
            ended = await caller.wait_ended()
        await bot.wait_over()
    assert ended.is_clean
    assert bot.tasks_left == []


async def test_a_stop_holds_and_a_go_loses_nothing() -> None:
    async with serving(lambda _: [speaker(1.0)]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        caller._say(e.FlowPaused())
        await trio.sleep(0.6)
        heard = len(caller.heard_audio)
        caller._say(e.FlowResumed())
        with trio.fail_after(5):
            await caller.wait_heard(50 * 640)
    assert heard < 40 * 640
    assert bytes(caller.heard_audio) == tone(16000, 1.0)


async def test_an_interruption_lifts_a_stop() -> None:
    speech = speaker(3.0)
    async with serving(lambda _: [speech]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        caller._say(e.FlowPaused())
        await trio.sleep(0.1)
        bot.call(lambda: bot.loop and bot.loop.create_task(speech.broadcast_interruption()))
        await until(lambda: speech.found(CallstreamHeardFrame), 2)
        heard = len(caller.heard_audio)
        bot.call(lambda: bot.loop and bot.loop.create_task(speech.speak(tone(16000, 0.4), 16000)))
        with trio.fail_after(3):
            await caller.wait_heard(heard + 20 * 640)


class Hum(BaseAudioMixer):
    """A background sound."""

    async def start(self, sample_rate: int) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def process_frame(self, frame: Frame) -> None:
        pass

    async def mix(self, audio: bytes) -> bytes:
        return (np.frombuffer(audio, "<i2") + 7).astype("<i2").tobytes()


async def test_a_background_sound_neither_gaps_nor_runs_ahead() -> None:
    params = CallstreamParams(audio_out_mixer=Hum())
    async with serving(lambda _: [speaker(0.3)], params) as bot, dial(bot.url, profile=JSON) as caller:
        frames: list[FramePlayed] = []
        deepest = 0
        with trio.fail_after(5):
            async for word in caller:
                if isinstance(word, FramePlayed):
                    frames.append(word)
                    deepest = max(deepest, caller.session.playout.queue_length)
                    if len(frames) == 60:
                        break
    assert gaps(frames[2:]) == 0
    assert deepest <= 20
