"""Two callers who talk to each other, whatever platforms they are on."""

from __future__ import annotations

from contextlib import AsyncExitStack

import numpy as np
import pytest
import trio
from structlog.typing import EventDict

from callstream_core import commands as c
from callstream_core.audio import linear
from callstream_core.codecs import to_linear
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.dialects.yeastar import FRAGMENT, YeastarProfile
from callstream_core.errors import Unsupported
from callstream_core.events import AudioReceived
from callstream_trio import Bridge, Call, apps
from callstream_trio.caller import Caller, dial
from callstream_trio.link import Link
from callstream_trio.voice import tone
from tests.trio.serving import serving
from tests.trio.wire import until

SLIN16 = AsteriskProfile(format="slin16", syntax=Syntax.JSON)
ALAW = AsteriskProfile(format="alaw")


def pitch(pcm: bytes, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, "<i2")))
    return float(np.argmax(spectrum) * rate / (len(pcm) / 2))


def sound(number: int, frames: int = 25) -> bytes:
    return np.random.default_rng(number).integers(-8000, 8000, 320 * frames, np.int16).tobytes()


async def heard(caller: Caller, size: int) -> bytes:
    await until(lambda: len(caller.heard_audio) >= size)
    return bytes(caller.heard_audio)


async def test_what_one_says_the_other_hears_and_nobody_else() -> None:
    async with serving(apps.bridge()) as url, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(dial(url, profile=SLIN16)) for _ in range(4)]
        for number, caller in enumerate(callers):
            caller.say_audio(sound(number))
        for number, partner in enumerate((1, 0, 3, 2)):
            assert sound(partner) in await heard(callers[number], len(sound(partner)))


async def test_formats_and_platforms_may_differ() -> None:
    async with serving(apps.bridge()) as url, dial(url, profile=ALAW) as one:
        sinch = url.replace("asterisk", "sinch")
        async with dial(sinch, "sinch", profile=SinchProfile(rate=16000)) as two:
            one.say_audio(tone(ALAW.audio)[:8000])
            two.say_audio(tone(linear(16000))[:32000])
            assert pitch(await heard(two, 16000), 16000) == pytest.approx(440, abs=5)
            assert pitch(to_linear(await heard(one, 4000), ALAW.audio), 8000) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("leaver", [0, 1])
async def test_when_one_hangs_up_so_does_the_other(leaver: int) -> None:
    async with serving(apps.bridge()) as url, dial(url) as one, dial(url) as two:
        one.say_audio(bytes(3200))
        await heard(two, 640)
        (one, two)[leaver].hang_up()
        with trio.fail_after(5):
            ended = await (two, one)[leaver].wait_ended()
        assert ended.code == 1000


async def test_who_left_before_anybody_came_is_nobodys_partner() -> None:
    async with serving(apps.bridge()) as url:
        async with dial(url) as gone:
            gone.say_audio(bytes(640))
        async with dial(url) as one, dial(url) as two:
            one.say_audio(sound(7, 5))
            assert sound(7, 5) in await heard(two, len(sound(7, 5)))


async def test_callers_who_cannot_hear_each_other_are_hung_up_on(logs: list[EventDict]) -> None:
    packets = AsteriskProfile(format="g729")
    async with (
        serving(apps.bridge()) as url,
        dial(url, profile=packets) as one,
        dial(url, profile=SLIN16) as two,
    ):
        with trio.fail_after(5):
            await one.wait_ended()
            await two.wait_ended()
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "hanging up: two callers cannot hear each other"
    ]


async def test_what_would_come_too_late_is_dropped() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        await call.answer()
        calls.append(call)
        await call.wait_ended()

    async with serving(handler) as url, dial(url, profile=SLIN16), dial(url, profile=SLIN16):
        await until(lambda: len(calls) == 2)
        bridge = Bridge(*calls, max_lag=0.2)
        for _ in range(50):
            assert list(bridge.take(AudioReceived(bytes(640)), 0.0)) == []
        # A fifth of a second and the frame that was on its way, and not a whole second.
        assert bridge.dropped == (50 - 11) * 640
        assert calls[1].backlog == pytest.approx(0.22, abs=0.1)
        await calls[1].hang_up()
        bridge.take(AudioReceived(bytes(640)), 0.0)
        assert bridge.dropped == (50 - 10) * 640


async def test_a_fault_in_the_other_call_harms_that_one_alone(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    async with serving(apps.bridge()) as url, dial(url, profile=SLIN16) as one, dial(url, profile=SLIN16) as two:
        one.say_audio(sound(1, 5))
        await heard(two, len(sound(1, 5)))
        say = Link.say

        def broken(link: Link, word: object) -> None:
            if isinstance(word, c.SendAudio):
                raise ZeroDivisionError
            say(link, word)

        monkeypatch.setattr(Link, "say", broken)
        with trio.fail_after(5):
            while two.ended is None:
                one.say_audio(bytes(640))
                await trio.sleep(0.01)
        assert two.ended.code == 1011
        with trio.fail_after(5):
            assert (await one.wait_ended()).code == 1000
    assert "call dropped: its link failed" in [entry["event"] for entry in logs]


async def test_a_bridge_needs_two_that_fit() -> None:
    found: list[str] = []

    async def handler(call: Call) -> None:
        for source, target in ((call, calls[0]), (calls[0], call)):
            try:
                Bridge(source, target)
            except Unsupported as error:
                found.append(str(error))

    calls: list[Call] = []

    async def first(call: Call) -> None:
        calls.append(call)
        await call.wait_ended()

    async with serving(first) as url, dial(url, profile=SLIN16), serving(handler) as taps:
        await until(lambda: bool(calls))
        tap = taps.replace("asterisk", "yeastar")
        profile = YeastarProfile()
        async with dial(tap, "yeastar", profile=profile) as caller:
            caller.say_audio(bytes(FRAGMENT), track=profile.parties[0].channelid)
            await until(lambda: len(found) == 2)
    assert found == [
        "every party of the source has a track of its own: which one should be played?",
        "that platform only listens: nothing can be played on its call",
    ]
