"""Control sockets that are lost, and jambonz that dials again: the call goes on."""

from __future__ import annotations

import json
from functools import partial

import attrs
import pytest
import trio
from structlog.typing import EventDict

from callstream_core.commands import HangUp
from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.websocket import FrameEncoder
from callstream_trio import Call, CallEnded, Control, serve
from callstream_trio.apps import echo
from callstream_trio.dial import DialSettings, connect
from callstream_trio.server import ServerLimits
from callstream_trio.wait import receive_some
from tests.trio.exchange import serving, until_empty, with_jambonz
from tests.trio.phone import Phone, phoning
from tests.trio.wire import until

Bye = v.Play(url="bye.wav", action_hook="/played")


async def lose(phone: Phone, control: Control) -> None:
    """Cut the control socket, and wait until the server has noticed."""
    phone.vanish()
    await until(lambda: control.lost is not None)


async def is_echoed(phone: Phone) -> bool:
    """Tell whether audio goes both ways."""
    caller = await phone.connected()
    before = len(caller.heard_audio)
    caller.say_audio(b"\1\2" * 3200)
    with trio.fail_after(5):
        await caller.wait_heard(before + 3200)
    return True


async def test_c44_the_audio_goes_on_and_control_follows_with_a_new_socket(logs: list[EventDict]) -> None:
    heard: list[w.Notice] = []

    async def handler(call: Call) -> None:
        assert call.control is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, call)
            async for word in call.control:
                if isinstance(word, w.Notice):
                    heard.append(word)
                if isinstance(word, w.HookCalled):
                    await call.control.ack(word)

    async with serving(handler) as (server, url), phoning(url) as phone:
        assert await is_echoed(phone)
        [control] = server.controls
        [call] = server.calls
        await lose(phone, control)
        assert await is_echoed(phone)
        # Said while nobody listens, done when jambonz is back.
        await control.send(o.Redirect([Bye, v.Hangup()]))
        await phone.wait_over()
        await until_empty(server)
    assert phone.sockets == 2
    assert control is call.control
    assert logs == []
    kinds = [type(word) for word in heard]
    assert kinds.index(w.SessionReconnected) < kinds.index(w.HookCalled)
    assert control.session.memory.connections == 2
    assert server.endings == {"ended by platform": 1, "control ended": 1}
    assert server.tolerated == {}


async def test_c45_without_its_control_a_call_goes_on_to_its_end() -> None:
    async with serving(settings=with_jambonz(return_timeout=0.05)) as (server, url):
        async with phoning(url + "#rc=1") as phone:
            assert await is_echoed(phone)
            [control] = server.controls
            phone.vanish()
            with trio.fail_after(5):
                ended = await control.wait_ended()
            assert (ended.outcome, ended.call_continues) == (w.Outcome.LOST, True)
            with pytest.raises(CallEnded):
                control.say(o.Redirect([Bye]))
            assert await is_echoed(phone)
            [call] = server.calls
            await call.hang_up()
            # The end of the audio is that of the call: the last verb is `hangup`.
            await until(lambda: any(isinstance(said, h.Requested) and said.method == "BYE" for said in phone.heard))
        await until_empty(server)


async def test_a_lost_control_holds_a_line_for_no_second_call() -> None:
    settings = attrs.evolve(with_jambonz(), limits=ServerLimits(max_calls=1, drain_timeout=0.1))
    async with serving(settings=settings) as (server, url), phoning(url) as phone:
        assert await is_echoed(phone)
        [control] = server.controls
        await lose(phone, control)
        # The line is free for the one socket that may come back.
        await until(lambda: phone.sockets == 2 and control.lost is None)
        async with phoning(url) as other:
            await until(lambda: other.refusal)
            assert other.refusal == 503
        assert await is_echoed(phone)


