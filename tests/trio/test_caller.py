"""The other end: `dial` for tests of applications, and simulated callers that measure them."""

from __future__ import annotations

import os
import re
import wave
from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
import pytest
import trio

from callstream_core.commands import Answer, ClearPlayout, Command, HangUp, PlaceMark, SendAudio
from callstream_core.dialects.asterisk import AsteriskProfile, Generation, Syntax
from callstream_core.events import AudioReceived, DigitReceived, Direction, SessionClosed
from callstream_core.outputs import FramePlayed
from callstream_trio import Call, Echo, Hub
from callstream_trio.apps import echo
from callstream_trio.caller import dial
from callstream_trio.dial import DialFailed, DialSettings
from callstream_trio.link import Link
from callstream_trio.simulate import CallPlan, run_calls
from callstream_trio.voice import make_voice
from tests.trio.serving import serving
from tests.trio.stub_app import App, answering, closing

PROFILE = AsteriskProfile(format="slin16", syntax=Syntax.JSON)
FRAME = PROFILE.audio.frame_size


# dial


async def test_a_caller_is_echoed() -> None:
    said = make_voice(PROFILE.audio).frames[:5]
    async with serving(echo) as url, dial(url, profile=PROFILE) as caller:
        assert caller.is_answered
        caller.say_audio(b"".join(said))
        with trio.fail_after(5):
            await caller.wait_heard(5 * FRAME)
    assert bytes(caller.heard_audio) == b"".join(said)
    assert caller.ended is not None
    assert caller.ended.code == 1000


async def test_the_last_frame_is_filled_up_with_silence() -> None:
    async with serving(echo) as url, dial(url, profile=AsteriskProfile(format="ulaw")) as caller:
        caller.say_audio(b"\x01" * 170)
        with trio.fail_after(5):
            await caller.wait_heard(320)
    assert bytes(caller.heard_audio) == b"\x01" * 170 + b"\xff" * 150


async def test_speech_leaves_at_its_own_pace_also_after_a_pause() -> None:
    async with serving(echo) as url, dial(url, profile=PROFILE) as caller:
        for _ in range(2):
            start = trio.current_time()
            heard = len(caller.heard_audio)
            caller.say_audio(bytes(5 * FRAME))
            with trio.fail_after(5):
                await caller.wait_heard(heard + 5 * FRAME)
            assert trio.current_time() - start > 0.075
            await trio.sleep(0.05)


async def test_packets_of_any_size_leave_as_they_are() -> None:
    async with serving(echo) as url, dial(url, profile=AsteriskProfile(format="opus")) as caller:
        for packet in (b"one", b"three"):
            caller.say_audio(packet)
        with trio.fail_after(5):
            await caller.wait_heard(8)
        caller.hang_up()
        heard = [word.data async for word in caller if isinstance(word, FramePlayed)]
    assert heard == [b"one", b"three"]


async def test_a_caller_hears_commands_and_the_end() -> None:
    async def greet(call: Call) -> None:
        await call.answer()
        await call.mark("here")
        async for event in call:
            if isinstance(event, DigitReceived) and event.digit == "5":
                await call.clear()
                return

    async with serving(greet) as url, dial(url, profile=PROFILE) as caller:
        caller.press("15")
        with trio.fail_after(5):
            heard = [word async for word in caller]
    kinds = [type(word) for word in heard]
    assert kinds[0] is Answer
    assert PlaceMark("here") in heard
    assert kinds.index(ClearPlayout) < kinds.index(HangUp)
    assert kinds[-1] is SessionClosed


async def test_after_the_end_nothing_can_be_pressed() -> None:
    async with serving(echo) as url, dial(url, profile=PROFILE) as caller:
        caller.hang_up()
        caller.hang_up()
        with pytest.raises(RuntimeError, match="over"):
            caller.press("1")
        with trio.fail_after(5):
            await caller.wait_gone()


