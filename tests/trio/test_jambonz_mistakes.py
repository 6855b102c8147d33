"""What jambonz applications do wrong, and what a simulated caller says of it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from tests.trio.jambonz_plans import ANSWER, HANGUP, PAUSE, PROFILE, against, one, plan
from tests.trio.stub_app import App, answering, closing


async def test_one_that_never_acks() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        assert await app.to_the_end() == 1001

    report = await against(behave, plan(5))
    assert report.failures == (
        "the call was refused with 480: unknown",
        "session:new was not acked within 0.3 s",
    )
    assert (report.ended_by, report.close_code) == ("application", 1001)


async def test_one_that_acks_twice_or_late_or_what_nobody_asked() -> None:
    play = {"verb": "play", "url": "x.wav", "actionHook": "/played"}

    async def behave(app: App) -> None:
        await app.accept()
        offer = await app.hear()
        await app.ack(offer, [ANSWER, play, PAUSE])
        await app.ack(offer)
        await app.ack({"msgid": "nobody's"})
        while isinstance(message := await app.hear(), dict):
            if message["type"] == "verb:hook":
                await trio.sleep(0.4)
                await app.ack(message)
        await app.close(1000)

    report = await against(behave, plan(1.0))
    assert report.failures == (
        "session:new was acked twice: jambonz uses the first ack only",
        "an ack for a message that jambonz never sent: quote its msgid",
        "verb:hook /played was not acked within 0.3 s",
    )
    assert report.misbehaved == 2


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ([{"verb": "sing"}], "the call was refused with 480: invalid instruction: sing"),
        ([], "the call was refused with 480: no application provided"),
        ([{"verb": "sip:decline", "status": 486, "reason": "Busy"}], "the call was refused with 486: Busy"),
    ],
)
async def test_one_that_refuses_or_acks_with_what_is_no_verb(said: list[Any], failure: str) -> None:
    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), said)
        await app.to_the_end()

    report = await against(behave, plan(5))
    assert failure in report.failures
    assert "the call did not end in time" not in report.failures
    assert report.ended_by == "application"
    assert report.duration < 2


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("no JSON", "jambonz passes over what the application said: invalid app payload: "),
        ({"type": "nonsense"}, "invalid app payload: invalid type property: nonsense"),
        ({"type": "command", "command": "no:such", "data": {}}, "said: no:such: no effect"),
        ({"type": "command", "command": "redirect", "data": [{"verb": "pause"}]}, "said: redirect: no effect"),
        (
            {"type": "command", "command": "redirect", "data": [{"verb": "say", "text": "x" * 25_000}]},
            "24576 are the most",
        ),
        (
            {"type": "command", "command": "redirect", "data": [{"verb": "config", "listen": {"enable": True}}]},
            "opens no audio for the listen of config",
        ),
        ({"type": "command", "command": "config", "data": {"listen": {"enable": True}}}, "the listen of config"),
        (
            {"type": "command", "command": "tts:tokens", "data": {"id": 1.5, "tokens": "x"}},
            "id should be text, not 1.5",
        ),
    ],
)
async def test_one_whose_messages_jambonz_cannot_use(said: Any, failure: str) -> None:
    async def behave(app: App) -> None:
        await app.accept()
        first = await app.hear()
        await app.ack(first, None if first["type"] == "session:reconnect" else [ANSWER, PAUSE])
        while isinstance(message := await app.hear(), dict):
            if message["data"].get("call_status") == "in-progress":
                await app.say(said)
        await app.close(1000)

    report = await against(behave)
    [found] = report.failures
    assert failure in found


async def test_verbs_that_a_gather_cannot_use() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        gather = {"verb": "gather", "timeout": 0.05, "actionHook": "/menu"}
        await app.ack(await app.hear(), [ANSWER, gather, HANGUP])
        while isinstance(message := await app.hear(), dict):
            if message["type"] == "verb:hook":
                await app.ack(message, [{"verb": "say", "bad": 1}])
        await app.close(1000)

    report = await against(behave, plan(5))
    assert report.failures == (
        "jambonz cannot use the verbs of an ack: say: unknown property bad",
        "jambonz complains: invalid actionHook response: say: unknown property bad",
    )


async def test_commands_that_come_too_early_are_lost_and_told() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, PAUSE])
        await app.say({"type": "command", "command": "redirect", "data": [HANGUP]})
        await app.to_the_end()

    report = await against(behave)
    assert report.failures == ("jambonz passes over what the application said: Redirect: nobody listens for commands",)


@pytest.mark.parametrize(
    ("code", "failures", "connections"),
    [
        (1000, (), 1),
        (1011, ("the application closed the control socket with 1011, and jambonz comes back: internal error",), 2),
        (
            None,
            ("the application closed the control socket with 1005, and jambonz comes back: closed without a code",),
            2,
        ),
    ],
)
async def test_one_that_closes_the_control_socket(code: int | None, failures: tuple[str], connections: int) -> None:
    async def behave(app: App) -> None:
        await app.accept()
        first = await app.hear()
        await app.ack(first, None if first["type"] == "session:reconnect" else [ANSWER, PAUSE])
        if first["type"] == "session:new":
            await trio.sleep(0.1)
            await app.close(code)
        await app.to_the_end()

    report = await against(behave, plan(0.9))
    assert report.failures == failures
    assert report.control is not None
    assert report.control.connections == connections
    # What was said last; jambonz said 1000 itself where it had come back.
    assert report.close_code == 1000


async def test_one_that_is_gone_and_does_not_come_back() -> None:
    count = 0

    async def behave(app: App) -> None:
        nonlocal count
        count += 1
        if count > 1:
            await app.refuse(503)
            return
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, PAUSE])
        await app.hear()

    report = await against(behave, plan(1.0))
    assert report.failures[0].startswith("the control socket was lost: ")
    assert report.failures[1] == "jambonz could not come back: the server answered 503 to the upgrade"
    assert report.ended_by == "caller"


@pytest.mark.parametrize("and_then", [closing(1011), closing(None), b""])
async def test_one_that_closes_with_the_upgrade(and_then: bytes) -> None:
    async def behave(app: App) -> None:
        await app.accept(and_then=and_then)

    report = await against(behave)
    assert report.failures[-1] == "the call was refused with 480: the socket was lost before the first ack"
    assert len(report.failures) == 2


async def test_one_that_breaks_the_rules_of_websockets() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, PAUSE])
        if app.header("X-Way") == "mask":
            await app.raw(b"\x81\x81\0\0\0\0x")
        await app.to_the_end()

    headers = (("X-Way", "mask"),)
    how = plan(0.2)
    report = await against(behave, attrs.evolve(how, dialling=attrs.evolve(how.dialling, headers=headers)))
    assert report.failures[0].startswith("the control socket was lost: ")


async def test_one_that_does_not_answer_the_close() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        await app.ack(await app.hear(), [ANSWER, PAUSE])
        while await app.hear() is not None:
            pass

    report = await against(behave)
    assert report.failures == ("the application did not answer the close of the control socket",)


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ("400", "the server answered 400 to the upgrade"),
        ("none", "the server's 101 chooses no subprotocol; choose ws.jambonz.org"),
        ("silent", "the call was refused with 480: handshake timeout"),
    ],
)
async def test_one_that_does_not_let_us_in(how: str, failure: str) -> None:
    async def behave(app: App) -> None:
        if how == "400":
            await app.refuse(400)
        elif how == "none":
            await app.accept(subprotocol=None)
            await app.to_the_end()
        else:
            await trio.sleep_forever()

    report = await against(behave, plan(profile=attrs.evolve(PROFILE, handshake_timeout=0.1)))
    assert report.failures == (failure,)
    assert (report.ended_by, report.set_up) == ("", None)


@pytest.mark.parametrize(
    ("first", "policy", "tries"),
    [(503, "5xx", 2), (404, "4xx", 2), (503, "4xx", 1), (404, "ct,5xx", 1), (101, "all", 1)],
)
async def test_one_that_lets_us_in_at_the_second_try(first: int, policy: str, tries: int) -> None:
    count = 0

    async def behave(app: App) -> None:
        nonlocal count
        count += 1
        if count > 1:
            await app.accept()
            await app.ack(await app.hear(), [ANSWER, PAUSE])
        elif first == 101:
            await app.accept(subprotocol=None)
        else:
            await app.refuse(first)
        await app.to_the_end()

    async with answering(behave) as url:
        report = await one(f"{url}#rc=1&rp={policy}", plan(0.1))
    assert count == tries
    assert report.is_ok == (tries == 2), report.failures


async def test_a_socket_that_jambonz_gave_up_changes_nothing_any_more() -> None:
    async def behave(app: App) -> None:
        await app.accept()
        first = await app.hear()
        if first["type"] == "session:new":
            await app.ack(first, [ANSWER, PAUSE])
            await app.hear()
            await app.say({"type": "command", "command": "redirect", "data": [{"verb": "say", "text": "x" * 25_000}]})
            while isinstance(await app.hear(), dict):
                pass
            # jambonz has closed it with 1009, and comes back in half a second.
            await app.say({"type": "command", "command": "redirect", "data": [HANGUP]})
            await trio.sleep(0.7)
            await app.close(1009)
        else:
            await app.ack(first)
        await app.to_the_end()

    report = await against(behave, plan(1.5))
    assert len(report.failures) == 1
    assert report.control is not None
    assert (report.control.connections, report.ended_by) == (2, "caller")


async def test_nobody_there() -> None:
    report = await one("ws://127.0.0.1:9/jambonz#rc=1", plan())
    assert report.failures == ("127.0.0.1:9 cannot be reached: Connection refused",)
