"""An echo on every dialect that takes audio from an application, and audio that overtakes the announcement."""

from __future__ import annotations

import pytest
import trio

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

pytest.importorskip("trio_websocket", reason="trio-websocket is not installed")

from pipecat.frames.frames import InputAudioRawFrame
from trio_websocket import open_websocket_url

from callstream_core import dialects
from callstream_trio.caller import dial
from callstream_trio.voice import make_voice
from tests.pipecat.serving import Script, serving, until
from tests.pipecat.test_calls import FAITHFUL, Echo

SPEAKING = [name for name in dialects.names() if dialects.get(name).profile().opening().reply_format is not None]


@pytest.mark.parametrize("name", SPEAKING)
async def test_an_echo_on_every_dialect(name: str) -> None:
    dialect = dialects.get(name)
    async with serving(lambda _: [Echo()], FAITHFUL) as bot:
        url = bot.url.removesuffix("/asterisk") + dialect.paths[0]
        async with dial(url, name) as caller:
            said = b"".join(make_voice(caller.format).frames[:25])
            await until(lambda: caller.is_answered, 3)
            caller.say_audio(said)
            with trio.fail_after(5):
                # Some platforms keep the last frames until more comes.
                await caller.wait_heard(len(said) // 2)
        await bot.wait_over()
    assert len(caller.heard_audio) <= len(said)
    assert bot.tasks_left == []


async def test_audio_may_overtake_the_announcement() -> None:
    script = Script()
    start = (
        "MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:7 format:slin16 optimal_frame_size:640 ptime:20"
    )
    async with serving(lambda _: [script], FAITHFUL) as bot, open_websocket_url(bot.url) as socket:
        for message in (b"\x01" * 640, start, b"\x02" * 640):
            await socket.send_message(message)
        await until(lambda: len(script.found(InputAudioRawFrame)) == 2, 3)
    assert [frame.audio[:1] for frame in script.found(InputAudioRawFrame)] == [b"\x01", b"\x02"]