async def test_a_line_that_breaks() -> None:
    send, receive = trio.open_memory_channel[SessionClosed](1)

    async def listen(call: Call) -> None:
        await send.send(await call.wait_ended())

    async with serving(listen) as url, dial(url, profile=PROFILE) as caller:
        await trio.sleep(0.05)
        caller.vanish()
        with trio.fail_after(5):
            ended = await receive.receive()
    assert ended.code is None
    assert not ended.is_clean


async def test_calls_share_a_hub() -> None:
    async with serving(echo) as url, Hub().running() as hub, dial(url, hub=hub) as one, dial(url, hub=hub) as other:
        one.say_audio(b"\x11" * 160)
        other.say_audio(b"\x22" * 160)
        with trio.fail_after(5):
            await one.wait_heard(160)
            await other.wait_heard(160)
    assert (one.heard_audio[0], other.heard_audio[0]) == (0x11, 0x22)


async def test_nobody_there() -> None:
    with pytest.raises(DialFailed, match=r"^127\.0\.0\.1:9 cannot be reached: Connection refused$"):
        async with dial("ws://127.0.0.1:9/asterisk"):
            pass


@pytest.mark.parametrize("platform", ["asterisk", "sinch", "yeastar", "jambonz"])
async def test_an_application_that_closes_with_the_upgrade(platform: str) -> None:
    async def behave(app: App) -> None:
        await app.accept(and_then=closing(1013))
        await app.to_the_end()

    async with answering(behave) as url, dial(url, platform) as caller:
        with trio.fail_after(5):
            ended = await caller.wait_ended()
    assert ended.code == 1013


async def test_of_several_headers_of_one_name_the_last_counts() -> None:
    heads: list[str] = []

    async def behave(app: App) -> None:
        heads.append(app.head)
        await app.accept()
        await app.to_the_end()

    given = (("hOst", "a"), ("Host", "calls.example.org"), ("X-A", "1"), ("authorization", "Bearer x"), ("x-a", "2"))
    async with answering(behave) as url:
        for headers in ((), given):
            async with dial(url.replace("//", "//me:pw@"), settings=DialSettings(attempts=1, headers=headers)):
                pass
    found = [re.findall("(?i)^(?:host|authorization|x-a): (.*)\r$", head, re.MULTILINE) for head in heads]
    assert found == [[url.split("/")[2], "Basic bWU6cHc="], ["calls.example.org", "Bearer x", "2"]]


# Simulated callers


async def test_an_echo_is_found_out_and_checked() -> None:
    async with serving(echo) as url:
        summary, reports = await run_calls(url, CallPlan(profile=PROFILE, duration=0.5), calls=3, rate=100)
    assert summary.ok == summary.echoes == 3, summary.failures
    assert (summary.frames_sent, summary.echo_intact, summary.echo_lost, summary.echo_damaged) == (75, 75, 0, 0)
    assert summary.frames_played == 75
    assert all(report.ended_by == "caller" and report.close_code == 1000 for report in reports)
    assert summary.set_up is not None
    assert summary.first_audio is not None
    assert summary.first_audio.max < 1


@pytest.mark.parametrize("codec", ["ulaw", "g722", "opus", "g723", "slin192"])
async def test_every_kind_of_codec_can_be_echoed(codec: str) -> None:
    async with serving(echo) as url:
        summary, _ = await run_calls(url, CallPlan(profile=AsteriskProfile(format=codec), duration=0.3))
    assert summary.failed == 0, summary.failures
    assert summary.echo_intact == summary.frames_sent > 0


@pytest.mark.parametrize("generation", list(Generation))
async def test_every_generation_can_be_simulated(generation: Generation) -> None:
    profile = AsteriskProfile(generation=generation, format="alaw")
    async with serving(echo) as url:
        summary, _ = await run_calls(url, CallPlan(profile=profile, duration=0.2))
    assert summary.failed == 0, summary.failures
    assert summary.echo_intact == summary.frames_played == 10


