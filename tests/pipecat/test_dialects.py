"""An echo on every dialect and in every format, in simulated time and without a network; and what cannot be taken."""

from __future__ import annotations

import asyncio

import attrs
import numpy as np
import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.audio.filters.base_audio_filter import BaseAudioFilter
from pipecat.frames.frames import EndWorkerFrame, Frame, InputAudioRawFrame, InputDTMFFrame, InputTransportMessageFrame
from pipecat.processors.frame_processor import FrameDirection

from callstream_core import codecs
from callstream_core import events as e
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.dialects.jambonz import JambonzProfile, MixType
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.dialects.yeastar import YeastarProfile
from callstream_core.errors import Unsupported
from callstream_pipecat import CallstreamParams, CallstreamTransport
from callstream_trio.voice import make_voice
from tests.asyncio.simulation import Platform, simulated, until
from tests.pipecat.bots import FAITHFUL, Echo, Script, gaps, phoning, speaker, tone

ASTERISK = [
    (f"{format} {syntax.value}", "asterisk", AsteriskProfile(format=format, syntax=syntax))
    for format in ("ulaw", "alaw", "slin", "slin16", "slin24", "slin48")
    for syntax in Syntax
]
OTHERS: list[tuple[str, str, Profile]] = [
    ("passthrough", "asterisk", AsteriskProfile(format="ulaw", passthrough=True)),
    ("sinch", "sinch", SinchProfile()),
    ("sinch 16000", "sinch", SinchProfile(rate=16000)),
    ("jambonz", "jambonz", JambonzProfile()),
    ("jambonz 16000 to 8000", "jambonz", JambonzProfile(sample_rate=16000, reply_rate=8000)),
]
CALLS = [pytest.param(dialect, profile, id=name) for name, dialect, profile in (*ASTERISK, *OTHERS)]
KEYS = ("asterisk", "jambonz")
LISTENING: list[tuple[str, Profile]] = [
    ("yeastar", YeastarProfile()),
    ("jambonz", JambonzProfile(mix_type=MixType.STEREO)),
]


@pytest.mark.parametrize(("dialect", "profile"), CALLS)
@simulated
async def test_an_echo_with_keys_in_between(dialect: str, profile: Profile) -> None:
    script = Script()
    async with phoning(script, Echo(), dialect=dialect, profile=profile, knows_profile=True, params=FAITHFUL) as phone:
        opening = profile.opening()
        assert opening.reply_format is not None
        said = make_voice(opening.caller_format).frames[:25]
        for start in (0, 10, 20):
            await phone.platform.speak(said[start : start + 10])
            if dialect in KEYS:
                phone.platform.say(e.DigitReceived("5"))
        # The last of it is held back where the platform wants more before it plays.
        await asyncio.sleep(1.0)
    assert len(script.found(InputDTMFFrame)) == (3 if dialect in KEYS else 0)
    heard = b"".join(frame.audio for frame in script.found(InputAudioRawFrame))
    assert heard == codecs.to_linear(b"".join(said), opening.caller_format)
    played = codecs.to_linear(phone.platform.audio, opening.reply_format)
    if opening.caller_format.rate == opening.reply_format.rate:
        assert heard.startswith(played)
    # jambonz keeps 60 ms until more comes.
    assert len(played) / opening.reply_format.rate >= len(heard) / opening.caller_format.rate - 0.2


