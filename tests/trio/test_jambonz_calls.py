"""Simulated callers of jambonz applications: what is measured, and what a script makes happen."""

from __future__ import annotations

import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.parts import ReplyAudio
from callstream_trio import Control, run_calls
from callstream_trio.apps import echo
from callstream_trio.report import Summary
from tests.trio.exchange import serving, with_jambonz
from tests.trio.jambonz_plans import ANSWER, HANGUP, PAUSE, against, one, plan, scripted
from tests.trio.stub_app import App, answering


def verbs(*stack: v.Verb, then: Callable[[Control], Awaitable[None]] | None = None) -> Any:
    """Return a handler that acks the offer with a stack, and each hook without verbs."""

    async def handle(control: Control) -> None:
        async for word in control:
            if isinstance(word, w.SessionOffered):
                await control.ack(word, *stack)
                if then is not None:
                    await then(control)
            elif isinstance(word, w.HookQuestion):
                await control.ack(word)

    return handle


# A server of our own


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_an_echo_gives_back_every_frame_of_every_call(rate: int) -> None:
    async with serving(echo, with_jambonz(sample_rate=rate)) as (server, url):
        summary, reports = await run_calls(url, plan(0.6), calls=3, rate=100)
    assert summary.failures == {}
    assert (summary.ok, summary.echoes, summary.echo_lost, summary.echo_damaged) == (3, 3, 0, 0)
    assert summary.frames_sent == summary.echo_intact
    assert 3 * 20 <= summary.frames_sent <= 3 * 30
    assert (summary.connections, summary.audio_sockets, summary.questions) == (3, 3, 3)
    assert summary.acks is not None
    assert all(report.ended_by == "caller" and report.close_code == 1000 for report in reports)
    assert server.tolerated == {}


async def test_calls_have_names_of_their_own_and_a_password_is_the_hook_s() -> None:
    heads: list[str] = []

    async def behave(app: App) -> None:
        heads.append(app.head)
        await app.accept()
        offer = await app.hear()
        heads.append(offer["data"]["call_sid"])
        await app.ack(offer, [ANSWER, HANGUP])
        await app.to_the_end()

    async with answering(behave) as url:
        summary, _ = await run_calls(url.replace("//", "//me:p%40ss@") + "?a=1#rc=1", plan(), calls=2, rate=100)
    assert summary.failures == {}
    names = [text for text in heads if text.startswith("call-")]
    assert sorted(names) == ["call-0001", "call-0002"]
    for head in heads:
        if head not in names:
            assert head.startswith("GET /jambonz?a=1 HTTP/1.1\r\n")
            assert "Authorization: Basic bWU6cEBzcw==\r\n" in head
            assert "User-Agent: jambonz\r\n" in head
            assert "Sec-WebSocket-Protocol: ws.jambonz.org\r\n" in head


async def test_what_was_heard_is_recorded_one_file_for_each_call_and_socket(tmp_path: Path) -> None:
    async def again(control: Control) -> None:
        await trio.sleep(0.3)
        await control.send(o.Redirect([listen, v.Hangup()]))

    async with serving() as (_, url):
        listen = v.Listen(
            url=url + "/audio",
            bidirectional_audio=ReplyAudio(enabled=True, streaming=True, sample_rate=8000),
            max_length=0.4,
        )
        async with serving(settings=with_jambonz(verbs=verbs(v.Answer(), listen, then=again))) as (_, control):
            record = tmp_path / "heard.wav"
            summary, _ = await run_calls(control, plan(5, record=record), calls=2, rate=100)
    assert summary.failures == {}
    assert summary.audio_sockets == 4
    for name in ("heard-2.2.wav", "heard-2.wav", "heard.2.wav", "heard.wav"):
        with wave.open(str(tmp_path / name)) as sound:
            assert sound.getframerate() == 8000
            assert sound.getnframes() >= 800


