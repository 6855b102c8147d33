"""jambonz's audio socket over a real one: the upgrade, its Origin, an echo."""

from __future__ import annotations

import pytest
import trio

from callstream_core.dialects.jambonz import JambonzProfile, MixType
from callstream_trio import Call, Echo
from callstream_trio.caller import dial
from callstream_trio.dial import DialFailed, DialSettings
from callstream_trio.voice import make_voice
from tests.trio.serving import serving

PROFILE = JambonzProfile(metadata={"tenant": "blue"})


@pytest.mark.parametrize("path", ["/jambonz/audio", "/"])
async def test_a_call_is_echoed(path: str) -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        call.connect(Echo())
        await call.wait_ended()

    frames = make_voice(PROFILE.audio).frames[:24]
    async with serving(handler) as url, dial(url.replace("/asterisk", path), "jambonz", profile=PROFILE) as caller:
        caller.say_audio(b"".join(frames))
        with trio.fail_after(5):
            await caller.wait_heard(24 * 320)
    assert bytes(caller.heard_audio) == b"".join(frames)
    [call] = calls
    assert call.info.variables["tenant"] == "blue"
    request = call.request
    assert request is not None
    assert request.header(b"sec-websocket-protocol") == b"audio.jambonz.org"


@pytest.mark.parametrize(
    ("path", "is_own"), [("/jambonz/audio", True), ("/", True), ("/jambonz/audio", False), ("/asterisk", True)]
)
async def test_its_own_origin_is_no_browser_s(path: str, is_own: bool) -> None:
    async def handler(call: Call) -> None:
        await call.wait_ended()

    async with serving(handler) as url:
        url = url.replace("/asterisk", path)
        host = url.split("/")[2] if is_own else "elsewhere.example"
        settings = DialSettings(attempts=1, headers=(("Origin", f"http://{host}"),))
        platform = "asterisk" if path == "/asterisk" else "jambonz"
        if is_own and platform == "jambonz":
            async with dial(url, platform, profile=PROFILE, settings=settings):
                pass
        else:
            with pytest.raises(DialFailed, match="403"):
                async with dial(url, platform, settings=settings):
                    pass


def test_stereo_has_two_tracks() -> None:
    assert JambonzProfile(mix_type=MixType.STEREO).tracks == ("caller", "callee")