class Lossy:
    """Forgets every tenth frame."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, audio: AudioReceived, _now: float) -> Iterable[Command]:
        self.count += 1
        return () if self.count % 10 == 5 else (SendAudio(audio.data),)


class Noisy:
    """Turns a bit of every tenth frame."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, audio: AudioReceived, _now: float) -> Iterable[Command]:
        self.count += 1
        data = audio.data if self.count % 10 else bytes([audio.data[0] ^ 1]) + audio.data[1:]
        return (SendAudio(data),)


async def test_lost_frames_are_counted_and_fail_the_call() -> None:
    async def lossy(call: Call) -> None:
        call.connect(Lossy())
        await call.wait_ended()

    async with serving(lossy) as url:
        summary, _ = await run_calls(url, CallPlan(duration=0.6))
    assert (summary.echo_intact, summary.echo_lost, summary.echo_damaged) == (27, 3, 0)
    assert summary.failures == {"the echo lost frames": 1}


async def test_damaged_frames_are_counted_and_fail_the_call() -> None:
    async def noisy(call: Call) -> None:
        call.connect(Noisy())
        await call.wait_ended()

    async with serving(noisy) as url:
        summary, _ = await run_calls(url, CallPlan(duration=0.6, echo_patience=0.1))
    assert (summary.echo_intact, summary.echo_lost, summary.echo_damaged) == (27, 3, 3)
    assert summary.failed == 1


async def test_a_crossed_line_shows() -> None:
    class Swap:
        """Gives each caller what another says."""

        others: list[Call] = []  # noqa: RUF012

        def __init__(self, call: Call) -> None:
            self.call = call

        def take(self, audio: AudioReceived, _now: float) -> Iterable[Command]:
            for other in self.others:
                if other is not self.call and other.is_open:
                    other.say(SendAudio(audio.data))
            return ()

    async def crossed(call: Call) -> None:
        Swap.others.append(call)
        call.connect(Swap(call))
        await call.wait_ended()

    async with serving(crossed) as url:
        summary, _ = await run_calls(url, CallPlan(duration=0.4), calls=2, rate=100)
    assert summary.echoes == 0
    assert summary.echo_intact == 0


async def test_an_application_that_talks_by_itself_is_no_echo() -> None:
    async def talk(call: Call) -> None:
        await call.play(bytes(160 * 10))
        await call.mark("end")
        await call.wait_ended()

    async with serving(talk) as url:
        summary, reports = await run_calls(url, CallPlan(duration=0.6))
    assert summary.failed == 0, summary.failures
    assert (summary.echoes, summary.frames_played, summary.gaps) == (0, 10, 0)
    assert (summary.marks_placed, summary.marks_answered) == (1, 1)
    assert reports[0].frames_sent == 30


async def test_digits_are_pressed_in_time() -> None:
    pressed: dict[str, float] = {}

    async def listen(call: Call) -> None:
        start = trio.current_time()
        async for event in call:
            if isinstance(event, DigitReceived):
                pressed[event.digit] = trio.current_time() - start

    async with serving(listen) as url:
        summary, _ = await run_calls(url, CallPlan(duration=0.2, digits="1#"))
    assert summary.failed == 0, summary.failures
    assert pressed == pytest.approx({"1": 1.0, "#": 1.5}, abs=0.2)


def test_a_comma_waits_a_second() -> None:
    assert CallPlan(digits="1,2").digit_times == [(1.0, "1"), (2.5, "2")]


async def test_a_call_that_is_never_answered_fails() -> None:
    async def ignore(call: Call) -> None:
        await call.wait_ended()

    async with serving(ignore) as url:
        summary, reports = await run_calls(url, CallPlan(profile=AsteriskProfile(auto_answer=False), duration=0.2))
    assert summary.failures == {"the application never answered the call": 1}
    assert reports[0].frames_sent == 0


async def test_a_call_that_is_answered_late_talks_from_then_on() -> None:
    async def late(call: Call) -> None:
        await trio.sleep(0.2)
        await echo(call)

    async with serving(late) as url:
        summary, _ = await run_calls(url, CallPlan(profile=AsteriskProfile(auto_answer=False), duration=0.3))
    assert summary.failed == 0, summary.failures
    assert summary.echo_intact == 15