@pytest.mark.parametrize(("dialect", "profile"), CALLS)
@simulated
async def test_a_burst_has_no_gap_and_an_end(dialect: str, profile: Profile) -> None:
    reply = profile.opening().reply_format
    assert reply is not None
    script = speaker(2.0, reply.rate, (EndWorkerFrame(), FrameDirection.UPSTREAM))
    async with phoning(script, dialect=dialect, profile=profile, knows_profile=True) as phone:
        await phone.is_over.wait()
    played = codecs.to_linear(phone.platform.audio, reply)
    said = tone(2.0, reply.rate)
    assert len(played) >= len(said)
    # u-law and A-law are coarse; the silence behind it is what the platform wants before it plays the rest.
    error = np.frombuffer(played, "<i2")[: len(said) // 2].astype(int) - np.frombuffer(said, "<i2")
    assert np.abs(error).max() < (300 if reply.encoding in ("ulaw", "alaw") else 1)
    assert gaps(phone.platform.frames) == 0
    assert phone.transport.call.ended is not None
    assert phone.transport.call.ended.is_clean


@simulated
async def test_audio_may_overtake_the_announcement() -> None:
    script = Script()
    async with phoning(script, params=FAITHFUL, early=[b"\x01" * 640]) as phone:
        await phone.platform.speak([b"\x02" * 640])
        await until(lambda: len(script.found(InputAudioRawFrame)) == 2)
    assert [frame.audio for frame in script.found(InputAudioRawFrame)] == [b"\x01" * 640, b"\x02" * 640]


@pytest.mark.parametrize(("dialect", "profile"), LISTENING, ids=["yeastar", "jambonz stereo"])
@simulated
async def test_each_party_that_is_listened_to_is_told_apart(dialect: str, profile: Profile) -> None:
    script = Script()
    tracks = profile.tracks
    audio = profile.opening().caller_format
    size = audio.frame_size // audio.channels

    def said(number: int, place: int) -> bytes:
        return bytes([number + 1, place]) * (size // 2)

    # Nothing announces a call of Yeastar's but its first audio.
    first = e.AudioReceived(said(0, 0), tracks[0])
    async with phoning(script, dialect=dialect, profile=profile, first=first) as phone:
        for number in range(5):
            for place, track in enumerate(tracks):
                if (number, place) != (0, 0):
                    phone.platform.say(e.AudioReceived(said(number, place), track))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
    for place, track in enumerate(tracks):
        heard = b"".join(f.audio for f in script.found(InputAudioRawFrame) if f.transport_source == track)
        assert heard == b"".join(said(number, place) for number in range(5))


@pytest.mark.parametrize("can_reply", [True, False])
@pytest.mark.parametrize("format", ["opus", "g722", "g729"])
@simulated
async def test_formats_that_only_a_codec_can_read_are_refused(format: str, can_reply: bool) -> None:
    call = await Platform(profile=AsteriskProfile(format=format)).connect()
    if not can_reply:
        call.session.opened = attrs.evolve(call.info, reply_format=None)
    with pytest.raises(Unsupported, match=f"{format}.*slin"):
        CallstreamTransport(call)
    call.fail(1003, "")
    await call.wait_gone()


@simulated
async def test_silence_comes_while_the_platform_sends_none() -> None:
    script = Script()
    async with phoning(script) as phone:
        await asyncio.sleep(1.0)
        assert 46 <= len(script.found(InputAudioRawFrame)) <= 50
        assert not any(any(frame.audio) for frame in script.found(InputAudioRawFrame))
        before = len(script.found(InputAudioRawFrame))
        await phone.platform.speak([b"\x01" * 640] * 50)
        spoken = script.found(InputAudioRawFrame)[before:]
    # None between what is really said.
    assert len(spoken) <= 52
    assert all(any(frame.audio) for frame in spoken[2:])


@simulated
async def test_what_was_announced_is_told() -> None:
    script = Script()
    profile = AsteriskProfile(syntax=Syntax.JSON, variables={"CALLERID(num)": "42"})
    async with phoning(script, profile=profile):
        await until(lambda: script.found(InputTransportMessageFrame))
    [message] = [frame.message for frame in script.found(InputTransportMessageFrame)]
    assert message["event"] == "opened"
    assert message["dialect"] == "asterisk"
    assert message["variables"]["CALLERID(num)"] == "42"


@simulated
async def test_a_slow_filter_costs_audio_and_not_memory() -> None:
    class Slow(BaseAudioFilter):
        async def start(self, sample_rate: int) -> None:
            pass

        async def stop(self) -> None:
            pass

        async def process_frame(self, frame: Frame) -> None:
            pass

        async def filter(self, audio: bytes) -> bytes:
            await asyncio.sleep(0.5)
            return audio

    params = CallstreamParams(audio_in_filter=Slow(), max_waiting=10)
    async with phoning(Script(), params=params) as phone:
        await phone.platform.speak([bytes(640)] * 100)
        # Four are through, one is in the filter, ten wait.
        assert phone.transport.input().dropped == pytest.approx(100 - 4 - 1 - 10, abs=1)
