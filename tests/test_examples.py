"""The examples for embedding: each is run as it stands, and called by a simulated Asterisk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_trio.caller import dial
from callstream_trio.voice import make_voice

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
SERVERS = {
    "with_websockets.py": ("websockets",),
    "with_fastapi.py": ("fastapi", "uvicorn"),
    "with_aiohttp.py": ("aiohttp",),
    "with_threads.py": ("websockets",),
    "with_trio_websocket.py": ("trio_websocket",),
}
CAPTURES = sorted((ROOT / "tests" / "transcripts" / "asterisk").glob("*.jsonl"))


@asynccontextmanager
async def running(example: str) -> AsyncIterator[str]:
    """Run an example on a free port; give its URL."""
    for package in SERVERS[example]:
        pytest.importorskip(package)
    command = [sys.executable, str(EXAMPLES / example), "0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        with trio.fail_after(15):
            line = b""
            while not line.endswith(b"\n"):
                piece = await process.stdout.receive_some()
                assert piece, f"{example} ended with {await process.wait()}"
                line += piece
        yield f"ws://127.0.0.1:{int(line)}/asterisk"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


@pytest.mark.parametrize("example", SERVERS)
@pytest.mark.parametrize("syntax", Syntax, ids=lambda syntax: syntax.value)
async def test_a_caller_hears_himself_and_hangs_the_other_end_up(example: str, syntax: Syntax) -> None:
    profile = AsteriskProfile(format="ulaw", syntax=syntax)
    said = b"".join(make_voice(profile.audio).frames[:25])
    async with running(example) as url, dial(url, profile=profile) as caller:
        caller.say_audio(said)
        with trio.fail_after(5):
            await caller.wait_heard(len(said))
        assert bytes(caller.heard_audio) == said
        caller.press("#")
        with trio.fail_after(3):
            ended = await caller.wait_ended()
    assert (ended.code, ended.is_clean) == (1000, True)


@pytest.mark.parametrize("example", SERVERS)
async def test_the_next_call_follows_a_caller_who_hangs_up_or_vanishes(example: str) -> None:
    async with running(example) as url:
        for leave in ("hang_up", "vanish"):
            async with dial(url, profile=AsteriskProfile(format="slin16")) as caller:
                caller.say_audio(bytes(640))
                with trio.fail_after(5):
                    await caller.wait_heard(640)
                getattr(caller, leave)()
                with trio.fail_after(3):
                    await caller.wait_gone()
        async with dial(url) as caller:
            caller.say_audio(bytes(160))
            with trio.fail_after(5):
                await caller.wait_heard(160)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.stem)
def test_a_capture_is_heard_to_its_end(capture: Path) -> None:
    names: dict[str, object] = {"__name__": "example"}
    code = (EXAMPLES / "without_a_loop.py").read_text()
    exec(compile(code, "without_a_loop.py", "exec"), names)
    heard = names["listen"](capture)  # type: ignore[operator]
    assert heard["SessionOpened"] == 1
    assert heard["SessionClosed"] == 1


def test_the_examples_are_short() -> None:
    for example in EXAMPLES.glob("*.py"):
        assert len(example.read_text().splitlines()) <= 60, example.name