class Stranger:
    """A control socket of which every byte is ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.said = b""

    async def __aenter__(self) -> Stranger:
        self.sock, _, _ = await connect(self.url, DialSettings(attempts=1), ("ws.jambonz.org",))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, kind: str, msgid: str, **more: object) -> None:
        message = {"type": kind, "msgid": msgid, "call_sid": "c", "data": {"call_sid": "c"}, **more}
        self.sock.send(FrameEncoder(mask=lambda: bytes(4)).message(json.dumps(message)))

    async def hears(self, text: bytes) -> None:
        with trio.fail_after(5):
            while text not in self.said:
                data = await receive_some(self.sock)
                assert data, self.said
                self.said += data


async def test_c48_a_verbs_handler_goes_on_too() -> None:
    heard: list[type] = []
    starts = 0

    async def menu(control: Control) -> None:
        nonlocal starts
        starts += 1
        async for word in control:
            heard.append(type(word))
            if isinstance(word, w.SessionOffered):
                await control.ack(word, v.Answer(), Bye)
            elif isinstance(word, w.HookCalled):
                await control.ack(word, v.Hangup())

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url):
        async with phoning(url) as phone:
            await until(lambda: isinstance(phone.platform.running, v.Play))
            [control] = server.controls
            await lose(phone, control)
            await phone.wait_over()
        await until_empty(server)
    assert starts == 1
    assert [heard.count(kind) for kind in (w.SessionReconnected, w.HookCalled, w.ControlClosed)] == [1, 1, 1]
    assert server.endings == {"control ended": 1}


async def test_c49_what_was_asked_on_a_lost_socket_wants_no_answer() -> None:
    asked: list[w.HookCalled] = []

    async def menu(control: Control) -> None:
        async for word in control:
            if isinstance(word, w.SessionOffered):
                await control.ack(word, v.Answer())
            elif isinstance(word, w.HookCalled):
                asked.append(word)

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url):
        async with Stranger(url) as first:
            first.say("session:new", "1")
            await first.hears(b'"ack"')
            first.say("verb:hook", "2", hook="/x")
            await until(lambda: asked)
        [control] = server.controls
        for _ in range(2):
            await until(lambda: control.lost is not None)
            await control.ack(asked[0])
            with pytest.raises(LocalProtocolError, match="send a Redirect"):
                await control.ack(asked[0], v.Hangup())
            async with Stranger(url) as again:
                again.say("session:reconnect", "3")
                await again.hears(b'"ack"')
                await control.ack(asked[0])
                with pytest.raises(LocalProtocolError, match="send a Redirect"):
                    await control.ack(asked[0], v.Hangup())
                assert b"Hangup" not in again.said


async def test_p07_jambonz_knows_of_the_loss_before_we_do() -> None:
    async def menu(control: Control) -> None:
        async for word in control:
            if isinstance(word, w.SessionOffered):
                await control.ack(word, v.Answer())

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url), Stranger(url) as first:
        first.say("session:new", "1")
        await first.hears(b'"ack"')
        [control] = server.controls
        async with Stranger(url) as second:
            # The message in two pieces, after a ping.
            encoder = FrameEncoder(mask=lambda: bytes(4))
            second.sock.send(encoder.ping(b"hello"))
            message = encoder.message('{"type":"session:reconnect","msgid":"2","data":{"call_sid":"c"}}')
            second.sock.send(message[:20])
            await trio.sleep(0.02)
            second.sock.send(message[20:])
            await second.hears(b'"msgid":"2"')
            assert b"\x8a\x05hello" in second.said
            with trio.fail_after(5):
                assert b"ack" in first.said
                while await receive_some(first.sock):
                    pass
            assert server.controls == {control}
            await control.send(o.Redirect([v.Pause(length=1)]))
            await second.hears(b'"redirect"')


async def test_orders_that_wait_are_bounded_and_told_at_the_end() -> None:
    async def menu(control: Control) -> None:
        async for word in control:
            if isinstance(word, w.SessionOffered):
                await control.ack(word, v.Answer())

    async with serving(settings=with_jambonz(verbs=menu, return_timeout=0.2)) as (server, url):
        async with Stranger(url) as first:
            first.say("session:new", "1")
            await first.hears(b'"ack"')
            await trio.sleep(0.15)
        [control] = server.controls
        await until(lambda: control.lost is not None)
        for _ in range(256):
            control.say(o.Redirect([v.Hangup()]))
        with pytest.raises(LocalProtocolError, match="send this one later"):
            control.say(HangUp())
        with trio.fail_after(5):
            ended = await control.wait_ended()
        assert len(ended.unsent) == 256
        await until_empty(server)
    assert server.endings == {"control lost": 1}


async def test_an_order_that_cannot_be_said_any_more_is_told(logs: list[EventDict]) -> None:
    async def menu(control: Control) -> None:
        async for word in control:
            if isinstance(word, w.SessionOffered):
                await control.ack(word, v.Answer())

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url):
        async with Stranger(url) as first:
            first.say("session:new", "1")
            await first.hears(b'"ack"')
        [control] = server.controls
        await until(lambda: control.lost is not None)
        control.say(HangUp())
        control.say(o.Redirect([v.Hangup()]))
        async with Stranger(url) as second:
            second.say("session:reconnect", "2")
            await second.hears(b"completed")
            await until(lambda: [entry for entry in logs if "came too late" in entry["event"]])


async def test_a_server_that_stops_waits_for_nobody() -> None:
    settings = attrs.evolve(with_jambonz(), limits=ServerLimits(drain_timeout=0))
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, echo, ["127.0.0.1:0"], settings=settings))
        host, port = server.addresses[0]
        async with phoning(f"ws://{host}:{port}/jambonz#rc=1") as phone:
            await phone.connected()
            [control] = server.controls
            await lose(phone, control)
            nursery.cancel_scope.cancel()
            await until_empty(server)
    assert server.endings == {"closed 1001": 1, "control lost": 1}


@pytest.mark.parametrize("has_call", [True, False])
async def test_p08_a_call_that_nobody_knows_begins_anew(has_call: bool) -> None:
    firsts: list[type] = []

    async def menu(control: Control) -> None:
        async for word in control:
            firsts.append(type(word))
            if isinstance(word, w.SessionReconnected):
                await control.hang_up()
            return

    async with serving(settings=with_jambonz(verbs=menu, return_timeout=0.05)) as (server, url):
        async with Stranger(url) as stranger:
            stranger.say("session:reconnect", "m", data={"call_sid": "c"} if has_call else {}, call_sid=None)
            await stranger.hears(b"hangup")
        await until_empty(server)
    assert b'"type":"ack"' in stranger.said
    assert firsts == [w.SessionReconnected]