async def test_nothing_is_said_where_media_only_goes_to_the_caller() -> None:
    async with serving(echo) as url:
        summary, _ = await run_calls(url, CallPlan(profile=AsteriskProfile(direction=Direction.OUT), duration=0.2))
    assert summary.failed == 0, summary.failures
    assert summary.frames_sent == 0


@pytest.mark.parametrize(
    ("code", "failures"),
    [
        (1000, {}),
        (1011, {"the application closed with 1011: broken": 1}),
        (1001, {"the application closed with 1001: broken": 1}),
    ],
)
async def test_how_the_application_ends_a_call(code: int, failures: dict[str, int]) -> None:
    async def end(call: Call) -> None:
        await trio.sleep(0.1)
        call.close(code, "broken")
        await call.wait_gone()

    async with serving(end) as url:
        summary, reports = await run_calls(url, CallPlan(duration=5))
    assert summary.failures == failures
    assert reports[0].ended_by == "application"
    assert reports[0].close_code == code


async def test_misbehaviour_of_the_application_fails_the_call() -> None:
    async def mumble(call: Call) -> None:
        assert isinstance(call._link, Link)
        call._link._batch.append(call._link._encoder.message("NONSENSE"))
        call._link.say(PlaceMark("x"))
        await call.wait_ended()

    async with serving(mumble) as url:
        summary, reports = await run_calls(url, CallPlan(duration=0.2))
    assert summary.misbehaved == reports[0].misbehaved == 1
    assert "NONSENSE" in reports[0].failures[0]


async def test_an_application_that_hangs_is_cut_off() -> None:
    async def serve_deaf(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve_deaf, 0)
        port = listeners[0].socket.getsockname()[1]
        plan = CallPlan(duration=0.1)
        plan = attrs.evolve(plan, dialling=attrs.evolve(plan.dialling, timeout=0.2))
        with trio.fail_after(5):
            summary, _ = await run_calls(f"ws://127.0.0.1:{port}/", plan)
        nursery.cancel_scope.cancel()
    assert summary.failed == 1
    assert "no answer within 0.2 s" in next(iter(summary.failures))


async def test_what_is_heard_is_recorded_with_its_pauses(tmp_path: Path) -> None:
    async def two_words(call: Call) -> None:
        await call.play(b"\x01\x01" * 320 * 5)
        await trio.sleep(0.3)
        await call.play(b"\x01\x01" * 320 * 5)
        await call.wait_ended()

    path = tmp_path / "heard.wav"
    async with serving(two_words) as url:
        await run_calls(url, CallPlan(profile=PROFILE, duration=0.6, record=path))
    with wave.open(str(path)) as sound:
        assert sound.getframerate() == 16000
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    assert np.count_nonzero(samples) == 3200
    assert len(samples) / 16000 == pytest.approx(0.4, abs=0.06)


async def test_every_one_of_many_calls_has_a_recording(tmp_path: Path) -> None:
    async with serving(echo) as url:
        await run_calls(url, CallPlan(duration=0.1, record=tmp_path / "heard.wav"), calls=2, rate=100)
    assert sorted(os.listdir(tmp_path)) == ["heard-2.wav", "heard.wav"]


async def test_the_echo_sink_is_what_the_echo_application_uses() -> None:
    async def plain(call: Call) -> None:
        call.connect(Echo())
        await call.wait_ended()

    async with serving(plain) as url:
        summary, _ = await run_calls(url, CallPlan(duration=0.1))
    assert summary.echo_intact == 5


async def test_who_stops_dialling_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    dup, found = os.dup, []

    def noted(fd: int) -> int:
        found.append(dup(fd))
        scope.cancel()
        return found[-1]

    async with serving(echo) as url:
        monkeypatch.setattr(os, "dup", noted)
        with trio.CancelScope() as scope:
            async with dial(url):
                pass
        assert scope.cancelled_caught
        [fd] = found
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(fd)
