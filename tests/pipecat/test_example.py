"""The documented echo bot, run as it stands."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from callstream_core import codecs
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_trio import DialSettings
from callstream_trio.caller import dial
from callstream_trio.voice import make_voice

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "with_pipecat.py"


async def test_a_caller_hears_himself_and_hangs_the_bot_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    profile = AsteriskProfile(format="slin16")
    said = b"".join(make_voice(profile.audio).frames[:25])
    command = [sys.executable, str(EXAMPLE), str(port)]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL)
    try:
        dialling = DialSettings(attempts=60, interval=0.25)
        async with dial(f"ws://127.0.0.1:{port}/asterisk", profile=profile, settings=dialling) as caller:
            caller.say_audio(said)
            with trio.fail_after(10):
                await caller.wait_heard(20 * profile.audio.frame_size)
                caller.press("#")
                ended = await caller.wait_ended()
        assert ended.is_clean
        heard = codecs.to_linear(bytes(caller.heard_audio), profile.audio)
        assert all(frame in heard for frame in make_voice(profile.audio).frames[:20])
    finally:
        process.kill()
        await process.wait()
