"""The life of a call between our server and a real Asterisk: who answers, who hangs up, what is said besides audio."""

from __future__ import annotations

import os

import pytest
import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_trio import Admission, Basic, Call, QueryToken
from tests.asterisk.app import answering, hear_bytes, hung_up, noise, rest, sound_file, until
from tests.asterisk.peer import Asterisk, Ending
from tests.asterisk.process import wait_until

pytestmark = pytest.mark.asterisk

SYNTAXES = pytest.mark.parametrize("syntax", ["", "f(json)"], ids=["plain", "json"])
DIGITS = "0123456789*#ABCD"


async def ending(asterisk: Asterisk, call_id: str) -> Ending:
    """Return how the dialplan saw a call end."""
    return await trio.to_thread.run_sync(asterisk.ending, call_id)


# What is announced, and who hangs up


@SYNTAXES
async def test_asterisk_announces_and_hangs_up(asterisk: Asterisk, syntax: str) -> None:
    async with answering(asterisk) as app:
        call_id = asterisk.call("echo", f"app/c(ulaw){syntax}", CUSTOMER="Zoë & Söhne")
        call = await app.next_call()
        assert call.info.call_id == call.info.ids["channel_id"] == call_id
        assert (call.info.dialect, call.info.profile) == ("asterisk", "json" if syntax else "plain-text")
        assert call.info.variables.get("CUSTOMER") == ("Zoë & Söhne" if syntax else None)
        asterisk.hang_up(call_id)
        ended = await hung_up(call)
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.PLATFORM, 1000, True)
    assert app.server.endings == {"ended by platform": 1}


@SYNTAXES
async def test_we_hang_up(asterisk: Asterisk, syntax: str) -> None:
    async with answering(asterisk) as app:
        call_id = asterisk.bridged("tone", f"app/c(ulaw){syntax}")
        call = await app.next_call()
        await hear_bytes(call, 800)
        await call.hang_up()
        ended = await hung_up(call)
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.APP, 1000, True)
        assert await ending(asterisk, call_id) == Ending(dial_status="ANSWER", cause=16)
    assert app.server.endings == {"ended by app": 1}


async def test_the_caller_hangs_up_while_we_speak(asterisk: Asterisk) -> None:
    async with answering(asterisk) as app:
        asterisk.bridged("silence", "app/c(ulaw)", SECONDS="0.5")
        call = await app.next_call()
        await call.play(bytes(16000))
        await call.mark("never reached")
        events = await rest(call)
        assert e.MarkReached("never reached", e.MarkOutcome.CLEARED) in events
        ended = await hung_up(call)
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.PLATFORM, 1000, True)


async def test_a_handler_that_fails_ends_its_call_alone(asterisk: Asterisk) -> None:
    async def fail_on_one(call: Call) -> None:
        await until(call, e.DigitReceived)
        raise ZeroDivisionError

    async with answering(asterisk, handler=fail_on_one) as app:
        asterisk.call("echo", "app/c(ulaw)")
        other = await app.next_call()
        asterisk.call("dtmf", "app/c(ulaw)", DIGITS="1", THEN="echo")
        failing = await app.next_call()
        ended = await hung_up(failing)
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.APP, 1011, False)
        said = os.urandom(8000)
        await other.play(said)
        assert await hear_bytes(other, len(said)) == said
        await other.hang_up()
        assert (await hung_up(other)).is_clean


# Answering


@SYNTAXES
async def test_the_app_answers(asterisk: Asterisk, syntax: str) -> None:
    def is_up() -> bool:
        return any(channel.id == call_id and channel.state == "Up" for channel in asterisk.channels())

    async with answering(asterisk) as app:
        call_id = asterisk.call("echo", f"app/c(ulaw)n{syntax}")
        call = await app.next_call()
        assert not is_up()
        await call.answer()
        await trio.to_thread.run_sync(wait_until, is_up, "the call is answered")
        said = os.urandom(4000)
        await call.play(said)
        assert await hear_bytes(call, len(said)) == said
        # Once more does no harm.
        await call.answer()
        await call.hang_up()
        await hung_up(call)


async def test_the_app_answers_or_rejects_what_is_dialled(asterisk: Asterisk) -> None:
    async with answering(asterisk) as app:
        answered = asterisk.bridged("tone", "app/c(ulaw)n")
        call = await app.next_call()
        await hear_bytes(call, 800)
        await call.answer()
        await hear_bytes(call, 800)
        await call.hang_up()
        await hung_up(call)

        rejected = asterisk.bridged("tone", "app/c(ulaw)n")
        call = await app.next_call()
        await call.reject()
        ended = await hung_up(call)
        assert (ended.initiator, ended.code, ended.is_clean) == (e.Side.APP, 1000, True)
        assert await ending(asterisk, answered) == Ending(dial_status="ANSWER", cause=16)
        assert await ending(asterisk, rejected) == Ending(dial_status="NOANSWER", cause=16)


