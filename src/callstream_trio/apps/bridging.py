"""A handler that lets callers talk to each other."""

from __future__ import annotations

from collections import deque

import structlog
import trio

from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_trio.call import Call
from callstream_trio.server import Handler
from callstream_trio.sinks import Bridge

_log = structlog.get_logger("callstream.apps")


def bridge() -> Handler:
    """Return a handler that connects callers in pairs, in the order in which they come.

    Whoever comes first waits in silence; when one of two hangs up, so does the other. A pair is in one process.
    """
    waiting: deque[Call] = deque()

    async def handler(call: Call) -> None:
        await call.answer()
        if waiting:
            await _talk(waiting.popleft(), call)
            return
        waiting.append(call)
        try:
            await call.wait_ended()
        finally:
            if call in waiting:
                waiting.remove(call)

    return handler


async def _talk(first: Call, second: Call) -> None:
    try:
        bridges = Bridge(first, second), Bridge(second, first)
    except Unsupported as error:
        _log.warning("hanging up: two callers cannot hear each other", call=second.info.call_id[:80], why=str(error))
    else:
        first.connect(bridges[0])
        second.connect(bridges[1])
        await _first_end(first, second)
    for call in (first, second):
        if call.ended is None:
            try:
                await call.hang_up()
            except LocalProtocolError as error:
                _log.warning("a caller could not be hung up on", call=call.info.call_id[:80], why=str(error))


async def _first_end(*calls: Call) -> None:
    """Wait until one of them is over."""

    async def watch(call: Call) -> None:
        await call.wait_ended()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(watch, call)