async def test_keys_reach_the_verb_and_the_audio() -> None:
    keys: list[str] = []

    async def handler(call: Any) -> None:
        async for event in call:
            if type(event).__name__ == "DigitReceived":
                keys.append(event.digit)
                if event.digit == "#":
                    return

    async with serving(handler) as (_, url):
        report = await one(url, scripted({"on": "listen", "press": "1#"}, duration=5))
    assert keys == ["1", "#"]
    assert report.failures == ()
    assert (report.ended_by, report.close_code) == ("application", 1000)


async def test_the_audio_goes_on_when_the_control_socket_is_lost() -> None:
    async with serving(echo) as (_, url):
        report = await one(url, scripted({"at": 0.2, "drop": True}, duration=1.2))
    assert report.failures == ()
    assert report.control is not None
    assert (report.control.connections, report.control.audio_sockets) == (2, 1)
    assert report.is_echo


# Scripts


async def test_a_menu_is_led_by_speech_and_keys() -> None:
    said: list[dict[str, Any]] = []
    menu = {"verb": "gather", "input": ["speech", "digits"], "numDigits": 2, "timeout": 60, "actionHook": "/menu"}

    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, menu])
        stacks: list[Any] = [[menu], [menu, HANGUP], None]
        while isinstance(message := await app.hear(), dict):
            if message["type"] == "verb:hook":
                said.append(message["data"])
                await app.ack(message, stacks.pop(0))
        await app.close(1000)

    report = await against(
        behave,
        scripted(
            {"on": "gather", "speak": "the desk", "confidence": 0.5},
            {"on": "gather", "after": 0.01, "press": "1"},
            {"press": "2"},
            {"on": "gather", "after": 0.01, "result": {"reason": "timeout"}},
            duration=5,
        ),
    )
    assert report.failures == ()
    assert said[0]["speech"]["alternatives"] == [{"transcript": "the desk", "confidence": 0.5}]
    assert [data.get("digits") for data in said] == [None, "12", None]
    assert said[2]["reason"] == "timeout"
    assert report.ended_by == "application"
    assert report.control is not None
    assert (report.control.questions, report.control.orders, report.control.audio_sockets) == (4, 0, 0)


@pytest.mark.parametrize(
    ("steps", "statuses", "outcome"),
    [
        (
            [{"on": "dial", "callee": "rings", "status": 183}, {"callee": "answers"}, {"callee": "hangs up"}],
            ["trying", "early-media", "in-progress", "completed"],
            "completed",
        ),
        (
            [{"on": "dial", "callee": "rings"}, {"callee": "refuses", "status": 603}],
            ["trying", "ringing", "failed"],
            "",
        ),
        ([{"on": "dial", "callee": "refuses"}], ["trying", "busy"], "busy"),
    ],
)
async def test_a_callee_does_what_the_script_says(steps: Any, statuses: list[str], outcome: str) -> None:
    heard: list[Any] = []
    dial = {"verb": "dial", "target": [{"type": "phone", "number": "1"}], "actionHook": "/dialled"}

    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, dial, HANGUP])
        while isinstance(message := await app.hear(), dict):
            heard.append(message)
            if message["type"] == "verb:hook":
                await app.ack(message)
        await app.close(1000)

    report = await against(behave, scripted(*steps, duration=5))
    assert report.failures == ()
    legs = [each["data"] for each in heard if each["type"] == "call:status" and "parent_call_sid" in each["data"]]
    assert [leg["call_status"] for leg in legs] == statuses
    [hook] = [each["data"] for each in heard if each["type"] == "verb:hook"]
    assert hook["dial_call_status"] == (outcome or "failed")


async def test_an_outbound_call_is_offered_when_the_callee_answers() -> None:
    heard: list[str] = []

    async def behave(app: App) -> None:
        await app.accept()
        while isinstance(message := await app.hear(), dict):
            heard.append(message["data"].get("call_status", ""))
            if message["type"] == "session:new":
                assert message["data"]["to"] == "4711"
                await app.ack(message, [PAUSE])
        await app.close(1000)

    steps = [{"after": 0.05, "callee": "rings"}, {"after": 0.05, "callee": "answers"}]
    report = await against(behave, scripted(*steps, call={"outbound": True, "to": "4711"}))
    assert report.failures == ()
    assert heard == ["trying", "ringing", "in-progress", "in-progress", "completed"]
    assert report.duration > 0.35
    report = await against(behave, scripted({"callee": "refuses"}, call={"outbound": True, "to": "4711"}))
    assert report.failures == ()
    assert heard[-2:] == ["trying", "busy"]
    assert report.ended_by == "caller"


