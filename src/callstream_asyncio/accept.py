"""Take a call at an ASGI server's WebSocket route: upgrade, find out the dialect, wait for the announcement."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from callstream_asyncio.call import Call, CallFailed
from callstream_asyncio.sockets import LinkClosed, StarletteSocket
from callstream_core import commands as c
from callstream_core import detect, dialects
from callstream_core.app_session import AppSession
from callstream_core.dialect import Dialect
from callstream_core.limits import Limits, PlayoutSettings


async def accept(
    websocket: Any,
    *,
    dialect: str | None = None,
    profile: Any = None,
    limits: Limits | None = None,
    playout: PlayoutSettings | None = None,
    answers: bool = True,
) -> Call:
    """Accept a WebSocket of Starlette or FastAPI, and return its call when the platform has announced it.

    The dialect is found by path, subprotocol or first message where none is given.

    Raises:
        CallFailed: if the connection is not that of a platform, or ends before the announcement.
    """
    limits = limits or Limits()
    offered = list(websocket.scope.get("subprotocols", ()))
    spoken = dialects.get(dialect) if dialect else _by_request(websocket.scope.get("path", "/"), offered)
    known = spoken.subprotocols if spoken else ()
    await websocket.accept(next((name for name in known if name in offered), None))
    socket = StarletteSocket(websocket)
    first: tuple[str | bytes, ...] = ()
    if spoken is None:
        try:
            async with asyncio.timeout(limits.opening_timeout):
                first = await _first_messages(socket, limits)
        except (TimeoutError, LinkClosed) as error:
            await _close(socket, "no opening message")
            raise CallFailed("nothing that tells the dialect came") from error
        spoken = detect(first[-1])
        if spoken is None:
            await _close(socket, "unknown dialect")
            raise CallFailed("the first message is of no known dialect")
    now = asyncio.get_running_loop().time()
    call = Call(socket, AppSession(spoken, profile, limits=limits, settings=playout, now=now))
    call.start(*first)
    if not await call.wait_opened():
        ended = await call.wait_ended()
        await call.wait_gone()
        raise CallFailed(f"the connection ended before the call was announced: {ended.reason}")
    if answers and call.info.needs_answer:
        call.say(c.Answer())
    return call


def _by_request(path: str, offered: list[str]) -> Dialect | None:
    names: list[str | None] = [*offered, None]
    found = (detect(subprotocol=name, path=path) for name in names)
    return next((dialect for dialect in found if dialect is not None), None)


async def _first_messages(socket: StarletteSocket, limits: Limits) -> tuple[str | bytes, ...]:
    """Return the first text, and the audio that has overtaken it."""
    messages: list[str | bytes] = []
    while not messages or isinstance(messages[-1], bytes):
        messages.append(await socket.receive())
        size = sum(map(len, messages))
        if len(messages) > limits.max_early_messages or size > limits.max_early_audio + limits.max_text:
            raise LinkClosed(None)
    return tuple(messages)


async def _close(socket: StarletteSocket, reason: str) -> None:
    with contextlib.suppress(RuntimeError, OSError):
        await socket.close(1002, reason)