# Digits, directions


@SYNTAXES
async def test_digits(asterisk: Asterisk, syntax: str) -> None:
    async with answering(asterisk) as app:
        asterisk.call("dtmf", f"app/c(ulaw){syntax}", DIGITS=DIGITS, MILLISECONDS="60", SECONDS="0.1")
        digits = [event for event in await rest(await app.next_call()) if isinstance(event, e.DigitReceived)]
        assert digits == [e.DigitReceived(digit) for digit in DIGITS]


async def test_directions(asterisk: Asterisk) -> None:
    async def settled() -> None:
        """Wait until Asterisk has obeyed, and forget what it said before."""
        call.say(c.RequestStatus())
        await until(call, e.StatusReported)
        with trio.move_on_after(0.05):
            async for _ in call.audio():
                pass

    async def is_silent() -> bool:
        with trio.move_on_after(0.3):
            await hear_bytes(call, 1)
            return False
        return True

    async with answering(asterisk) as app:
        asterisk.bridged("tone", "app/c(ulaw)f(json)")
        call = await app.next_call()
        await hear_bytes(call, 160)
        call.say(c.SetDirection(e.Direction.IN))
        await settled()
        assert len(await hear_bytes(call, 800)) >= 800
        with pytest.raises(LocalProtocolError, match="direction"):
            await call.play(bytes(160))

        call.say(c.SetDirection(e.Direction.OUT))
        await settled()
        assert await is_silent()
        await call.play(bytes(1600))
        await call.mark("heard")
        assert (await until(call, e.MarkReached))[-1] == e.MarkReached("heard")

        call.say(c.SetDirection(e.Direction.BOTH))
        assert await hear_bytes(call, 800)
        await call.hang_up()
        events = await rest(call)
        assert not [event for event in events if isinstance(event, e.PlatformFailed)]
        assert call.stats.tolerated == {}


async def test_plain_text_has_no_directions(asterisk: Asterisk) -> None:
    async with answering(asterisk) as app:
        asterisk.call("echo", "app/c(ulaw)")
        call = await app.next_call()
        with pytest.raises(Unsupported):
            call.say(c.SetDirection(e.Direction.IN))
        await call.hang_up()


@SYNTAXES
async def test_a_call_that_only_listens(asterisk: Asterisk, syntax: str) -> None:
    async with answering(asterisk) as app:
        sound = sound_file(asterisk, "heard", noise(1))
        asterisk.call("play", f"app/c(slin)d(in){syntax}", SOUND=sound)
        call = await app.next_call()
        assert await hear_bytes(call, 16000) == noise(1).tobytes()
        await hung_up(call)


# Who is let in


async def test_basic_authentication(asterisk: Asterisk) -> None:
    async with answering(asterisk, admission=Admission(auth=[Basic("asterisk", "secret")])) as app:
        asterisk.call("echo", "app_auth/c(ulaw)")
        call = await app.next_call()
        await call.hang_up()
        await hung_up(call)


async def test_a_refused_upgrade_is_tried_four_times(asterisk: Asterisk) -> None:
    async with answering(asterisk, admission=Admission(auth=[Basic("asterisk", "other")])) as app:
        call_id = asterisk.bridged("silence", "app_auth/c(ulaw)")
        assert await ending(asterisk, call_id) == Ending(dial_status="CHANUNAVAIL", cause=3)
        assert app.server.endings == {"refused 401": 4}


async def test_query_parameters(asterisk: Asterisk) -> None:
    async with answering(asterisk, admission=Admission(auth=[QueryToken("token", "s3cret")])) as app:
        asterisk.call("echo", "app_parameters/c(ulaw)v(token=s3cret,customer=7%207)")
        call = await app.next_call()
        assert call.request is not None
        assert call.request.query == {"token": ["s3cret"], "customer": ["7 7"]}
        await call.hang_up()
        await hung_up(call)


# Many at once


async def test_twenty_calls_lose_nothing(asterisk: Asterisk) -> None:
    async def talk(number: int, call: Call) -> None:
        said = os.urandom(5 * 8000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.play, said)
            results[number] = await hear_bytes(call, len(said)) == said
        await call.hang_up()
        await hung_up(call)
        assert call.stats.tolerated == {}

    results: dict[int, bool] = {}
    async with answering(asterisk) as app, trio.open_nursery() as nursery:
        for number in range(20):
            asterisk.call("echo", "app/c(ulaw)f(json)" if number % 2 else "app/c(ulaw)")
            nursery.start_soon(talk, number, await app.next_call())
    assert results == dict.fromkeys(range(20), True)
    assert app.server.endings == {"ended by app": 20}