async def test_a_model_says_and_calls_what_the_script_says() -> None:
    heard: list[Any] = []
    model = {"verb": "llm", "vendor": "openai", "model": "m", "auth": {"apiKey": "k"}, "llmOptions": {}}

    async def behave(app: App) -> None:
        await app.accept()
        stack = [{**model, "eventHook": "/event", "toolHook": "/tool", "actionHook": "/done"}, HANGUP]
        await app.ack(await app.hear(), [ANSWER, *stack])
        while isinstance(message := await app.hear(), dict):
            if message["type"] != "call:status":
                heard.append((message["type"], message["data"]))
            if message["type"] == "verb:hook":
                await app.ack(message)
        await app.close(1000)

    steps: list[dict[str, Any]] = [
        {"on": "llm", "event": {"turnEnd": 1}},
        {"tool": "weather", "id": "t", "args": {"placeName": "Oslo"}},
        {"result": {"completion_reason": "normal"}},
    ]
    report = await against(behave, scripted(*steps, duration=5))
    assert report.failures == ()
    assert heard[0] == ("llm:event", {"turn_end": 1})
    assert heard[1][1] == {"tool_call_id": "t", "name": "weather", "args": {"placeName": "Oslo"}}
    assert heard[2][1]["completion_reason"] == "normal"


async def test_the_caller_hangs_up_when_the_script_says() -> None:
    async with serving(echo) as (_, url):
        report = await one(url, scripted({"on": "answered", "after": 0.3, "hang_up": True}, duration=30))
    assert report.failures == ()
    assert report.ended_by == "caller"
    assert report.duration < 2


async def test_a_caller_may_leave_before_the_answer() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [PAUSE])
        await app.to_the_end()

    report = await against(behave, scripted({"after": 0.1, "hang_up": True}, duration=5))
    assert report.failures == ()
    assert (report.ended_by, report.close_code) == ("caller", 1000)


async def test_the_ack_of_a_lost_socket_does_no_harm_on_the_next() -> None:
    old: list[Any] = []
    play = {"verb": "play", "url": "x.wav", "actionHook": "/played"}

    async def behave(app: App) -> None:
        await app.accept()
        first = await app.hear()
        if first["type"] == "session:new":
            await app.ack(first, [ANSWER, play, PAUSE])
            while isinstance(message := await app.hear(), dict):
                if message["type"] == "verb:hook":
                    old.append(message)
        else:
            await app.ack(first)
            await app.ack(old[0])
            await app.to_the_end()

    report = await against(behave, scripted({"at": 0.2, "drop": True}, duration=1.2))
    assert len(old) == 1
    assert report.failures == ()
    assert report.control is not None
    assert report.control.connections == 2


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        ({"on": "dial", "callee": "answers"}, "step 1 waits for dial"),
        ({"at": 20, "hang_up": True}, "something was to happen 20.0 s after its beginning"),
        ({"after": 20, "press": "1"}, "something was to happen 20.0 s after its beginning"),
    ],
)
async def test_a_script_that_does_not_come_to_its_end_is_a_failure(step: dict[str, Any], missing: str) -> None:
    async with serving(echo) as (_, url):
        report = await one(url, scripted(step))
    assert report.failures == (f"the script did not come to its end: {missing}",)


async def test_a_fault_of_ours_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("callstream_trio.talk.Talk.handle_deadline", broken)
    async with serving(echo) as (_, url):
        report = await one(url, plan(5))
    assert report.failures[0] == "the simulated caller failed: RuntimeError('broken')"
    assert report.duration < 2


def test_sums_of_no_jambonz_calls() -> None:
    assert Summary.of([]).acks is None
