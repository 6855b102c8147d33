"""The examples for embedding: each is run as it stands, and called by simulated platforms, well and badly behaved."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from callstream_core import detect, dialects
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.dialects.jambonz import JambonzProfile
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.jambonz.happenings import FarEndAnswered, FarEndHungUp
from callstream_core.jambonz.verbs import Dial
from callstream_core.transcript import TEXT, read
from callstream_trio.caller import Caller, dial
from callstream_trio.dial import DialFailed
from callstream_trio.voice import make_voice
from tests.trio.exchange import serving, until_empty
from tests.trio.phone import phoning
from tests.trio.wire import START, Peer, request, until

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
SERVERS = {
    "with_websockets.py": ("websockets",),
    "with_fastapi.py": ("fastapi", "uvicorn"),
    "with_aiohttp.py": ("aiohttp",),
    "with_threads.py": ("websockets",),
    "with_trio_websocket.py": ("trio_websocket",),
    "with_trio_call.py": ("trio_websocket",),
}
PLATFORMS = {
    "asterisk-plain": ("asterisk", AsteriskProfile(format="ulaw")),
    "asterisk-json": ("asterisk", AsteriskProfile(format="slin16", syntax=Syntax.JSON)),
    # The application owns the clock here: without its deadlines, nothing is ever heard.
    "asterisk-passthrough": ("asterisk", AsteriskProfile(format="ulaw", passthrough=True)),
    "jambonz": ("jambonz", JambonzProfile()),
    "sinch": ("sinch", SinchProfile()),
}
platforms = pytest.mark.parametrize(("platform", "profile"), PLATFORMS.values(), ids=PLATFORMS)
CAPTURES = sorted(
    capture
    for capture in (ROOT / "tests" / "transcripts").glob("*/*.jsonl")
    # Control sockets carry no audio; one media server hung up before it said anything.
    if any(
        line.kind == TEXT and line.speaker not in ("", "app") and detect(line.message)
        for line in read(capture.read_text().splitlines())
    )
)


@attrs.frozen
class Served:
    """A running example."""

    port: int
    errors: Path

    def path(self, platform: str) -> str:
        return self.url + dialects.get(platform).paths[0]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run an example on a free port; afterwards, no call may have ended in a traceback."""
    for package in SERVERS[request.param]:
        pytest.importorskip(package)
    errors = tmp_path_factory.mktemp("example") / "stderr"
    command = [sys.executable, str(EXAMPLES / request.param), "0"]
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, errors.read_text()
            yield Served(int(line), errors)
        finally:
            process.kill()
    assert "Traceback" not in errors.read_text()


async def hear_oneself(caller: Caller, frames: int = 25) -> None:
    """Say something, and hear it; a platform that keeps the last of it until more comes plays only a part."""
    said = b"".join(make_voice(caller.format).frames[:frames])
    with trio.fail_after(5):
        # A caller's hub wakes nobody for an answer.
        while not caller.is_answered:  # noqa: ASYNC110
            await trio.sleep(0.01)
        caller.say_audio(said)
        await caller.wait_heard(len(said) - 4 * caller.format.frame_size)
    assert said.startswith(bytes(caller.heard_audio))


@platforms
async def test_a_caller_hears_himself_and_hangs_the_other_end_up(served: Served, platform: str, profile: Any) -> None:
    async with dial(served.path(platform), platform, profile=profile) as caller:
        await hear_oneself(caller)
        if platform == "sinch":
            # It tells no keys.
            caller.hang_up()
        else:
            caller.press("#")
        with trio.fail_after(3):
            ended = await caller.wait_ended()
    assert ended.is_clean


async def test_a_tap_is_listened_to(served: Served) -> None:
    async with dial(served.path("yeastar"), "yeastar") as caller:
        caller.say_audio(bytes(5 * caller.format.frame_size))
        with trio.move_on_after(0.6):
            await caller.wait_ended()
        assert caller.ended is None
        caller.hang_up()
        with trio.fail_after(3):
            ended = await caller.wait_ended()
    assert ended.is_clean
    assert caller.heard_audio == b""


async def test_the_next_call_follows_a_caller_who_hangs_up_or_vanishes(served: Served) -> None:
    for leave in ("hang_up", "vanish"):
        async with dial(served.path("asterisk"), profile=AsteriskProfile(format="slin16")) as caller:
            await hear_oneself(caller, 5)
            getattr(caller, leave)()
            with trio.fail_after(3):
                await caller.wait_gone()
    async with dial(served.path("asterisk")) as caller:
        await hear_oneself(caller, 5)


