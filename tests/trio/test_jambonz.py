"""jambonz over real sockets: control and audio are one call, or verbs are all there is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.typing import EventDict

from callstream_core import events as e
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import results
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_trio import (
    Admission,
    Basic,
    Call,
    Caller,
    Control,
    Hub,
    Server,
    ServerSettings,
    serve,
)
from callstream_trio.apps import echo
from callstream_trio.dial import DialFailed, DialSettings, connect, open_platform_link
from callstream_trio.server import ServerLimits
from callstream_trio.voice import make_voice
from tests.trio.exchange import serving, until_empty, with_jambonz
from tests.trio.phone import phoning
from tests.trio.wire import until

Menu = v.Gather(input=["digits"], num_digits=1, action_hook="/menu")


# One call, two sockets


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("path", ["/jambonz", "/"])
async def test_01_audio_is_echoed_and_the_caller_hangs_up(rate: int, path: str) -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await echo(call)

    async with serving(handler, with_jambonz(sample_rate=rate)) as (server, url):
        async with phoning(url.replace("/jambonz", path)) as phone:
            caller = await phone.connected()
            assert caller.format.rate == rate
            said = b"".join(make_voice(caller.format).frames[:20])
            caller.say_audio(said)
            with trio.fail_after(5):
                await caller.wait_heard(len(said) // 2)
            assert (len(server.calls), len(server.controls)) == (1, 1)
            assert phone.responses == [200]
            phone.happen(h.CallerHungUp())
            await phone.wait_over()
        await until_empty(server)
    heard = bytes(caller.heard_audio)
    assert said.startswith(heard)
    [call] = calls
    assert call.control is not None
    assert call.control.call is call
    assert call.info.call_id == call.control.call_sid == phone.platform.profile.call_sid
    assert call.ended is not None
    assert (call.ended.code, call.ended.initiator) == (1000, e.Side.PLATFORM)
    assert call.control.ended is not None
    assert call.control.ended.outcome is w.Outcome.ENDED
    assert call.stats.tolerated == {}
    assert server.endings == {"ended by platform": 1, "control ended": 1}


async def test_02_the_end_of_the_handler_ends_the_phone_call() -> None:
    async def handler(call: Call) -> None:
        await call.answer()

    async with serving(handler) as (server, url):
        async with phoning(url) as phone:
            await phone.wait_over()
        await until_empty(server)
    assert any(isinstance(said, h.Requested) and said.method == "BYE" for said in phone.heard)
    assert server.endings == {"ended by app": 1, "control ended": 1}


async def test_03_a_handler_that_raises_harms_nobody_else(logs: list[EventDict]) -> None:
    async def handler(call: Call) -> None:
        raise RuntimeError("no")

    async with serving(handler) as (server, url):
        async with phoning(url) as phone:
            await phone.wait_over()
        await until_empty(server)
    assert any(isinstance(said, h.Requested) and said.method == "BYE" for said in phone.heard)
    assert server.endings == {"closed 1011": 1, "control ended": 1}
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["handler failed"]


async def test_05_the_control_socket_carries_orders_and_hooks_beside_the_audio() -> None:
    heard: list[object] = []

    async def handler(call: Call) -> None:
        assert call.control is not None
        await call.control.send(o.Redirect([v.Play(url="bye.wav", action_hook="/played"), v.Hangup()]))
        async for word in call.control:
            if isinstance(word, w.HookCalled):
                heard.append(results.result_of(word))
                await call.control.ack(word)

    async with serving(handler) as (server, url):
        async with phoning(url) as phone:
            caller = await phone.connected()
            with trio.fail_after(5):
                await caller.wait_ended()
            await phone.wait_over()
        await until_empty(server)
    [played] = heard
    assert isinstance(played, results.PlayEnded)
    assert played.is_complete
    assert server.endings == {"ended by platform": 1, "control ended": 1}


async def test_06_hooks_that_nobody_hears_are_acked_at_once() -> None:
    async def handler(call: Call) -> None:
        assert call.control is not None
        await call.control.send(o.Redirect([v.Play(url="bye.wav", action_hook="/played"), v.Hangup()]))
        await call.wait_ended()

    async with serving(handler) as (server, url):
        async with phoning(url) as phone:
            with trio.fail_after(2):
                await phone.wait_over()
        await until_empty(server)


async def test_07_a_server_that_stops_ends_the_phone_call() -> None:
    scope = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[Server]) -> None:
        with scope:
            settings = ServerSettings(limits=ServerLimits(drain_timeout=0))
            await serve(echo, ["127.0.0.1:0"], settings=settings, task_status=task_status)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(run)
        host, port = server.addresses[0]
        async with phoning(f"ws://{host}:{port}/jambonz") as phone:
            await phone.connected()
            scope.cancel()
            await phone.wait_over()
    assert any(isinstance(said, h.Requested) and said.method == "BYE" for said in phone.heard)
    assert server.endings == {"closed 1001": 1, "control ended": 1}


# Tickets and secrets


async def dial_audio(url: str) -> int:
    """Open an audio socket; return the HTTP status."""
    async with Hub().running() as hub:
        caller = Caller(hub)
        try:
            link = await open_platform_link(url, hub, caller, as_platform="jambonz")
        except DialFailed as failed:
            return failed.status or 0
        link.drop()
        return 101


async def test_10_a_ticket_admits_once() -> None:
    async with serving() as (server, url), phoning(url) as phone:
        await phone.connected()
        [listen] = phone.listens
        assert await dial_audio(listen.url) == 401
        assert await dial_audio(listen.url[:-1]) == 401
        assert await dial_audio(url + "/audio?ticket=") == 401
        assert len(server.calls) == 1


@pytest.mark.parametrize("settings", [{"ticket_timeout": -1.0}, {"public_url": "ws://127.0.0.1:9"}])
async def test_11_without_audio_the_call_ends(settings: dict[str, object], logs: list[EventDict]) -> None:
    async with serving(settings=with_jambonz(**settings)) as (server, url):
        async with phoning(url) as phone:
            await phone.wait_over()
        await until_empty(server)
    assert (phone.audio, len([entry for entry in logs if "never came" in entry["event"]])) == (None, 1)
    assert phone.refusal == (401 if "ticket_timeout" in settings else None)
    [listen] = phone.listens
    assert listen.url.startswith(str(settings.get("public_url", url.removesuffix("/jambonz"))) + "/jambonz/audio?")


async def test_12_both_sockets_have_their_own_secret() -> None:
    settings = attrs.evolve(
        with_jambonz(username="audio", password="a:b"), admission=Admission(auth=[Basic("control", "secret")])
    )
    async with serving(settings=settings) as (_, url):
        with pytest.raises(DialFailed) as failed:
            await connect(url, DialSettings(attempts=1), ("ws.jambonz.org",))
        assert failed.value.status == 401
        async with phoning(url.replace("//", "//control:secret@")) as phone:
            await phone.connected()
            [listen] = phone.listens
            assert await dial_audio(listen.url) == 401


@pytest.mark.parametrize("offered", [(), ("media",)])
async def test_13_a_control_socket_needs_its_subprotocol(offered: tuple[str, ...]) -> None:
    async with serving() as (_, url):
        with pytest.raises(DialFailed) as failed:
            await connect(url, DialSettings(attempts=1), offered)
        assert failed.value.status == 400


@pytest.mark.parametrize("settings", [{"public_url": "https://x"}, {"sample_rate": 11025}, {"username": "only"}])
def test_14_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"public_url|sample_rate|belong together"):
        with_jambonz(**settings)


# Verbs alone


async def test_20_a_menu_of_verbs() -> None:
    chosen: list[str] = []

    async def menu(control: Control) -> None:
        async for word in control:
            match word:
                case w.SessionOffered():
                    await control.ack(word, v.Answer(), Menu)
                case w.HookCalled(hook="/menu"):
                    found = results.result_of(word)
                    assert isinstance(found, results.InputGathered)
                    chosen.append(found.digits)
                    await control.ack(word, *([Menu] if found.digits != "9" else [v.Hangup()]))

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url):
        async with phoning(url) as phone:
            for digit in "19":
                await phone.asked()
                phone.happen(h.KeyPressed(digit))
            await phone.wait_over()
        await until_empty(server)
    assert chosen == ["1", "9"]
    assert server.endings == {"control ended": 1}


async def test_21_what_was_ordered_is_done_before_the_end_of_a_handler_ends_the_call() -> None:
    async def greet(control: Control) -> None:
        offer = await anext(control)
        assert isinstance(offer, w.SessionOffered)
        await control.ack(offer, v.Play(url="hello.wav", action_hook="/played"))

    async with serving(settings=with_jambonz(verbs=greet)) as (server, url):
        async with phoning(url) as phone:
            with trio.fail_after(2):
                await phone.wait_over()
        await until_empty(server)
    assert any(isinstance(said, h.Requested) and said.method == "BYE" for said in phone.heard)
    # Its hook was acked for it.
    assert [said.verbs is None for said in phone.orders if isinstance(said, o.Ack)] == [False, True]


@pytest.mark.parametrize("does_ack", [False, True])
async def test_22_a_verbs_handler_that_raises_ends_its_call(does_ack: bool, logs: list[EventDict]) -> None:
    async def broken(control: Control) -> None:
        offer = await anext(control)
        assert isinstance(offer, w.SessionOffered)
        if does_ack:
            await control.ack(offer, v.Answer(), v.Pause(length=60))
        raise RuntimeError("no")

    async with serving(settings=with_jambonz(verbs=broken)) as (server, url):
        async with phoning(url) as phone:
            if not does_ack:
                # A refused caller leaves.
                await until(lambda: phone.responses)
                phone.happen(h.CallerHungUp())
            await phone.wait_over()
        await until_empty(server)
    assert phone.responses[0] == (200 if does_ack else 480)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["handler failed"]


async def test_23_a_caller_who_leaves_ends_the_loop() -> None:
    heard: list[object] = []

    async def menu(control: Control) -> None:
        async for word in control:
            heard.append(type(word))
            if isinstance(word, w.SessionOffered):
                await control.ack(word, v.Answer(), v.Pause(length=60))

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url):
        async with phoning(url) as phone:
            await until(lambda: isinstance(phone.platform.running, v.Pause))
            phone.happen(h.CallerHungUp())
            await phone.wait_over()
        await until_empty(server)
    assert (heard[0], heard[-1]) == (w.SessionOffered, w.ControlClosed)


async def test_24_a_peer_that_says_nothing_or_nonsense() -> None:
    async with serving() as (server, url):
        for text in (b"", b"\x81\x82\0\0\0\0{}"):
            sock, _, _ = await connect(url, DialSettings(attempts=1), ("ws.jambonz.org",))
            with contextlib.closing(sock):
                sock.send(text)
                await trio.sleep(0.02)
        await until_empty(server)
    assert server.endings == {"control lost": 2}


EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "jambonz_ivr.py"


@pytest.mark.parametrize(("keys", "gathers", "said"), [("1", 1, 1), ("57", 3, 0), ("999", 3, 1)])
async def test_30_the_example_of_a_menu(keys: str, gathers: int, said: int) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(EXAMPLE.read_text(), EXAMPLE.name, "exec"), names)
    async with serving(settings=with_jambonz(verbs=names["menu"])) as (server, url):
        async with phoning(url) as phone:
            for key in keys:
                await phone.asked()
                phone.happen(h.KeyPressed(key))
            if said:
                await phone.wait_over()
            else:
                await phone.asked()
                phone.happen(h.CallerHungUp())
        await until_empty(server)
    acks = [order.verbs for order in phone.orders if isinstance(order, o.Ack)]
    verbs = [verb for each in acks if isinstance(each, tuple) for verb in each]
    assert sum(isinstance(verb, v.Gather) for verb in verbs) == gathers
    assert sum(isinstance(verb, v.Say) for verb in verbs) == said
