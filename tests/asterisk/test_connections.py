"""Other ways in which our end and a real Asterisk meet: we connect, ARI places the call, TLS, passthrough."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_trio import Call, Echo, Hub
from callstream_trio.dial import DialFailed, DialSettings, join, joined
from tests.asterisk.app import PATIENCE, answering, hear_bytes, hung_up, noise, recording, rest, same, until
from tests.asterisk.conftest import Certificates
from tests.asterisk.peer import Asterisk

pytestmark = pytest.mark.asterisk

SYNTAXES = pytest.mark.parametrize("syntax", ["", "f(json)"], ids=["plain", "json"])


@asynccontextmanager
async def connected(uri: str, **options: object) -> AsyncIterator[Call]:
    """Connect to a call that waits for us."""
    async with Hub().running() as hub, joined(uri, hub, **options) as call:  # type: ignore[arg-type]
        with trio.fail_after(PATIENCE):
            assert await call.wait_opened()
        yield call


# We connect


@SYNTAXES
async def test_we_connect_and_hang_up(asterisk: Asterisk, syntax: str) -> None:
    waiting = asterisk.incoming("echo", f"c(slin16){syntax}")
    async with connected(waiting.uri) as call:
        assert call.info.call_id == waiting.channel_id
        assert call.info.ids["connection_id"] == waiting.connection_id
        said = os.urandom(640 * 50)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.play, said)
            assert await hear_bytes(call, len(said)) == said
        await call.hang_up()
        ended = await hung_up(call)
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.APP, 1000, True)
        assert call.stats.tolerated == {}


async def test_we_connect_and_play_to_the_end(asterisk: Asterisk) -> None:
    waiting = asterisk.incoming("record", "c(slin)f(json)", RECORDING=str(asterisk.recordings / "joined.sln"))
    said = noise(1)
    async with connected(waiting.uri) as call:
        await call.play(said.tobytes())
        await call.finish()
    assert same(await recording(asterisk, "joined.sln"), said) == ""


async def test_we_connect_and_asterisk_hangs_up(asterisk: Asterisk) -> None:
    async def handler(call: Call) -> None:
        asterisk.hang_up(waiting.channel_id)
        ended.append(await hung_up(call))

    ended: list[e.SessionClosed] = []
    waiting = asterisk.incoming("echo", "c(ulaw)")
    with trio.fail_after(PATIENCE):
        await join(handler, waiting.uri)
    assert [(end.initiator, end.code, end.is_clean) for end in ended] == [(e.Side.PLATFORM, 1000, True)]


async def test_we_leave_without_a_word(asterisk: Asterisk) -> None:
    waiting = asterisk.incoming("echo", "c(ulaw)")
    async with connected(waiting.uri):
        pass
    await trio.to_thread.run_sync(asterisk.wait_until_idle)


async def test_nobody_waits_there(asterisk: Asterisk) -> None:
    waiting = asterisk.incoming("echo", "c(ulaw)")
    async with Hub().running() as hub:
        with pytest.raises(DialFailed, match="404") as failure:
            async with joined(waiting.uri + "x", hub):
                pass
        assert failure.value.status == 404
        async with connected(waiting.uri):
            with pytest.raises(DialFailed, match="409"):
                async with joined(waiting.uri, hub):
                    pass


# ARI


async def test_external_media(asterisk: Asterisk) -> None:
    """What we say on a call that Asterisk made is heard on one that we made, and the other way round."""
    async with answering(asterisk) as app:
        with asterisk.stasis() as stasis:
            # This waits until we have let Asterisk in.
            place = partial(asterisk.external_media, stasis.app, codec="slin16", options="f(json)")
            made = await trio.to_thread.run_sync(place)
            call = await app.next_call()
            waiting = asterisk.incoming_external_media(stasis.app, "slin16")
            async with connected(waiting.uri) as other:
                for channel in (made, waiting.channel_id):
                    await trio.to_thread.run_sync(stasis.wait_for, "StasisStart", channel)
                bridge = asterisk.ari("POST", "bridges", type="mixing")["id"]
                asterisk.ari("POST", f"bridges/{bridge}/addChannel", channel=f"{made},{waiting.channel_id}")
                said, answered = noise(1, 16000, seed=1).tobytes(), noise(1, 16000, seed=2).tobytes()
                await call.play(said)
                await other.play(answered)
                assert await hear_bytes(other, len(said)) == said
                assert await hear_bytes(call, len(answered)) == answered
                await other.hang_up()
                await hung_up(other)
            asterisk.hang_up(made)
            await hung_up(call)
            asterisk.ari("DELETE", f"bridges/{bridge}")


# TLS


@SYNTAXES
async def test_many_messages_at_once_by_tls(asterisk: Asterisk, certificates: Certificates, syntax: str) -> None:
    said = noise(1)
    async with answering(asterisk, tls=certificates.server_context()) as app:
        asterisk.call("record", f"app_tls/c(slin){syntax}", RECORDING=app.to("tls.sln"))
        call = await app.next_call()
        # All of this goes out before anything else can happen.
        for number in range(10):
            call.say(c.SendAudio(said[number * 800 : (number + 1) * 800].tobytes()))
            call.say(c.PlaceMark(str(number)))
        call.say(c.RequestStatus())
        status = await until(call, e.StatusReported)
        assert isinstance(status[-1], e.StatusReported)
        assert status[-1].queue_length >= 40
        await call.finish()
        marks = [event for event in await rest(call) if isinstance(event, e.MarkReached)]
        assert marks == [e.MarkReached(str(number)) for number in range(10)]
        assert same(await app.recording("tls.sln"), said) == ""
        assert call.stats.tolerated == {}


async def test_a_whole_turn_in_one_go_by_tls(asterisk: Asterisk, certificates: Certificates) -> None:
    """What one deadline of the session sends leaves in one write, and yet in records of its own."""
    said = noise(2)
    async with answering(asterisk, tls=certificates.server_context()) as app:
        asterisk.call("record", "app_tls/c(slin)", RECORDING=app.to("refill.sln"))
        call = await app.next_call()
        for number in range(20):
            call.say(c.SendAudio(said[number * 800 : (number + 1) * 800].tobytes()))
            call.say(c.PlaceMark(str(number)))
        await call.finish()
        marks = [event for event in await rest(call) if isinstance(event, e.MarkReached)]
        assert marks == [e.MarkReached(str(number)) for number in range(20)]
        assert same(await app.recording("refill.sln"), said) == ""


async def test_we_connect_by_tls(asterisk: Asterisk, certificates: Certificates) -> None:
    waiting = asterisk.incoming("echo", "c(ulaw)")
    assert waiting.tls_uri is not None
    settings = DialSettings(attempts=1, tls=certificates.client_context())
    async with connected(waiting.tls_uri, settings=settings) as call:
        said = os.urandom(8000)
        for start in range(0, len(said), 160):
            call.say(c.SendAudio(said[start : start + 160]))
        await call.mark("all")
        assert await hear_bytes(call, len(said)) == said
        assert (await until(call, e.MarkReached))[-1] == e.MarkReached("all")
        await call.hang_up()
        assert (await hung_up(call)).is_clean


async def test_a_certificate_that_asterisk_does_not_trust(asterisk: Asterisk, certificates: Certificates) -> None:
    async with answering(asterisk, tls=certificates.server_context()) as app:
        asterisk.add_client("distrustful", uri=f"wss://localhost:{app.port}/asterisk", tls_enabled="yes")
        call_id = asterisk.bridged("silence", "distrustful/c(ulaw)")
        ending = await trio.to_thread.run_sync(asterisk.ending, call_id)
        assert ending.dial_status == "CHANUNAVAIL"
        asterisk.call("echo", "app_tls/c(ulaw)")
        call = await app.next_call()
        await call.hang_up()
        await hung_up(call)


# Passthrough


@SYNTAXES
async def test_opus_passes_through(asterisk: Asterisk, syntax: str) -> None:
    async with answering(asterisk) as app:
        asterisk.call("echo", f"app/c(opus){syntax}")
        call = await app.next_call()
        await packets_come_back(call, [os.urandom(60 + number) for number in range(100)])


async def test_explicit_passthrough_that_we_know_of(asterisk: Asterisk) -> None:
    waiting = asterisk.incoming("echo", "c(ulaw)p")
    async with connected(waiting.uri, profile=AsteriskProfile(passthrough=True)) as call:
        await packets_come_back(call, [os.urandom(100 + number) for number in range(100)])


async def test_explicit_passthrough_that_nobody_told_us(asterisk: Asterisk) -> None:
    """Asterisk does not say so: frame by frame it makes no difference."""
    async with answering(asterisk) as app:
        asterisk.call("echo", "app/c(ulaw)p")
        call = await app.next_call()
        said = [os.urandom(160) for _ in range(100)]
        for frame in said:
            await call.play(frame)
        assert await hear_bytes(call, 16000) == b"".join(said)
        asterisk.call("tone", "app/c(ulaw)p")
        echoed = await app.next_call()
        echoed.connect(Echo())
        await trio.sleep(0.5)
        for each in (call, echoed):
            await each.hang_up()
            assert not [event for event in await rest(each) if isinstance(event, e.PlatformFailed)]
            assert each.stats.tolerated == {}
        assert echoed.stats.messages_sent == echoed.stats.messages_received > 10


async def test_a_refused_mark_tells_of_passthrough(asterisk: Asterisk) -> None:
    """From then on we pace the packets, and what was sent before still counts."""
    async with answering(asterisk) as app:
        asterisk.call("echo", "app/c(ulaw)pf(json)")
        call = await app.next_call()
        said = [os.urandom(160) for _ in range(100)]
        for frame in said[:40]:
            await call.play(frame)
        await call.mark("first")
        events = await until(call, e.PlatformFailed)
        for frame in said[40:]:
            await call.play(frame)
        await call.mark("last")
        for name in ("first", "last"):
            events += await until(call, e.MarkReached)
            assert events[-1] == e.MarkReached(name, is_estimated=True)
        assert abs(call.position - 2) < 0.05
        await call.finish()
        events += await rest(call)
        assert [event.text for event in events if isinstance(event, e.PlatformFailed)] == [
            "MARK_MEDIA not supported in passthrough mode"
        ]
        assert await hear_bytes(call, 16000) == b"".join(said)


async def packets_come_back(call: Call, packets: list[bytes]) -> None:
    """Raise `AssertionError` where packets are not paced, lost, or complained about."""

    async def play() -> None:
        for packet in packets:
            await call.play(packet)
        await call.mark("last")

    async def watch() -> None:
        for _ in range(4):
            await trio.sleep(0.4)
            call.say(c.RequestStatus())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        nursery.start_soon(watch)
        said = b"".join(packets)
        assert await hear_bytes(call, len(said)) == said
    assert call.stats.messages_received == 1 + len(packets) + 4
    events = await until(call, e.MarkReached)
    assert events[-1] == e.MarkReached("last", is_estimated=True)
    queued = [event.queue_length for event in events if isinstance(event, e.StatusReported)]
    # Paced by us: the platform has next to nothing waiting, unless it lost some ticks.
    assert len(queued) == 4
    assert min(queued) <= 1
    assert max(queued) <= 10
    await call.finish()
    events += await rest(call)
    assert not [event for event in events if isinstance(event, e.PlatformFailed | e.PeerMisbehaved)]
    assert call.stats.tolerated == {}
