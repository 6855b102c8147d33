"""The audio sockets of simulated jambonz calls: where they go, what they bring, how they end."""

from __future__ import annotations

import json
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from callstream_trio import dial_jambonz
from callstream_trio.apps import echo
from callstream_trio.voice import Voices
from tests.trio.exchange import serving, with_jambonz
from tests.trio.jambonz_plans import ANSWER, HANGUP, against, one, plan, scripted
from tests.trio.stub_app import App, answering
from tests.trio.wire import until


def audio_app(order: dict[str, Any], heads: list[str], behave: Callable[[App], Awaitable[None]]) -> Any:
    """Return an application that orders audio to itself."""

    async def both(app: App) -> None:
        await app.accept()
        if "ws.jambonz.org" not in app.head:
            heads.append(app.head)
            await behave(app)
            return
        offer = await app.hear()
        port = app.header("Host").rpartition(":")[2]  # type: ignore[union-attr]
        listen = {"verb": "listen", "actionHook": "/heard", **order}
        listen["url"] = listen["url"].replace("PORT", port)
        await app.ack(offer, [ANSWER, listen, HANGUP])
        while isinstance(message := await app.hear(), dict):
            if message["type"] == "verb:hook":
                heads.append(json.dumps(message["data"]))
                await app.ack(message)
        await app.close(1000)

    return both


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ({"url": "ws://127.0.0.1:PORT/a?b=c"}, ["GET /a?b=c HTTP", "Host: 127.0.0.1\r", "Origin: http://127.0.0.1\r"]),
        ({"url": "/a", "wsAuth": {"username": "x", "password": "y"}}, ["Authorization: Basic bWU6cHc=\r"]),
        (
            {"url": "http://127.0.0.1:PORT/", "wsAuth": {"username": "x", "password": "y"}},
            ["GET / HTTP", "Authorization: Basic eDp5\r"],
        ),
    ],
)
async def test_where_audio_goes_and_with_which_password(order: dict[str, Any], wanted: list[str]) -> None:
    heads: list[str] = []
    first: list[Any] = []

    async def behave(app: App) -> None:
        first.append(await app.hear())
        await app.close(1000)
        await app.to_the_end()

    async with answering(audio_app({**order, "metadata": {"tier": 1}}, heads, behave)) as url:
        report = await one(url.replace("//", "//me:pw@"), plan(5))
    assert report.failures == ()
    for part in (*wanted, "Sec-WebSocket-Protocol: audio.jambonz.org"):
        assert part in heads[0]
    opening = first[0]
    assert (opening["sampleRate"], opening["mixType"], opening["tier"]) == (8000, "mono", 1)
    assert (opening["callSid"], opening["fsSipAddress"]) == ("call-0001", "10.0.0.5:5060")
    assert json.loads(heads[1])["dial_call_duration"] == 0


async def test_stereo_has_both_parties_in_each_message() -> None:
    sizes: list[int] = []

    async def behave(app: App) -> None:
        await app.hear()
        while isinstance(message := await app.hear(), bytes):
            sizes.append(len(message))
        await app.close(1000)

    order = {"url": "/a", "mixType": "stereo", "sampleRate": 16000, "maxLength": 0.3}
    async with answering(audio_app(order, [], behave)) as url:
        report = await one(url, plan(5))
    assert report.failures == ()
    assert set(sizes) == {1280}
    assert report.frames_sent == 2 * len(sizes)


async def test_each_party_speaks_for_itself() -> None:
    said: list[bytes] = []

    async def behave(app: App) -> None:
        await app.hear()
        while isinstance(message := await app.hear(), bytes):
            said.append(message)
        await app.close(1000)

    app = audio_app({"url": "/a", "mixType": "stereo"}, [], behave)
    async with answering(app) as url, dial_jambonz(url) as caller:
        with trio.fail_after(5):
            audio = await caller.wait_audio()
            assert audio.format.frame_size == 320
            audio.say_audio(b"\1\0" * 320, track="caller")
            audio.say_audio(b"\2\0" * 320, track="callee")
            await until(lambda: len(said) > 1)
    assert said[:2] == [b"\1\0\2\0" * 160] * 2


