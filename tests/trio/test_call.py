"""A call as its handler sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio

from callstream_core import events as e
from callstream_core.audio import AudioFormat, linear
from callstream_core.commands import SendAudio
from callstream_core.errors import LocalProtocolError
from callstream_core.resample import Converter
from callstream_trio.call import Call, CallEnded
from callstream_trio.sinks import Echo
from tests.trio.wire import CLOSE, PATIENCE, Peer, calling, frame, serving, until

FRAMES = [number.to_bytes(2) * 80 for number in range(30)]


@asynccontextmanager
async def talking(**changes: Any) -> AsyncIterator[tuple[Call, Peer]]:
    """Give both ends of one call to a test."""
    opened: list[Call] = []
    is_over = trio.Event()

    async def handler(call: Call) -> None:
        opened.append(call)
        await is_over.wait()

    async with serving(handler, **changes) as server, calling(server) as peer:
        await until(lambda: opened)
        with trio.fail_after(PATIENCE):
            yield opened[0], peer
        is_over.set()


async def test_play_waits_for_room() -> None:
    async with talking(max_ahead=0.2) as (call, peer):
        began = trio.current_time()
        # One second is sent ahead; what is more has to wait for its time, all but `max_ahead`.
        await call.play(bytes(8000 + 1600 + 2400))
        assert 0.1 < trio.current_time() - began < 2
        assert call.session.pending <= 2 * 1600
        await peer.audio(8000)
        with pytest.raises(LocalProtocolError):
            call.say(SendAudio(bytes(2**23)))
        assert 0 < call.position < 1
        assert call.backlog > 1


async def test_clear_returns_what_was_heard() -> None:
    async with talking() as (call, peer):
        await call.play(bytes(8000))
        await peer.audio(8000)
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                assert await peer.hear() == "GET_STATUS"
                assert await peer.hear() == "FLUSH_MEDIA"
                await peer.say(
                    "STATUS channel_id:1700000000.1 queue_length:40 xon_level:800 xoff_level:900 "
                    "queue_full:false bulk_media:false media_paused:false"
                )

            nursery.start_soon(answer)
            cleared = await call.clear()
        assert cleared.heard == pytest.approx(0.2)
        assert cleared.discarded == pytest.approx(0.8)
        assert not cleared.is_estimated


async def test_audio_comes_as_the_handler_wants_it() -> None:
    async with talking() as (call, peer):
        tone = (8000 * np.sin(np.arange(4000) * 2 * np.pi * 440 / 8000)).astype("<i2")

        ulaw = Converter(linear(8000), AudioFormat(encoding="ulaw", rate=8000, frame_size=160, ptime=0.02)).feed(
            tone.tobytes()
        )
        for start in range(0, len(ulaw), 160):
            await peer.say(ulaw[start : start + 160])
        await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
        heard = b""
        async for piece in call.audio(16_000):
            heard += piece
        samples = np.frombuffer(heard, "<i2").astype(float)
        assert 7000 < len(samples) <= 8000
        spectrum = np.abs(np.fft.rfft(samples[1000:5000] * np.hanning(4000)))
        assert abs(int(spectrum.argmax()) * 16_000 / 4000 - 440) < 8


async def test_events_end_with_the_end() -> None:
    async with talking() as (call, peer):
        await peer.say("DTMF_END digit:5", "MEDIA_XOFF", "MEDIA_XON")
        await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
        heard = [event async for event in call]
        assert [type(event) for event in heard] == [
            e.DigitReceived,
            e.FlowPaused,
            e.FlowResumed,
            e.SessionClosed,
        ]
        assert heard[-1] is call.ended
        assert not call.is_open
        with pytest.raises(CallEnded):
            await call.play(bytes(160))
        with pytest.raises(CallEnded):
            await call.clear()


async def test_finish_plays_out_before_it_hangs_up() -> None:
    async with talking() as (call, peer), trio.open_nursery() as nursery:
        heard: list[object] = []

        async def platform() -> None:
            while (message := await peer.hear()) is not None:
                heard.append(message)
                if message == "REPORT_QUEUE_DRAINED":
                    await trio.sleep(0.2)
                    await peer.say("QUEUE_DRAINED channel_id:1700000000.1")
                elif message == "HANGUP":
                    await peer.raw(frame(CLOSE, (1000).to_bytes(2)))

        nursery.start_soon(platform)
        await call.play(bytes(1600))
        ended = await call.finish()
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.APP, 1000, True)
        assert [m for m in heard if isinstance(m, str)][-2:] == ["REPORT_QUEUE_DRAINED", "HANGUP"]
        assert sum(len(m) for m in heard if isinstance(m, bytes)) == 1600


async def test_what_nobody_reads_is_bounded_and_counted() -> None:
    async with talking(max_events=5, max_unread_audio=0.1) as (call, peer):
        for number in range(20):
            await peer.say("DTMF_END digit:1", number.to_bytes(1) * 160)
        await until(lambda: call.stats.messages_received == 41)
        assert call.stats.events_dropped == 15
        assert call.stats.audio_dropped == 15
        # The newest is what is left.
        assert await call.next_audio() == b"".join(number.to_bytes(1) * 160 for number in range(15, 20))
        assert call.stats.messages_sent == 0


async def test_a_sink_takes_over_in_mid_call_and_gives_back() -> None:
    async with talking() as (call, peer):
        await peer.say(FRAMES[0])
        await until(lambda: call.stats.messages_received == 2)
        call.connect(Echo())
        await peer.say(FRAMES[1])
        # What had waited comes first.
        assert await peer.audio(320) == FRAMES[0] + FRAMES[1]
        call.connect(None)
        await peer.say(FRAMES[2])
        assert await call.next_audio() == FRAMES[2]
        assert call.stats.sink_refused == 0


async def test_stats_and_request_are_there_to_read() -> None:
    async with talking() as (call, peer):
        await peer.say("NOBODY_KNOWS", FRAMES[0])
        await until(lambda: call.stats.messages_received == 3)
        assert call.stats.tolerated == {"messages_ignored": 1}
        assert call.request is not None
        assert call.request.path == "/asterisk"
        assert call.info.call_id == "1700000000.1"
