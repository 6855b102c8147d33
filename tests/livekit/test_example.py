"""The documented agent, run as it stands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

pytest.importorskip("livekit.agents", reason="livekit-agents is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

from callstream_core import dialects
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_trio.caller import dial

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "with_livekit.py"


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    command = [sys.executable, str(EXAMPLE), "0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        with trio.fail_after(30):
            port = int(await process.stdout.receive_some())
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


@pytest.mark.parametrize("key", ["", "5"])
async def test_a_caller_hears_the_agent_to_the_end_or_interrupts_it(key: str) -> None:
    profile = AsteriskProfile(format="slin16")
    async with running() as url, dial(url + "/asterisk", profile=profile) as caller:
        with trio.fail_after(10):
            await caller.wait_heard(50 * 640)
            caller.press(key)
            ended = await caller.wait_ended()
    assert ended.is_clean
    heard = len(caller.heard_audio) / 32000
    assert heard < 1.5 if key else heard == pytest.approx(3.0, abs=0.05)


async def test_the_agent_takes_calls_of_other_platforms_and_survives_those_it_cannot_take() -> None:
    async with running() as url:
        for platform in ("yeastar", "sinch", "jambonz"):
            async with dial(url + dialects.get(platform).paths[0], platform) as caller:
                caller.say_audio(bytes(1280))
                with trio.fail_after(10):
                    await caller.wait_ended()
            seconds = len(caller.heard_audio) / 16000
            assert seconds == (0 if platform == "yeastar" else pytest.approx(3.0, abs=0.1)), platform
        async with dial(url + "/nothing") as caller:
            with trio.fail_after(5):
                assert (await caller.wait_ended()).code == 1008