async def test_an_unknown_path_is_refused(served: Served) -> None:
    with trio.fail_after(3):
        with pytest.raises(DialFailed) as failed:
            async with dial(served.url + "/nothing"):
                pass
    assert failed.value.status in (403, 404)


@asynccontextmanager
async def peer(served: Served, subprotocol: str | None = None) -> AsyncIterator[Peer]:
    """A caller who says whatever he likes, after the opening of an ordinary call."""
    async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        found = Peer(stream)
        with trio.fail_after(10):
            assert await found.upgrade(request("/asterisk?token=1", Sec_WebSocket_Protocol=subprotocol)) == 101
            await found.say(START)
            yield found


@pytest.mark.parametrize(
    ("offered", "chosen"), [(None, b""), ("media", b"media"), ("chat, media", b"media"), ("chat", b"")]
)
async def test_a_known_subprotocol_is_chosen(served: Served, offered: str | None, chosen: bytes) -> None:
    async with peer(served, offered) as caller:
        await caller.say(b"\x10" * 160)
        assert await caller.audio(160) == b"\x10" * 160
    _, _, rest = caller.head.lower().partition(b"sec-websocket-protocol:")
    assert rest.partition(b"\r\n")[0].strip() == chosen


async def test_garbage_is_passed_over_until_it_is_too_much(served: Served) -> None:
    async with peer(served) as caller:
        await caller.say("", "{", "MEDIA_", '{"event": 7}', b"", START, "MEDIA_MARK_PROCESSED nobody", b"\x10" * 160)
        assert await caller.audio(160) == b"\x10" * 160
        await caller.say(*[START] * 150)
        assert await caller.close_code() == 1002
    async with dial(served.path("asterisk")) as good:
        await hear_oneself(good, 5)


async def test_more_audio_than_can_be_said_is_dropped_and_the_call_goes_on(served: Served) -> None:
    async with peer(served) as caller:
        # Ten minutes; what waits in a session is bounded to nine.
        for _ in range(600):
            await caller.say(b"\x10" * 8000)
        assert await caller.audio(8000) == b"\x10" * 8000
        await caller.say("DTMF_END digit:#")
        assert await caller.audio(8000) == b"\x10" * 8000
    async with dial(served.path("asterisk")) as good:
        await hear_oneself(good, 5)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: f"{capture.parent.name}-{capture.stem}")
def test_a_capture_is_heard_to_its_end(capture: Path) -> None:
    names: dict[str, object] = {"__name__": "example"}
    code = (EXAMPLES / "without_a_loop.py").read_text()
    exec(compile(code, "without_a_loop.py", "exec"), names)
    heard = names["listen"](capture)  # type: ignore[operator]
    assert heard[e.SessionOpened.__name__] == 1
    assert heard[e.SessionClosed.__name__] == 1


def test_what_is_no_capture_is_refused_in_words(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for arguments, words in (((), "usage"), ((str(empty),), "nothing that tells its dialect")):
        command = [sys.executable, str(EXAMPLES / "without_a_loop.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_the_examples_are_short() -> None:
    for example in EXAMPLES.glob("*.py"):
        assert len(example.read_text().splitlines()) <= 60, example.name


@pytest.mark.parametrize("key", ["0", "#"])
async def test_the_jambonz_agent_repeats_falls_silent_and_does_what_keys_say(key: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile((EXAMPLES / "jambonz_agent.py").read_text(), "jambonz_agent.py", "exec"), names)
    samples = np.frombuffer(names["GREETING"], "<i2")
    # jambonz takes -1 for a mark, so that it is never sent.
    greeting = np.where(samples == -1, -2, samples).astype("<i2").tobytes()
    voice = b"\x10\x20" * 4000
    async with serving(names["agent"]) as (server, url), phoning(url) as phone:
        caller = await phone.connected()
        with trio.fail_after(5):
            await caller.wait_heard(8000)
        caller.say_audio(voice + bytes(32000))
        # It comes back, in the middle of the greeting.
        await until(lambda: voice in caller.heard_audio)
        before = bytes(caller.heard_audio).partition(voice)[0].rstrip(b"\0")
        # The last 80 ms that jambonz has is beyond recall.
        assert before[:8000] == greeting[:8000]
        assert len(before) < 8000 + 1280 + 3200
        caller.press(key)
        with trio.fail_after(5):
            await caller.wait_ended()
        if key == "0":
            await until(lambda: isinstance(phone.platform.running, Dial))
            phone.happen(FarEndAnswered(), FarEndHungUp())
        await phone.wait_over()
        await until_empty(server)
    assert server.endings == {"ended by platform" if key == "0" else "ended by app": 1, "control ended": 1}
