"""Every codec that this Asterisk can translate, in both directions."""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs
import numpy as np
import pytest
import trio

from callstream_core.audio import AudioFormat
from callstream_core.codecs import from_linear, to_linear
from callstream_trio import Call, Echo
from tests.asterisk.app import App, Samples, answering, hear_bytes, noise, rest, sine, sound_file
from tests.asterisk.peer import Asterisk

pytestmark = pytest.mark.asterisk

RATES = {
    **dict.fromkeys(("ulaw", "alaw", "gsm", "g726", "g726aal2", "adpcm", "lpc10", "speex", "slin"), 8000),
    **dict.fromkeys(("g722", "speex16", "slin16"), 16000),
    **dict.fromkeys(("speex32", "slin32"), 32000),
    **dict.fromkeys(("opus", "slin48"), 48000),
    **{"slin12": 12000, "slin24": 24000, "slin44": 44100, "slin96": 96000, "slin192": 192000},
}
PACKETS = ("opus", "speex", "speex16", "speex32", "lpc10")
# MixMonitor carries these through without resampling.
EXACT = ("ulaw", "alaw", "slin", "slin12", "slin16", "slin24", "slin32", "slin48")
SECONDS = 1.0
FRAMES = 50


def together(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of codecs to be tried in one go."""
    names = tuple(names)
    return [names[start : start + 7] for start in range(0, len(names), 7)]


@attrs.define
class Outcome:
    """What became of one echoed call."""

    received: int
    echoed: int
    tolerated: dict[str, int]
    said: Samples
    """What Asterisk sent us, as its own recording has it."""
    heard: Samples
    """What came back to it."""


@pytest.mark.parametrize("codecs", together(RATES), ids="-".join)
async def test_our_echo(asterisk: Asterisk, codecs: tuple[str, ...]) -> None:
    outcomes: dict[str, Outcome] = {}
    async with answering(asterisk) as app:
        calls = {codec: await begin(app, codec) for codec in codecs}
        async with trio.open_nursery() as nursery:
            for call in calls.values():
                nursery.start_soon(rest, call)
        for codec, call in calls.items():
            said, heard = [await app.recording(f"{codec}-{end}.{suffix(codec)}") for end in "tr"]
            stats = call.stats
            outcomes[codec] = Outcome(stats.messages_received - 1, stats.messages_sent, stats.tolerated, said, heard)
            assert stats.sink_refused == 0
    for codec, outcome in outcomes.items():
        check(codec, outcome)


def suffix(codec: str) -> str:
    """Return the file type that Asterisk records linear samples of this rate in."""
    return "sln" if RATES[codec] == 8000 else f"sln{RATES[codec] // 1000}"


async def begin(app: App, codec: str) -> Call:
    """Have Asterisk say something, and say it back."""
    rate = RATES[codec]
    sound = noise(SECONDS, rate) if codec in EXACT else sine(SECONDS, rate)
    if codec.endswith("law"):
        # Asterisk records what it says before it encodes it: only what G.711 can say is the same behind it.
        law = AudioFormat(encoding=codec, rate=rate, frame_size=160)
        sound = np.frombuffer(to_linear(from_linear(sound.tobytes(), law), law), np.int16)
    # MixMonitor stops when there is nothing to hear: the echo of the last word needs time to come back.
    sound = np.append(sound, np.zeros(rate // 5, np.int16))
    kind = suffix(codec)
    app.asterisk.call(
        "play",
        f"app/c({codec})f(json)",
        SOUND=sound_file(app.asterisk, f"echo-{codec}", sound, rate),
        THEN="silence",
        SECONDS="0.2",
        MONITOR=app.to(f"{codec}.{kind}"),
        MONITOR_OPTIONS=f"r({app.to(f'{codec}-r.{kind}')})t({app.to(f'{codec}-t.{kind}')})",
    )
    call = await app.next_call()
    call.connect(Echo())
    return call


def check(codec: str, outcome: Outcome) -> None:
    """Raise `AssertionError` where an echo was not what it should be."""
    # lpc10 packs 22.5 ms in a packet.
    expected = round(1.2 / 0.0225) if codec == "lpc10" else 60
    assert abs(outcome.received - expected) <= 1, codec
    assert outcome.echoed == outcome.received, codec
    assert outcome.tolerated == {}, codec
    said, heard = loud(outcome.said), loud(outcome.heard)
    if codec in EXACT:
        assert said.size == RATES[codec] * SECONDS, codec
        assert np.array_equal(heard, said), codec


def loud(samples: Samples) -> Samples:
    """Return what is not silence: recordings have silence wherever an echo was late."""
    # A-law has no zero.
    return samples[np.abs(samples) > 8]


@pytest.mark.parametrize("codecs", together(RATES), ids="-".join)
async def test_echo_by_asterisk(asterisk: Asterisk, codecs: tuple[str, ...]) -> None:
    """Each byte that we say comes back, in messages as long as the frames."""

    async def talk(codec: str, call: Call) -> None:
        reply = call.info.reply_format
        assert reply is not None
        assert reply.is_packets == (codec in PACKETS)
        packets = [os.urandom(reply.frame_size or 20 + i) for i in range(FRAMES)]
        for packet in packets:
            await call.play(packet)
        said[codec] = b"".join(packets)
        heard[codec] = await hear_bytes(call, len(said[codec]))
        await call.hang_up()
        tolerated[codec] = call.stats.tolerated
        frames[codec] = call.stats.messages_received - 1

    said: dict[str, bytes] = {}
    heard: dict[str, bytes] = {}
    frames: dict[str, int] = {}
    tolerated: dict[str, dict[str, int]] = {}
    async with answering(asterisk) as app, trio.open_nursery() as nursery:
        for codec in codecs:
            asterisk.call("echo", f"app/c({codec})")
            nursery.start_soon(talk, codec, await app.next_call())
    assert [codec for codec in codecs if heard[codec] != said[codec]] == []
    assert not any(tolerated.values())
    assert frames == dict.fromkeys(codecs, FRAMES)
