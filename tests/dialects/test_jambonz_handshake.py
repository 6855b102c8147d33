"""How the simulated media server takes what an application's server says to the upgrade."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from wsproto.utilities import generate_accept_token

from callstream_core.dialects.jambonz import JambonzProfile
from callstream_trio.caller import dial
from callstream_trio.dial import DialFailed, DialSettings
from tests.trio.wire import until

PROFILE = JambonzProfile(call_info={"callSid": "c-1"})
ONCE = DialSettings(attempts=1)


@asynccontextmanager
async def answering(subprotocol: str | None) -> AsyncIterator[tuple[str, bytearray]]:
    """Run a server that accepts every upgrade with this subprotocol; give its URL, and what it hears."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    heard = bytearray()

    async def serve() -> None:
        async with await listener.accept() as stream:
            while not (key := re.search(rb"Sec-WebSocket-Key: (.*)\r\n", heard)):
                heard.extend(await stream.receive_some(65536))
            lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
            lines.append(f"Sec-WebSocket-Accept: {generate_accept_token(key[1]).decode()}")
            if subprotocol is not None:
                lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
            await stream.send_all("\r\n".join([*lines, "", ""]).encode())
            while data := await stream.receive_some(65536):
                heard.extend(data)

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(serve)
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/audio", heard
        nursery.cancel_scope.cancel()


async def test_a2_another_subprotocol_ends_it() -> None:
    async with answering("audio.example.org") as (url, heard):
        with trio.fail_after(5), pytest.raises(DialFailed, match="names a subprotocol that was not offered"):
            async with dial(url, "jambonz", profile=PROFILE, settings=ONCE):
                pass
    assert heard.count(b"\r\n\r\n") == 1, "one try, and no frame"
    assert heard.endswith(b"\r\n\r\n")


async def test_a3_no_subprotocol_is_put_up_with() -> None:
    async with answering(None) as (url, heard), dial(url, "jambonz", profile=PROFILE, settings=ONCE):
        await until(lambda: bool(heard.partition(b"\r\n\r\n")[2]))
    assert heard.partition(b"\r\n\r\n")[2][:1] == b"\x81", "the metadata, as text"


async def test_a1_the_request_is_the_media_server_s() -> None:
    async with answering("audio.jambonz.org") as (url, heard), dial(url, "jambonz", profile=PROFILE, settings=ONCE):
        pass
    head = bytes(heard).partition(b"\r\n\r\n")[0].lower()
    assert re.findall(rb"sec-websocket-protocol: (.*)\r", head) == [b"audio.jambonz.org"]
    assert b"user-agent" not in head
    assert b"extensions" not in head
