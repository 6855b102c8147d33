"""Sinch over a real socket: the upgrade, an echo, a refusal."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from callstream_core import events as e
from callstream_core.closing import Outcome
from callstream_core.dialects.sinch import SinchProfile, Spelling
from callstream_trio import Call, Hub
from callstream_trio.apps import echo
from callstream_trio.caller import Caller, dial
from callstream_trio.dial import DialFailed, open_platform_link
from callstream_trio.voice import make_voice
from tests.trio.serving import serving


@pytest.mark.parametrize("path", ["/sinch", "/"])
async def test_01_a_bare_upgrade_is_accepted_and_audio_is_echoed(path: str) -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await echo(call)

    profile = SinchProfile(rate=16000, headers={"tenant": "blue"})
    frames = make_voice(profile.audio).frames[:5]
    async with serving(handler) as url, dial(url.replace("/asterisk", path), "sinch", profile=profile) as caller:
        # Said before the answer: it waits.
        caller.say_audio(b"".join(frames))
        with trio.fail_after(5):
            await caller.wait_heard(5 * profile.audio.frame_size)
        assert caller.is_answered
    assert bytes(caller.heard_audio) == b"".join(frames)
    assert caller.session.outcome is Outcome.COMPLETED
    assert caller.session.counters == {}
    [call] = calls
    assert call.info.variables == {"tenant": "blue"}
    assert call.stats.tolerated == {}
    request = call.request
    assert request is not None
    assert request.header(b"sec-websocket-protocol") is None


async def test_02_a_refused_upgrade_is_not_tried_again() -> None:
    upgrades = 0

    async def refuse(stream: trio.SocketStream) -> None:
        nonlocal upgrades
        upgrades += 1
        while not (await stream.receive_some()).endswith(b"\r\n\r\n"):
            pass
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery, Hub().running() as hub:
        [listener] = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/sinch"
        with pytest.raises(DialFailed) as failed:
            await open_platform_link(url, hub, Caller(hub), as_platform="sinch")
        assert failed.value.status == 403
        nursery.cancel_scope.cancel()
    assert upgrades == 1


async def test_10_a_handler_rejects() -> None:
    async def handler(call: Call) -> None:
        if call.info.variables["token"] != "right":
            await call.reject("busy")

    profile = SinchProfile(headers={"token": "wrong"}, spelling=Spelling.V2_ARRAY)
    async with serving(handler) as url, dial(url.replace("/asterisk", "/sinch"), "sinch", profile=profile) as caller:
        with trio.fail_after(5):
            end = await caller.wait_ended()
    assert caller.session.outcome is Outcome.BUSY
    assert (end.code, end.initiator) == (1000, e.Side.APP)
    assert caller.heard_audio == b""
