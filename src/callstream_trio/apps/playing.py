"""Handlers that play something to the caller."""

from __future__ import annotations

from pathlib import Path

import structlog
import trio

from callstream_core.errors import Unsupported
from callstream_trio import voice
from callstream_trio.call import Call
from callstream_trio.server import Handler

_log = structlog.get_logger("callstream.apps")


def play(path: Path) -> Handler:
    """Return a handler that answers, plays a sound file once, and hangs up when the caller has heard it."""

    async def handler(call: Call) -> None:
        await call.answer()
        try:
            await call.play_file(path)
        except Unsupported as error:
            await _give_up(call, error)
        else:
            await call.finish()

    return handler


async def tone(call: Call) -> None:
    """Play a tone of 440 Hz until the caller hangs up."""
    await call.answer()
    reply = call.info.reply_format
    try:
        if reply is None or reply.is_packets:
            raise Unsupported(f"no sound can be made for {reply.encoding if reply else 'a platform that only listens'}")
        second = await trio.to_thread.run_sync(lambda: voice.tone(reply))
    except Unsupported as error:
        await _give_up(call, error)
        return
    while True:
        await call.play(second)


async def _give_up(call: Call, error: Unsupported) -> None:
    _log.warning("hanging up: nothing can be played on this call", call=call.info.call_id[:80], why=str(error))
    await call.hang_up()