@pytest.mark.parametrize(
    ("order", "failure"),
    [
        ({"url": "ftp://x/"}, "no audio for a listen: url of listen is like wss://host/path"),
        ({"url": "/a", "sampleRate": 11025}, "sampleRate of listen is a multiple of 8000, not 11025"),
        ({"url": "ws://127.0.0.1:9/"}, "no audio for a listen: 127.0.0.1:9 cannot be reached: Connection refused"),
    ],
)
async def test_audio_that_cannot_be_had_ends_the_verb(order: dict[str, Any], failure: str) -> None:
    heads: list[str] = []

    async def behave(app: App) -> None:
        raise AssertionError("nobody comes")

    async with answering(audio_app(order, heads, behave)) as url:
        report = await one(url, plan(5))
    assert failure in report.failures[0]
    [hook] = heads
    assert "dial_call_duration" not in json.loads(hook)
    assert report.ended_by == "application"


@pytest.mark.parametrize(
    ("code", "failure"), [(1000, None), (4001, "the application closed with 4001: close code 4001")]
)
async def test_the_end_of_the_audio_ends_the_verb(code: int, failure: str | None) -> None:
    async def behave(app: App) -> None:
        await app.hear()
        await app.close(code)
        await app.to_the_end()

    heads: list[str] = []
    async with answering(audio_app({"url": "/a"}, heads, behave)) as url:
        report = await one(url, plan(5))
    assert report.failures == ((failure,) if failure else ())
    assert json.loads(heads[1])["dial_call_duration"] == 0


async def test_an_error_ends_the_verb_but_leaves_the_socket_open() -> None:
    happened: list[str] = []

    async def behave(app: App) -> None:
        await app.accept()
        message = await app.hear()
        if "ws.jambonz.org" in app.head:
            await app.ack(message, [ANSWER, listen, {"verb": "pause", "length": 0.3}, HANGUP])
            while isinstance(message := await app.hear(), dict):
                if message["type"] == "verb:hook":
                    happened.append("hook")
                    assert "dial_call_duration" in message["data"]
                    await app.ack(message)
        else:
            await app.say({"type": "error", "data": {"message": "no"}})
            while isinstance(message := await app.hear(), bytes):
                happened.append("audio")
            happened.append(f"closed {message.code}")
        await app.close(1000)

    reply = {"enabled": True, "streaming": True, "sampleRate": 8000}
    listen = {"verb": "listen", "url": "/a", "actionHook": "/heard", "bidirectionalAudio": reply}
    report = await against(behave, plan(5))
    assert report.failures == ("the application misbehaved: the application failed: no",)
    assert happened[-1] == "closed 1000"
    assert happened[happened.index("hook") :].count("audio") > 8


async def test_clips_are_played_where_nothing_is_streamed() -> None:
    async def behave(app: App) -> None:
        await app.hear()
        clip = {"audioContent": "AAAA", "audioContentType": "raw", "sampleRate": 8000, "id": "c"}
        await app.say({"type": "playAudio", "data": clip})
        while not isinstance(message := await app.hear(), dict):
            pass
        assert message["type"] == "playDone"
        await app.say({"type": "disconnect"})
        await app.to_the_end()

    async with answering(audio_app({"url": "/a"}, [], behave)) as url:
        report = await one(url, plan(5))
    assert report.failures == ()
    assert report.frames_played > 0


async def test_a_key_that_ends_the_verb_is_told_by_both_sockets() -> None:
    keys: list[Any] = []

    async def behave(app: App) -> None:
        while (message := await app.hear()) is not None:
            if isinstance(message, dict):
                keys.append(message.get("dtmf"))
            elif not isinstance(message, bytes):
                break
        await app.close(1000)

    heads: list[str] = []
    order = {"url": "/a", "finishOnKey": "#", "passDtmf": True}
    async with answering(audio_app(order, heads, behave)) as url:
        report = await one(url, scripted({"on": "listen", "after": 0.1, "press": "#"}, duration=5))
    assert report.failures == ()
    assert keys == [None, "#"]
    assert json.loads(heads[1])["digits"] == "#"


async def test_a_file_is_said_at_the_rate_that_was_ordered(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(range(1, 101)) * 100)
    async with serving(echo, with_jambonz(sample_rate=16000)) as (_, url):
        report = await one(url, plan(0.6, voices=Voices(path)))
    assert report.failures == ()
    assert report.echo_intact == report.frames_sent > 20


async def test_a_file_that_is_too_short_leaves_the_call_without_audio(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(10))
    async with serving(echo) as (_, url):
        report = await one(url, plan(voices=Voices(path)))
    assert "is shorter than one frame" in report.failures[0]
