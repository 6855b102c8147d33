"""What else jambonz opens a control socket for: legs that became calls of their own, calls that were handed over."""

from __future__ import annotations

import contextlib

import attrs
import pytest
import trio

from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.websocket import FrameEncoder
from callstream_trio import Admission, Control, QueryToken
from callstream_trio.dial import DialSettings, connect
from callstream_trio.wait import receive_some
from tests.trio.exchange import serving, until_empty, with_jambonz
from tests.trio.phone import phoning

PARENT = {"call_sid": "call-0000"}


@pytest.mark.parametrize("path", ["/jambonz", "/", "/jambonz?key=a/b", "/jambonz/adulting"])
async def test_p09_a_dialled_leg_that_becomes_a_call_of_its_own_is_one(path: str) -> None:
    settings = attrs.evolve(with_jambonz(), admission=Admission(auth=[QueryToken("key", "a/b")] if "?" in path else []))
    async with serving(settings=settings) as (server, url):
        async with phoning(url.replace("/jambonz", path), PARENT) as phone:
            caller = await phone.connected()
            caller.say_audio(b"\1\2" * 1600)
            with trio.fail_after(5):
                await caller.wait_heard(1600)
            [call] = server.calls
            assert call.control is not None
            assert isinstance(call.control.first, w.LegPromoted)
            await call.hang_up()
            await phone.wait_over()
        await until_empty(server)
    assert server.endings == {"ended by app": 1, "control ended": 1}


async def test_p09_verbs_for_a_promoted_leg_are_sent_by_redirect() -> None:
    async def menu(control: Control) -> None:
        async for word in control:
            if isinstance(word, w.LegPromoted):
                await control.send(o.Redirect([v.Play(url="hello.wav"), v.Hangup()]))

    async with serving(settings=with_jambonz(verbs=menu)) as (server, url):
        async with phoning(url, PARENT) as phone:
            await phone.wait_over()
        await until_empty(server)
    assert [type(said) for said in phone.orders] == [o.Ack, o.Redirect]
    assert server.endings == {"control ended": 1}


async def test_p10_a_call_that_another_application_hands_over_is_one() -> None:
    async with serving() as (_, url):
        sock, _, _ = await connect(url, DialSettings(attempts=1), ("ws.jambonz.org",))
        with contextlib.closing(sock):
            text = '{"type":"session:redirect","msgid":"m","hook":"/","data":{"call_sid":"c"}}'
            sock.send(FrameEncoder(mask=lambda: bytes(4)).message(text))
            said = b""
            with trio.fail_after(2):
                while b"ticket=" not in said:
                    said += await receive_some(sock)
    assert b'"type":"ack"' in said
