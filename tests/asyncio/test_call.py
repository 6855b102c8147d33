"""Calls under asyncio, and what importing the core and the Trio shell costs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from callstream_asyncio import AiohttpSocket, Call, CallFailed, Socket, WebsocketsSocket, accept
from callstream_core import AppSession, dialects
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_trio.caller import dial

JSON = AsteriskProfile(format="slin16", syntax=Syntax.JSON)


class Notes:
    """What the application's end has come to know."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.heard: list[e.PlayoutCleared | None] = []
        self.failed: list[str] = []
        self.over = threading.Event()

    async def run(self, call: Call) -> None:
        self.calls.append(call)

        def hear(event: e.Event) -> None:
            if isinstance(event, e.AudioReceived):
                call.say(c.SendAudio(event.data))
            elif isinstance(event, e.DigitReceived):
                call.clear().add_done_callback(lambda cleared: self.heard.append(cleared.result()))

        call.listen(hear)
        await call.wait_ended()
        await call.wait_gone()
        self.over.set()


def connected(socket: Socket) -> Call:
    call = Call(socket, AppSession(dialects.get("asterisk"), now=asyncio.get_running_loop().time()))
    call.start()
    return call


async def with_starlette(notes: Notes, listener: socket.socket, stop: asyncio.Event) -> None:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.websockets import WebSocket

        try:
            await notes.run(await accept(WebSocket(scope, receive, send)))
        except CallFailed as error:
            notes.failed.append(str(error))
            notes.over.set()

    server = uvicorn.Server(uvicorn.Config(app, ws="wsproto", log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await stop.wait()
    server.should_exit = True
    await serving


async def with_websockets(notes: Notes, listener: socket.socket, stop: asyncio.Event) -> None:
    from websockets.asyncio.server import serve

    async def take(connection: Any) -> None:
        await notes.run(connected(WebsocketsSocket(connection)))

    async with serve(take, sock=listener, compression=None):
        await stop.wait()


async def with_aiohttp(notes: Notes, listener: socket.socket, stop: asyncio.Event) -> None:
    from aiohttp import web

    async def take(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False)
        await websocket.prepare(request)
        await notes.run(connected(AiohttpSocket(websocket)))
        return websocket

    app = web.Application()
    app.router.add_get("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    await stop.wait()
    await runner.cleanup()


SERVERS = {"starlette": with_starlette, "websockets": with_websockets, "aiohttp": with_aiohttp}


@asynccontextmanager
async def serving(server: str, notes: Notes, path: str = "/") -> AsyncIterator[str]:
    pytest.importorskip(server)
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        loop.run_until_complete(SERVERS[server](notes, listener, stop))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}{path}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, 5)
        listener.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["hang_up", "vanish"])
@pytest.mark.parametrize("server", SERVERS)
async def test_a_call_over_every_socket(server: str, ending: str) -> None:
    notes = Notes()
    async with serving(server, notes) as url, dial(url, profile=JSON) as caller:
        caller.say_audio(bytes(10 * 640))
        with trio.fail_after(5):
            await caller.wait_heard(10 * 640)
        caller.press("1")
        await trio.sleep(0.1)
        getattr(caller, ending)()
        assert await trio.to_thread.run_sync(notes.over.wait, 5)
    assert notes.heard[0] is not None
    assert notes.heard[0].heard == pytest.approx(0.2)
    ended = notes.calls[0].ended
    assert ended is not None
    # uvicorn's wsproto layer calls a lost connection 1005, as if it had been closed.
    assert ended.is_clean is (ending == "hang_up" or server == "starlette")


@pytest.mark.filterwarnings("ignore")
async def test_whoever_is_no_platform_is_sent_away() -> None:
    from trio_websocket import ConnectionClosed, open_websocket_url

    notes = Notes()
    async with serving("starlette", notes) as url, open_websocket_url(url) as stranger:
        await stranger.send_message("good morning")
        with pytest.raises(ConnectionClosed), trio.fail_after(5):
            await stranger.get_message()
    assert notes.failed == ["the first message is of no known dialect"]


@pytest.mark.filterwarnings("ignore")
async def test_audio_that_nothing_announces_is_not_waited_for_without_end() -> None:
    from trio_websocket import ConnectionClosed, open_websocket_url

    notes = Notes()
    async with serving("starlette", notes) as url, open_websocket_url(url) as stranger:
        for _ in range(3):
            await stranger.send_message(bytes(60_000))
        with pytest.raises(ConnectionClosed), trio.fail_after(5):
            await stranger.get_message()
    assert notes.failed == ["nothing that tells the dialect came"]


def test_the_core_and_the_trio_shell_are_free_of_asyncio_and_of_frameworks() -> None:
    code = (
        "import sys, callstream_core, callstream_trio\n"
        "foreign = {'callstream_asyncio', 'callstream_pipecat', 'pipecat', 'livekit', 'fastapi'}\n"
        "print(sorted(foreign & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
