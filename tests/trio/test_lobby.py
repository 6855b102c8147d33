"""Applications that call Asterisk: the waiting end, and the joining one."""

from __future__ import annotations

import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from callstream_core.commands import Answer
from callstream_core.dialects.asterisk import AsteriskProfile, Generation, Syntax
from callstream_core.events import DigitReceived, SessionClosed
from callstream_trio import Echo, Hub
from callstream_trio.dial import DialFailed, DialSettings, joined
from callstream_trio.lobby import lobby
from callstream_trio.neighbours import Neighbours

UPGRADE = {
    "Host": "asterisk",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def ask(url: str, *, method: str = "GET", path: str | None = None, **changes: str | None) -> bytes:
    """Send a request; return what is answered before the first message or the end."""
    host, _, rest = url.removeprefix("ws://").partition("/")
    address, _, port = host.rpartition(":")
    headers = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{method} {path or '/' + rest} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items() if value)]
    stream = await trio.open_tcp_stream(address, int(port))
    answer = b""
    async with stream:
        await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
        with trio.fail_after(5):
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive_some()
        # A call that was taken ends without a word.
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
    return answer


async def status(url: str, **what: str | None) -> int:
    return int((await ask(url, **what)).split()[1])  # type: ignore[arg-type]


async def test_d06_what_the_http_server_answers() -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        url = waiting.expect()
        assert await status(url, path="/media/00000000-0000-0000-0000-000000000000") == 404
        assert await status(url, Upgrade=None) == 426
        assert await status(url, Sec_WebSocket_Protocol="ari") == 400
        assert await status(url, method="POST") == 501
        async with joined(url, hub) as call:
            assert await call.wait_opened()
            assert call.info.ids["connection_id"] == url.rpartition("/")[2]
            assert await status(url) == 409
        with trio.fail_after(5):
            while await status(url) == 409:  # noqa: ASYNC110
                await trio.sleep(0.01)
        # An address is good for one call.
        assert await status(url) == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/media/{id}", 101),
        ("/MeDiA/{id}", 101),
        ("/media/{id}?v=1", 101),
        ("/media/{ID}", 404),
        ("/media/{id}/", 404),
        ("/media", 404),
        ("/media/", 404),
        ("/", 404),
        ("/other/{id}", 404),
        ("/media/%7Bid%7D", 404),
    ],
)
async def test_paths(path: str, expected: int) -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        url = waiting.expect()
        connection_id = url.rpartition("/")[2]
        assert await status(url, path=path.format(id=connection_id, ID=connection_id.upper())) == expected


@pytest.mark.parametrize(
    ("version", "expected"), [("7", 101), ("8", 101), ("13", 101), ("12", 400), ("x", 400), (None, 400)]
)
async def test_versions(version: str | None, expected: int) -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        answer = await ask(waiting.expect(), Sec_WebSocket_Version=version)
        assert int(answer.split()[1]) == expected
        assert (b"sec-websocket-version: 7, 8, 13" in answer.lower()) == (expected == 400)


async def test_a_missing_key_is_refused() -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        assert await status(waiting.expect(), Sec_WebSocket_Key=None) == 400


@pytest.mark.parametrize(
    ("offer", "line"),
    [
        (None, None),
        ("media", b"Sec-WebSocket-Protocol: media\r\n"),
        ("MEDIA", b"Sec-WebSocket-Protocol: MEDIA\r\n"),
        ("ari, media", b"Sec-WebSocket-Protocol:  media\r\n"),
    ],
)
async def test_the_subprotocol_is_echoed_only_if_offered(offer: str | None, line: bytes | None) -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        answer = await ask(waiting.expect(), Sec_WebSocket_Protocol=offer)
        assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
        assert b"Extensions" not in answer
        assert line in answer if line else b"Protocol:" not in answer


@pytest.mark.parametrize("generation", list(Generation))
async def test_an_application_takes_a_call_that_waits(generation: Generation) -> None:
    syntax = Syntax.JSON if generation >= Generation.G3 else Syntax.PLAIN
    profile = AsteriskProfile(generation=generation, syntax=syntax, auto_answer=False)
    async with Hub().running() as hub, lobby(hub) as waiting:
        url = waiting.expect(profile)
        async with joined(url, hub) as call:
            assert await call.wait_opened()
            caller = await waiting.arrival(url)
            call.connect(Echo())
            await call.answer()
            caller.say_audio(b"\x01" * 480)
            caller.press("7")
            with trio.fail_after(5):
                assert await anext(aiter(call)) == DigitReceived("7")
                while b"\x01" * 480 not in caller.heard_audio:
                    await caller.wait_heard(len(caller.heard_audio) + 1)
            await call.hang_up()
            with trio.fail_after(5):
                ended = await caller.wait_ended()
        assert caller.is_answered
        assert ended.code == 1000
        words = [word async for word in caller]
        assert Answer() in words
        assert isinstance(words[-1], SessionClosed)


async def test_the_caller_hangs_up() -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        url = waiting.expect()
        async with joined(url, hub) as call:
            assert await call.wait_opened()
            (await waiting.arrival(url)).hang_up()
            with trio.fail_after(5):
                assert (await call.wait_ended()).code == 1000


async def test_an_unknown_call_cannot_be_joined() -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        with pytest.raises(DialFailed, match="404") as failure:
            async with joined(waiting.expect() + "x", hub, settings=DialSettings(attempts=1)):
                pass
        assert failure.value.status == 404


async def test_what_is_not_http_is_refused_and_nothing_else_suffers() -> None:
    async with Hub().running() as hub, lobby(hub) as waiting:
        url = waiting.expect()
        assert b" 400 " in await ask(url, path="/ /")
        assert await status(url) == 101


async def test_leaving_the_lobby_hangs_up_on_all() -> None:
    async with Hub().running() as hub, AsyncExitStack() as leaving:
        waiting = await leaving.enter_async_context(lobby(hub))
        url = waiting.expect()
        async with joined(url, hub) as call:
            await waiting.arrival(url)
            await leaving.aclose()
            with trio.fail_after(5):
                ended = await call.wait_ended()
        assert ended.code == 1000


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="processes cannot share a port here")
async def test_a_call_that_waits_in_another_process_is_found(tmp_path: Path) -> None:
    async with Hub().running() as hub, AsyncExitStack() as open_lobbies:
        first = await open_lobbies.enter_async_context(lobby(hub, neighbours=Neighbours(tmp_path, 1)))
        bind = first.expect().split("/")[2]
        lobbies = [first]
        for number in (2, 3):
            neighbours = Neighbours(tmp_path, number)
            lobbies.append(await open_lobbies.enter_async_context(lobby(hub, bind, neighbours=neighbours)))
        urls = [(each, each.expect()) for each in lobbies for _ in range(20)]
        for waiting, url in urls:
            async with joined(url, hub) as call:
                assert await call.wait_opened()
                await waiting.arrival(url)
                assert call.info.ids["connection_id"] == url.rpartition("/")[2]
                await call.hang_up()
        # Of a process that is not there, and of those that are, but have no such call.
        for name in ("00000004", "00000001", "00000002", "ffffffff"):
            for _ in range(8):
                assert await status(f"ws://{bind}/media/{name}-0000-4000-8000-000000000000") == 404
    assert os.listdir(tmp_path) == []
