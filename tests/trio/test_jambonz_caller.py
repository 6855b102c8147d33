"""`dial_jambonz`, for tests of applications: what happens to a call, and what is waited for."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from callstream_core.events import DigitReceived
from callstream_core.jambonz import ControlPlatform, JambonzProfile
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_trio import Call, Hub, JambonzCaller, dial_jambonz
from callstream_trio.apps import echo
from callstream_trio.dial import DialFailed
from tests.trio.exchange import serving, until_empty
from tests.trio.jambonz_plans import ANSWER, HANGUP, PAUSE
from tests.trio.stub_app import App, answering

GATHER = {"verb": "gather", "input": ["digits", "speech"], "numDigits": 1, "timeout": 60, "actionHook": "/menu"}


async def test_a_call_is_echoed_and_leaving_hangs_up() -> None:
    async with serving(echo) as (server, url), Hub().running() as hub:
        async with dial_jambonz(url, hub=hub) as caller:
            with trio.fail_after(5):
                audio = await caller.wait_audio()
                audio.say_audio(b"\1\2" * 1600)
                await audio.wait_heard(1600)
            assert caller.audio is audio
            assert not caller.is_over
        assert caller.is_over
        assert caller.sockets == 1
        await until_empty(server)
    assert server.endings == {"ended by platform": 1, "control ended": 1}


async def test_keys_go_to_the_verb_and_to_the_audio() -> None:
    keys: list[str] = []

    async def handler(call: Call) -> None:
        async for event in call:
            if isinstance(event, DigitReceived):
                keys.append(event.digit)
                return

    async with serving(handler) as (_, url), dial_jambonz(url) as caller:
        with trio.fail_after(5):
            await caller.wait_audio()
            caller.press("7")
            await caller.wait_over()
        caller.press("8")
        caller.hang_up()
        caller.vanish()
    assert keys == ["7"]


async def test_a_menu_by_keys_and_speech() -> None:
    heard: list[Any] = []

    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, GATHER])
        while isinstance(message := await app.hear(), dict):
            if message["type"] == "verb:hook":
                heard.append(message["data"])
                await app.ack(message, [GATHER] if len(heard) == 1 else [HANGUP])
        await app.close(1000)

    async with answering(behave) as url, dial_jambonz(url, profile=JambonzProfile(caller="4711")) as caller:
        with trio.fail_after(5):
            first = await caller.verb(v.Gather)
            assert first.action_hook == "/menu"
            caller.press("1")
            await caller.verb(v.Gather)
            caller.speak("goodbye")
            await caller.wait_over()
        with pytest.raises(RuntimeError, match="gather never ran"):
            await caller.verb(v.Gather)
        with pytest.raises(RuntimeError, match="had no audio"):
            await caller.wait_audio()
    assert heard[0]["digits"] == "1"
    assert heard[1]["speech"]["alternatives"][0]["transcript"] == "goodbye"
    assert heard[0]["from"] == "4711"
    assert [said.status for said in caller.heard if isinstance(said, h.Responded)] == [200]


async def test_jambonz_comes_back() -> None:
    kinds: list[str] = []

    async def behave(app: App) -> None:
        await app.accept()
        first = await app.hear()
        kinds.append(first["type"])
        await app.ack(first, [ANSWER, PAUSE] if first["type"] == "session:new" else None)
        await app.to_the_end()

    async with answering(behave) as url, dial_jambonz(url) as caller:
        with trio.fail_after(5):
            await caller.verb(v.Pause)
            caller.vanish()
            await caller.until(lambda: caller.sockets == 2)
    assert kinds == ["session:new", "session:reconnect"]


async def test_what_cannot_be_reached_is_told() -> None:
    async with dial_jambonz("ws://127.0.0.1:9/jambonz#rp=none") as caller:
        with trio.fail_after(5):
            await caller.wait_over()
    [refusal] = caller.refusals
    assert isinstance(refusal, DialFailed)
    assert caller.sockets == 0

    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, {"verb": "listen", "url": "ws://127.0.0.1:9/"}, PAUSE])
        await app.to_the_end()

    async with answering(behave) as url, dial_jambonz(url) as caller:
        with trio.fail_after(5):
            await caller.verb(v.Pause)
    assert caller.audio_refusals == [("127.0.0.1:9 cannot be reached: Connection refused", None)]


async def test_a_redirect_to_another_server_opens_a_second_socket() -> None:
    words: list[str] = []

    async def behave(app: App) -> None:
        await app.accept()
        first = await app.hear()
        words.append(first["type"])
        port = app.header("Host").rpartition(":")[2]  # type: ignore[union-attr]
        other = {"verb": "redirect", "actionHook": f"ws://127.0.0.1:{port}/other"}
        await app.ack(first, [ANSWER, other] if first["type"] == "session:new" else [HANGUP])
        while isinstance(await app.hear(), dict):
            pass
        await app.close(1000)

    async with answering(behave) as url, dial_jambonz(url) as caller:
        with trio.fail_after(5):
            await caller.wait_over()
    assert words == ["session:new", "session:redirect"]
    assert caller.sockets == 2


async def test_audio_sockets_that_are_never_closed_are_bounded() -> None:
    opened = 0

    async def behave(app: App) -> None:
        nonlocal opened
        await app.accept()
        if "audio" in (app.header("Sec-WebSocket-Protocol") or ""):
            opened += 1
            # It never agrees to a close.
            await trio.sleep_forever()
        await app.ack(await app.hear(), [ANSWER, *[{"verb": "listen", "url": "/a", "maxLength": 0.02}] * 30, PAUSE])
        await app.to_the_end()

    async with answering(behave) as url, dial_jambonz(url) as caller:
        with trio.fail_after(10):
            await caller.verb(v.Pause)
    assert 8 <= opened < 30
    assert ("8 audio sockets are open already; close them", None) in caller.audio_refusals


async def test_a_call_that_is_cut_off_leaves_nothing_behind() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, PAUSE])
        await app.to_the_end()

    async with answering(behave) as url, Hub().running() as hub:
        caller = JambonzCaller(hub, JambonzProfile(url=url))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.run)
            with trio.fail_after(5):
                await caller.verb(v.Pause)
            nursery.cancel_scope.cancel()
        assert (caller.is_over, len(hub)) == (True, 0)
        # It would dial again after half a second, and then wait for the socket.
        await trio.sleep(0.6)
        assert caller._call.scheduled is None


async def test_an_error_in_a_test_is_not_wrapped() -> None:
    async with serving(echo) as (_, url):
        with pytest.raises(KeyError, match="mine"):
            async with dial_jambonz(url):
                raise KeyError("mine")


async def test_a_fault_of_ours_is_raised_where_the_call_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(ControlPlatform, "handle_timeout", broken)
    async with serving(echo) as (_, url):
        with pytest.raises(ExceptionGroup) as caught, trio.fail_after(5):
            async with dial_jambonz(url) as caller:
                await caller.wait_over()
    assert [str(error) for error in caught.value.exceptions] == ["broken"]


async def test_a_promoted_leg_is_a_call_too() -> None:
    profile = attrs.evolve(JambonzProfile(), parent={"call_sid": "call-0000"})
    async with serving(echo) as (_, url), dial_jambonz(url, profile=profile) as caller:
        with trio.fail_after(5):
            audio = await caller.wait_audio()
            audio.say_audio(bytes(3200))
            await audio.wait_heard(320)
