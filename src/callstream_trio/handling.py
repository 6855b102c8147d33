"""Run a handler for a call, and end the call with it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from callstream_core.errors import LocalProtocolError
from callstream_trio.call import Call, CallEnded
from callstream_trio.control import Control

_log = structlog.get_logger("callstream.server")

Handler = Callable[[Call], Awaitable[None]]
Handled = TypeVar("Handled", Call, Control)


async def run_handler(handler: Callable[[Handled], Awaitable[None]], call: Handled, *, grace: float, peer: str) -> None:
    """Run a handler for an open call, and end the call when it returns, fails, or has had its grace."""
    scope = trio.CancelScope()
    name = call.call_sid if isinstance(call, Control) else call.info.call_id

    def begin_grace() -> None:
        scope.deadline = trio.current_time() + grace

    call.when_ended(begin_grace)
    if call.ended is not None:
        begin_grace()
    try:
        with scope:
            await handler(call)
    except* CallEnded:
        pass
    except* Exception as failure:
        _log.error("handler failed", call=ascii(name[:80]), peer=peer, exc_info=failure)
        call.close(1011, "internal error")
    if scope.cancelled_caught:
        _log.warning("handler cancelled: it ran on after its call", call=ascii(name[:80]), grace=grace)
    if call.ended is None:
        # The handler may have said so itself, and only the close is missing.
        with contextlib.suppress(CallEnded, LocalProtocolError):
            await call.hang_up()
