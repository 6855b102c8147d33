"""Calls over real sockets, through FastAPI and uvicorn, with our transport and with the stock one."""

from __future__ import annotations

import asyncio
import time

import pytest
import trio

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")
pytest.importorskip("trio_websocket", reason="trio-websocket is not installed")

from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import BotStoppedSpeakingFrame, EndWorkerFrame, InputAudioRawFrame, InputDTMFFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from trio_websocket import open_websocket_url

from callstream_core import codecs
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_core.outputs import FramePlayed
from callstream_pipecat import CallstreamSerializer
from callstream_trio.caller import Caller, dial
from callstream_trio.voice import make_voice
from tests.pipecat.bots import FAITHFUL, JSON, Echo, Script, gaps, speaker
from tests.pipecat.serving import serving, serving_app, until


@pytest.mark.parametrize(("dialect", "path"), [("asterisk", ""), ("asterisk", "/asterisk"), ("sinch", "/sinch")])
async def test_an_echo(dialect: str, path: str) -> None:
    async with serving(lambda: [Echo()], FAITHFUL) as bot:
        async with dial(bot.url + path, dialect) as caller:
            said = b"".join(make_voice(caller.format).frames[:25])
            await until(lambda: caller.is_answered, 3)
            caller.say_audio(said)
            with trio.fail_after(5):
                await caller.wait_heard(len(said))
        await bot.wait_over()
    # u-law has two zeros, of which one comes back.
    assert codecs.to_linear(bytes(caller.heard_audio), caller.format) == codecs.to_linear(said, caller.format)
    assert bot.tasks_left == []


async def test_calls_do_not_hear_each_other() -> None:
    async def talk(caller: Caller, number: int) -> None:
        said = bytes([number + 1]) * 640 * 10
        caller.say_audio(said)
        with trio.fail_after(5):
            await caller.wait_heard(len(said))
        assert bytes(caller.heard_audio) == said

    async with serving(lambda: [Echo()], FAITHFUL) as bot:
        async with trio.open_nursery() as nursery:
            for number in range(5):

                async def call(number: int = number) -> None:
                    async with dial(bot.url, profile=JSON) as caller:
                        await talk(caller, number)

                nursery.start_soon(call)
        assert len(bot.transports) == 5


async def test_audio_may_overtake_the_announcement() -> None:
    script = Script()
    start = (
        "MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:7 format:slin16 optimal_frame_size:640 ptime:20"
    )
    async with serving(lambda: [script], FAITHFUL) as bot, open_websocket_url(bot.url) as socket:
        for message in (b"\x01" * 640, start, b"\x02" * 640):
            await socket.send_message(message)
        await until(lambda: len(script.found(InputAudioRawFrame)) == 2, 3)
    assert [frame.audio[:1] for frame in script.found(InputAudioRawFrame)] == [b"\x01", b"\x02"]


@pytest.mark.slow
async def test_ten_seconds_are_heard_without_a_gap_though_the_loop_really_stalls() -> None:
    speech = speaker(10.0)

    def block() -> None:
        if not bot.over.is_set():
            time.sleep(0.1)
            assert bot.loop is not None
            bot.loop.call_later(0.4, block)

    async with serving(lambda: [speech]) as bot, dial(bot.url, profile=JSON) as caller:
        # A stall between the first chunk and the second is one that no look-ahead helps against.
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        assert bot.loop is not None
        bot.loop.call_soon_threadsafe(block)
        frames: list[FramePlayed] = []
        with trio.move_on_after(14):
            async for word in caller:
                if isinstance(word, FramePlayed):
                    frames.append(word)
                    if len(frames) == 500:
                        break
        await until(lambda: speech.times(BotStoppedSpeakingFrame), 2)
    assert len(frames) == 500
    assert gaps(frames) == 0


async def test_a_caller_who_vanishes_in_mid_word_leaves_no_task() -> None:
    async with serving(lambda: [speaker(10.0)]) as bot, dial(bot.url, profile=JSON) as caller:
        with trio.fail_after(5):
            await caller.wait_heard(20 * 640)
        caller.vanish()
        await bot.wait_over()
    assert bot.tasks_left == []


@pytest.mark.parametrize("format", ["opus", "g722"])
async def test_a_call_whose_audio_cannot_be_taken_is_closed_with_the_reason(format: str) -> None:
    profile = AsteriskProfile(format=format)
    async with serving(lambda: [Echo()]) as bot, dial(bot.url, profile=profile) as caller:
        with trio.fail_after(5):
            ended = await caller.wait_ended()
    assert ended.code == 1003
    assert bot.transports == []


def stock_app(script: Script) -> FastAPI:
    """Return an app that has our serializer in Pipecat's own transport."""
    app = FastAPI()

    @app.websocket("/")
    async def take(websocket: WebSocket) -> None:
        await websocket.accept("media" if "media" in websocket.scope["subprotocols"] else None)
        params = FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_10ms_chunks=2,
            audio_out_end_silence_secs=0,
            serializer=CallstreamSerializer(),
        )
        transport = FastAPIWebsocketTransport(websocket, params)
        processors: list[FrameProcessor] = [transport.input(), script, Echo(), transport.output()]
        worker = PipelineWorker(
            Pipeline(processors),
            params=PipelineParams(audio_in_sample_rate=16000, audio_out_sample_rate=16000),
            enable_rtvi=False,
            idle_timeout_secs=None,
        )

        @transport.event_handler("on_client_disconnected")
        async def leave(*_: object) -> None:
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    return app


@pytest.mark.parametrize("format", ["slin16", "ulaw"])
async def test_the_serializer_in_the_stock_transport(format: str) -> None:
    script = Script()
    profile = AsteriskProfile(format=format)
    said = make_voice(profile.audio).frames[:25]
    async with serving_app(stock_app(script)) as url, dial(url, profile=profile) as caller:
        await trio.sleep(0.3)
        caller.say_audio(b"".join(said))
        caller.press("5")
        with trio.fail_after(5):
            # Pipecat's rate is another than that of u-law, and resampling lags.
            await caller.wait_heard((20 if format == "slin16" else 10) * profile.audio.frame_size)
        await until(lambda: script.found(InputDTMFFrame), 3)
        if format == "slin16":
            assert b"".join(said).startswith(bytes(caller.heard_audio))
        ending = script.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
        asyncio.run_coroutine_threadsafe(ending, script.get_event_loop())
        with trio.fail_after(5):
            ended = await caller.wait_ended()
    assert ended.is_clean
    assert caller.session.counters["misbehaved"] == 0
