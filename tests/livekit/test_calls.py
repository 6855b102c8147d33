"""Whole calls through an `AgentSession`, from a simulated platform: no room, no server, no model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import trio

pytest.importorskip("livekit.agents", reason="livekit-agents is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

from livekit import rtc
from livekit.agents import AgentSession
from websockets.sync.client import connect

from callstream_asyncio import Call
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.outputs import FramePlayed
from callstream_livekit import CallstreamAudioOutput
from callstream_trio.caller import dial
from tests.livekit.serving import Talk, over, serving, tone

JSON = AsteriskProfile(format="slin16", syntax=Syntax.JSON)
START = "MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:7 format:slin16 optimal_frame_size:640 ptime:20"


async def test_a_prompt_is_heard_and_then_finished() -> None:
    async def play(talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        start = time.monotonic()
        await agent.say("hello", audio=tone(1.0)).wait_for_playout()
        talk.results["took"] = time.monotonic() - start

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        with trio.fail_after(10):
            frames = [word async for word in caller if isinstance(word, FramePlayed)]
        await over(talk)
    assert sum(any(frame.data) for frame in frames) == 50
    [finished] = talk.finished
    assert finished.playback_position == pytest.approx(1.0)
    assert not finished.interrupted
    assert len(talk.started) == 1
    assert 0.95 <= talk.results["took"] < 1.4


async def test_an_interruption_tells_exactly_what_was_heard() -> None:
    async def play(talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        handle = agent.say("a long story", audio=tone(5.0))
        await asyncio.sleep(1.0)
        await agent.interrupt()
        await handle.wait_for_playout()
        await asyncio.sleep(0.2)
        talk.results["items"] = list(agent.history.items)

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        with trio.fail_after(10):
            frames = [word async for word in caller if isinstance(word, FramePlayed)]
        await over(talk)
    [finished] = talk.finished
    assert finished.interrupted
    heard = sum(any(frame.data) for frame in frames) * 0.02
    assert 0.5 < heard < 1.3
    assert finished.playback_position == pytest.approx(heard, abs=0.021)


async def test_a_caller_who_vanishes_finishes_what_was_playing() -> None:
    async def play(talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        async with asyncio.timeout(5):
            await agent.say("a long story", audio=tone(5.0)).wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(25 * 640)
        caller.vanish()
        await over(talk)
    assert [finished.interrupted for finished in talk.finished] == [True]
    assert 0.3 < talk.finished[0].playback_position < 1.0


async def test_a_pause_stands_still_and_goes_on() -> None:
    async def play(talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        assert output.can_pause
        async for frame in tone(0.2):
            await output.capture_frame(frame)
        output.pause()
        output.flush()
        await asyncio.sleep(0.5)
        talk.results["finished early"] = len(talk.finished)
        output.resume()
        async with asyncio.timeout(2):
            await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        await over(talk)
        assert any(isinstance(word, c.PausePlayout) for word in [w async for w in caller])
    assert talk.results["finished early"] == 0
    assert talk.finished[0].playback_position == pytest.approx(0.2)


async def test_two_clears_and_a_late_flush_finish_a_segment_once() -> None:
    async def play(_talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        for _ in range(2):
            async for frame in tone(0.2):
                await output.capture_frame(frame)
            output.clear_buffer()
            output.clear_buffer()
            output.flush()
            async with asyncio.timeout(2):
                await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON):
        await over(talk)
    assert [finished.interrupted for finished in talk.finished] == [True, True]


async def test_digits_and_the_end_are_told() -> None:
    async def play(_talk: Talk, _agent: AgentSession, call: Call, _output: CallstreamAudioOutput) -> None:
        await call.wait_ended()
        await asyncio.sleep(0.05)

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        caller.press("7")
        await trio.sleep(0.3)
        caller.hang_up()
        await over(talk)
    assert [event.digit for event in talk.events if isinstance(event, e.DigitReceived)] == ["7"]
    assert isinstance(talk.events[-1], e.SessionClosed)


async def test_what_follows_a_clear_at_once_is_not_cleared() -> None:
    async def play(_talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        for seconds in (0.2, 0.3):
            async for frame in tone(seconds):
                await output.capture_frame(frame)
            output.flush()
            if seconds == 0.2:
                output.clear_buffer()
        async with asyncio.timeout(2):
            await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON):
        await over(talk)
    cleared, whole = talk.finished
    assert cleared.interrupted
    assert cleared.playback_position < 0.1
    assert not whole.interrupted
    assert whole.playback_position == pytest.approx(0.3)
    assert len(talk.started) <= 2


async def test_a_second_clear_hits_what_came_after_the_first() -> None:
    async def play(_talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        for _ in range(2):
            async for frame in tone(0.2):
                await output.capture_frame(frame)
            output.flush()
            output.clear_buffer()
        async with asyncio.timeout(2):
            await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON):
        await over(talk)
    assert [finished.interrupted for finished in talk.finished] == [True, True]
    assert all(finished.playback_position < 0.1 for finished in talk.finished)


async def test_nothing_starts_during_a_pause() -> None:
    async def play(talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        output.pause()
        async for frame in tone(0.2):
            await output.capture_frame(frame)
        output.flush()
        await asyncio.sleep(0.3)
        output.pause()
        talk.results["started early"] = len(talk.started)
        talk.results["resumed"] = time.time()
        output.resume()
        output.resume()
        async with asyncio.timeout(2):
            await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        await over(talk)
        words = [word async for word in caller]
    assert talk.results["started early"] == 0
    assert talk.started == [pytest.approx(talk.results["resumed"], abs=0.05)]
    assert [finished.interrupted for finished in talk.finished] == [False]
    # What the framework says twice, the platform is told once.
    assert sum(isinstance(word, c.PausePlayout) for word in words) == 1
    assert sum(isinstance(word, c.ResumePlayout) for word in words) == 1


async def test_a_whole_speech_in_one_frame_is_sent_as_it_is_played() -> None:
    async def play(_talk: Talk, agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        async def speech() -> AsyncIterator[rtc.AudioFrame]:
            yield rtc.AudioFrame(b"\x10\x20" * 32000, 16000, 1, 32000)

        handle = agent.say("all at once", audio=speech())
        await asyncio.sleep(0.7)
        await agent.interrupt()
        await handle.wait_for_playout()

    deepest = 0
    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        heard = 0
        with trio.fail_after(10):
            async for word in caller:
                heard += isinstance(word, FramePlayed) and word.data[:2] == b"\x10\x20"
                deepest = max(deepest, caller.session.playout.queue_length)
        await over(talk)
    [finished] = talk.finished
    assert finished.interrupted
    assert finished.playback_position == pytest.approx(heard * 0.02, abs=0.021)
    assert 0 < deepest <= 16


async def test_a_frame_of_another_rate_is_refused() -> None:
    async def play(_talk: Talk, _agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        with pytest.raises(ValueError, match="this call plays 16000 Hz"):
            await output.capture_frame(rtc.AudioFrame(bytes(320), 8000, 1, 160))

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON):
        await over(talk)
    assert talk.finished == []


async def test_a_caller_who_hangs_up_finishes_what_was_playing() -> None:
    async def play(_talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        async with asyncio.timeout(5):
            await agent.say("a long story", audio=tone(5.0)).wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(25 * 640)
        caller.hang_up()
        await over(talk)
    [finished] = talk.finished
    assert finished.interrupted
    assert finished.playback_position == pytest.approx(len(caller.heard_audio) / 32000, abs=0.041)


async def test_a_hang_up_after_playout_lets_a_speech_be_heard() -> None:
    async def play(_talk: Talk, _agent: AgentSession, call: Call, output: CallstreamAudioOutput) -> None:
        async for frame in tone(0.2):
            await output.capture_frame(frame)
        call.say(c.HangUp(c.When.AFTER_PLAYOUT))
        await output.capture_frame(await anext(tone(0.02)))
        output.flush()
        output.clear_buffer()
        output.pause()
        output.resume()
        async with asyncio.timeout(2):
            await output.wait_for_playout()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        await over(talk)
    assert len(caller.heard_audio) == 10 * 640
    [finished] = talk.finished
    assert finished.playback_position == pytest.approx(0.2)


async def test_an_application_that_fails_on_an_event_ends_the_call() -> None:
    async def play(talk: Talk, _agent: AgentSession, call: Call, _output: CallstreamAudioOutput) -> None:
        talk.fails_on = e.DigitReceived
        await call.wait_ended()

    async with serving(play) as (url, talk), dial(url + "/asterisk", profile=JSON) as caller:
        caller.press("7")
        await over(talk)
        with trio.fail_after(3):
            ended = await caller.wait_ended()
    assert ended.code == 1011


async def test_garbage_does_not_harm_a_speech() -> None:
    async def play(_talk: Talk, agent: AgentSession, _call: Call, _output: CallstreamAudioOutput) -> None:
        await agent.say("hello", audio=tone(0.4)).wait_for_playout()

    def be_rude(url: str) -> int:
        heard = 0
        with connect(url + "/asterisk", subprotocols=["media"], compression=None) as socket:  # type: ignore[list-item]
            socket.send(START)
            for garbage in (
                "",
                "{",
                "MEDIA_",
                '{"event": 7}',
                b"",
                b"\x00",
                "MARK_MEDIA " + "x" * 200,
                START,
                "DTMF_END digit:7",
            ):
                socket.send(garbage)
            for message in socket:
                heard += isinstance(message, bytes) and len(message)
                if isinstance(message, str) and message.startswith("MARK_MEDIA"):
                    socket.send("MEDIA_MARK_PROCESSED" + message.removeprefix("MARK_MEDIA"))
        return heard

    async with serving(play) as (url, talk):
        heard = await trio.to_thread.run_sync(be_rude, url)
        await over(talk)
    assert heard == 20 * 640
    assert [finished.interrupted for finished in talk.finished] == [False]
    assert sum(isinstance(event, e.PeerMisbehaved | e.MessageIgnored) for event in talk.events) >= 3
    assert any(isinstance(event, e.DigitReceived) for event in talk.events)
