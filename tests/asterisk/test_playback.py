"""What our server plays to a real Asterisk: every sample of it arrives, and we know when."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.limits import PlayoutSettings
from callstream_trio import Call
from tests.asterisk.app import App, Samples, answering, hung_up, noise, rest, same, until
from tests.asterisk.peer import Asterisk

pytestmark = pytest.mark.asterisk

FRAME = 0.02
PLAYED, CLEARED = e.MarkOutcome.PLAYED, e.MarkOutcome.CLEARED


async def recorded(app: App, name: str, options: str = "c(slin)f(json)", *, section: str = "app") -> Call:
    """Begin a call that Asterisk records: only what we say, without the gaps."""
    app.asterisk.call("record", f"{section}/{options}", RECORDING=app.to(name))
    return await app.next_call()


async def recorded_behind_bridge(app: App, name: str, options: str, caller_format: str = "slin") -> Call:
    """Begin a call that the caller records."""
    app.asterisk.bridged("record", f"app/{options}", caller_format=caller_format, RECORDING=app.to(name))
    return await app.next_call()


async def say(call: Call, audio: Samples) -> None:
    await call.play(audio.tobytes())


async def play_out(seconds: float, asterisk: Asterisk) -> None:
    said = noise(seconds, 16000)
    async with answering(asterisk) as app:

        async def speak(call: Call) -> None:
            await say(call, said)
            await call.finish()
            ended[call] = await hung_up(call)

        ended: dict[Call, e.SessionClosed] = {}
        alone = await recorded(app, "alone.sln16", "c(slin16)f(json)")
        bridged = await recorded_behind_bridge(app, "bridged.sln16", "c(slin16)", "slin16")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak, alone)
            nursery.start_soon(speak, bridged)
        for call in (alone, bridged):
            assert ended[call].is_clean
            assert (ended[call].initiator, ended[call].code) == (e.Side.APP, 1000)
            assert call.stats.tolerated == {}
        assert same(await app.recording("alone.sln16"), said) == ""
        assert same(await app.recording("bridged.sln16"), said) == ""


async def test_every_sample_arrives(asterisk: Asterisk) -> None:
    await play_out(10, asterisk)


@pytest.mark.slow
@pytest.mark.timeout(100)
async def test_every_sample_of_a_minute_arrives(asterisk: Asterisk) -> None:
    await play_out(60, asterisk)


async def test_the_queue_is_full_and_drains(asterisk: Asterisk) -> None:
    said, second = noise(30), noise(0.5, seed=2)
    async with answering(asterisk, playout=PlayoutSettings(send_ahead=None)) as app:
        call = await recorded(app, "burst.sln")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, call, said)
            await until(call, e.FlowPaused)
            assert call.session.is_flow_paused
            await until(call, e.FlowResumed)
            await until(call, e.FlowPaused)
            nursery.cancel_scope.cancel()
        # A clear makes room at once; the word that Asterisk sends a tick later is old news.
        cleared = await call.clear()
        assert not call.session.is_flow_paused
        await say(call, second)
        await call.finish()
        recording = await app.recording("burst.sln")
        heard = recording.size - second.size
        assert same(recording, np.concatenate([said[:heard], second])) == ""
        assert not cleared.is_estimated
        assert abs(cleared.heard - heard / 8000) <= FRAME
        assert call.stats.tolerated == {"stray_resumes": 1}


@pytest.mark.slow
async def test_a_burst_of_thirty_seconds_loses_nothing(asterisk: Asterisk) -> None:
    said = noise(30)
    async with answering(asterisk, playout=PlayoutSettings(send_ahead=None)) as app:
        call = await recorded(app, "burst.sln")
        await say(call, said)
        await call.finish()
        events = await rest(call)
        assert e.FlowPaused() in events
        assert e.FlowResumed() in events
        assert same(await app.recording("burst.sln"), said) == ""
        assert call.stats.tolerated == {}


async def test_a_clear_tells_what_was_heard(asterisk: Asterisk) -> None:
    first, second = noise(5, seed=1), noise(1, seed=2)
    async with answering(asterisk) as app:

        async def interrupt(name: str, call: Call) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(say, call, first)
                await trio.sleep(1.1)
                nursery.cancel_scope.cancel()
            cleared[name] = await call.clear()
            await say(call, second)
            await call.finish()

        cleared: dict[str, e.PlayoutCleared] = {}
        calls = {
            "alone-json.sln": await recorded(app, "alone-json.sln"),
            "alone-plain.sln": await recorded(app, "alone-plain.sln", "c(slin)"),
            "bridged-json.sln": await recorded_behind_bridge(app, "bridged-json.sln", "c(slin)f(json)"),
            "bridged-plain.sln": await recorded_behind_bridge(app, "bridged-plain.sln", "c(slin)"),
        }
        async with trio.open_nursery() as nursery:
            for name, call in calls.items():
                nursery.start_soon(interrupt, name, call)
        for name, outcome in cleared.items():
            recording = await app.recording(name)
            heard = recording.size - second.size
            assert not outcome.is_estimated
            assert same(recording, np.concatenate([first[:heard], second])) == "", name
            assert abs(outcome.heard - heard / 8000) <= FRAME, name


async def test_marks_tell_positions(asterisk: Asterisk) -> None:
    async with answering(asterisk) as app:
        for syntax in ("", "f(json)"):
            call = await recorded(app, f"marks{syntax}.sln", f"c(slin){syntax}")
            for number, seconds in enumerate((0.3, 0.5, 0.2)):
                await say(call, noise(seconds))
                await call.mark(f"piece {number}")
            await call.mark("at once behind it")
            positions = {}
            for number in range(3):
                events = await until(call, e.MarkReached)
                assert events[-1] == e.MarkReached(f"piece {number}")
                positions[number] = call.position
            assert (await until(call, e.MarkReached))[-1] == e.MarkReached("at once behind it")
            for number, position in enumerate((0.3, 0.8, 1.0)):
                # The platform's word comes with the next tick, and this task is woken a moment later.
                assert position <= positions[number] < position + 0.1
            await call.hang_up()


async def test_a_clear_answers_each_mark_once(asterisk: Asterisk) -> None:
    async with answering(asterisk) as app:
        call = await recorded(app, "cleared-marks.sln")
        for number in range(4):
            await say(call, noise(0.4))
            await call.mark(str(number))
        events = await until(call, e.MarkReached)
        await call.clear()
        await say(call, noise(0.1))
        await call.mark("again")
        await call.finish()
        events += await rest(call)
        marks = [event for event in events if isinstance(event, e.MarkReached)]
        assert marks[:1] == [e.MarkReached("0")]
        assert marks[1:4] == [e.MarkReached(str(number), CLEARED) for number in (1, 2, 3)]
        assert marks[4:] == [e.MarkReached("again")]
        assert call.stats.tolerated == {}


async def test_a_pause_stops_playing(asterisk: Asterisk) -> None:
    said = noise(1.5)
    async with answering(asterisk) as app:
        call = await recorded(app, "paused.sln")
        await say(call, said[:8000])
        await trio.sleep(0.4)
        await call.pause()
        before = call.position
        await trio.sleep(0.6)
        assert call.position == before
        call.say(c.RequestStatus())
        status = (await until(call, e.StatusReported))[-1]
        assert isinstance(status, e.StatusReported)
        assert status.is_paused
        # Our estimate of what is left is the platform's.
        assert abs(status.queue_length - call.backlog / FRAME) <= 1
        await call.resume()
        await say(call, said[8000:])
        await call.finish()
        assert same(await app.recording("paused.sln"), said) == ""


async def test_a_clear_ends_a_pause(asterisk: Asterisk) -> None:
    first, second = noise(1, seed=1), noise(0.5, seed=2)
    async with answering(asterisk) as app:
        call = await recorded(app, "cleared-pause.sln")
        await say(call, first)
        await trio.sleep(0.4)
        await call.pause()
        await trio.sleep(0.1)
        cleared = await call.clear()
        await say(call, second)
        await call.finish()
        recording = await app.recording("cleared-pause.sln")
        heard = recording.size - second.size
        assert same(recording, np.concatenate([first[:heard], second])) == ""
        assert not cleared.is_estimated
        assert abs(cleared.heard - heard / 8000) <= FRAME


async def test_a_change_of_direction_keeps_what_waits(asterisk: Asterisk) -> None:
    said = noise(1)
    async with answering(asterisk) as app:
        call = await recorded(app, "directions.sln")
        await say(call, said)
        await trio.sleep(0.3)
        call.say(c.SetDirection(e.Direction.IN))
        before = call.position
        await trio.sleep(0.4)
        assert call.position == before
        call.say(c.SetDirection(e.Direction.BOTH))
        await call.finish()
        assert same(await app.recording("directions.sln"), said) == ""


async def test_hanging_up_after_the_last_word_is_prompt(asterisk: Asterisk) -> None:
    async def goodbye(call: Call) -> float:
        await say(call, noise(0.5))
        await call.mark("end")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.finish)
            await until(call, e.MarkReached)
            last_word = trio.current_time()
        return trio.current_time() - last_word

    async with answering(asterisk) as app:
        delays = [await goodbye(await recorded(app, "goodbye.sln")) for _ in range(3)]
        # The mark comes when the last word was heard. One of three may meet a busy machine.
        assert min(delays) < 0.05
        assert same(await app.recording("goodbye.sln"), noise(0.5)) == ""


async def test_a_bit_of_a_frame_is_padded(asterisk: Asterisk) -> None:
    async with answering(asterisk) as app:
        call = await recorded(app, "padded.sln")
        await say(call, noise(0.105))
        await call.finish()
        recording = await app.recording("padded.sln")
        assert same(recording, np.append(noise(0.105), np.zeros(120, np.int16))) == ""
