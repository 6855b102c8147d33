"""Prompts and interruptions on every dialect that takes audio, and calls that no agent can take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

pytest.importorskip("livekit.agents", reason="livekit-agents is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

from livekit.agents import AgentSession

from callstream_asyncio import Call
from callstream_core import dialects
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.dialects.jambonz import JambonzProfile
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.outputs import FramePlayed
from callstream_livekit import CallstreamAudioOutput
from callstream_trio.caller import dial
from tests.livekit.serving import Talk, over, serving, tone

PLATFORMS = {
    "asterisk-ulaw": ("asterisk", AsteriskProfile()),
    "asterisk-slin48": ("asterisk", AsteriskProfile(format="slin48", syntax=Syntax.JSON)),
    "jambonz": ("jambonz", JambonzProfile()),
    "jambonz-other-rate": ("jambonz", JambonzProfile(sample_rate=16000, reply_rate=8000)),
    "sinch": ("sinch", SinchProfile(rate=16000)),
}
platforms = pytest.mark.parametrize(("name", "profile"), PLATFORMS.values(), ids=PLATFORMS)


def seconds_of_tone(frames: list[FramePlayed], ptime: float) -> float:
    """Silence is one value over and over; a tone is not."""
    return sum(len(set(frame.data)) > 4 for frame in frames) * ptime


async def listen(url: str, name: str, profile: Any) -> float:
    """Call, and return the seconds of speech that were played to the caller."""
    async with dial(url + dialects.get(name).paths[0], name, profile=profile) as caller:
        with trio.fail_after(10):
            frames = [word async for word in caller if isinstance(word, FramePlayed)]
        return seconds_of_tone(frames, caller.session.profile.playout.period)


@platforms
async def test_a_prompt_is_heard_to_its_end(name: str, profile: Any) -> None:
    async def play(_talk: Talk, agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        assert output.sample_rate is not None
        await agent.say("hello", audio=tone(1.0, output.sample_rate)).wait_for_playout()

    async with serving(play, profile) as (url, talk):
        heard = await listen(url, name, profile)
        await over(talk)
    assert heard == pytest.approx(1.0, abs=0.021)
    [finished] = talk.finished
    assert finished.playback_position == pytest.approx(1.0)
    assert not finished.interrupted


@platforms
async def test_an_interruption_tells_what_was_heard(name: str, profile: Any) -> None:
    async def play(_talk: Talk, agent: AgentSession, _call: Call, output: CallstreamAudioOutput) -> None:
        assert output.sample_rate is not None
        handle = agent.say("a long story", audio=tone(5.0, output.sample_rate))
        await asyncio.sleep(1.0)
        await agent.interrupt()
        await handle.wait_for_playout()
        await agent.say("sorry", audio=tone(0.4, output.sample_rate)).wait_for_playout()

    async with serving(play, profile) as (url, talk):
        heard = await listen(url, name, profile)
        await over(talk)
    story, sorry = talk.finished
    assert (story.interrupted, sorry.interrupted) == (True, False)
    assert sorry.playback_position == pytest.approx(0.4)
    assert story.playback_position + 0.4 == pytest.approx(heard, abs=0.021)


@pytest.mark.parametrize(
    ("name", "profile", "why"),
    [
        ("asterisk", AsteriskProfile(passthrough=True), "without passthrough"),
        ("asterisk", AsteriskProfile(format="opus"), "packets of opus"),
        ("asterisk", AsteriskProfile(format="g722"), "g722"),
        ("jambonz", JambonzProfile(is_streaming=False), "takes no audio"),
        ("yeastar", None, "a track of its own"),
    ],
    ids=["passthrough", "opus", "g722", "clips", "tracks"],
)
async def test_a_call_that_no_agent_can_take_says_why(name: str, profile: Any, why: str) -> None:
    async def play(*_: object) -> None:
        raise AssertionError("nothing to play")

    async with serving(play, profile) as (url, talk):
        async with dial(url + dialects.get(name).paths[0], name, profile=profile) as caller:
            # Where nobody has joined, nothing is announced.
            caller.say_audio(bytes(1280))
            with trio.fail_after(5):
                await caller.wait_gone()
        await over(talk)
    assert why in str(talk.refused)
