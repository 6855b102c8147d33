"""A handler that records callers, one file per call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import structlog
import trio

from callstream_core.commands import Command
from callstream_core.errors import Unsupported
from callstream_core.events import AudioReceived
from callstream_trio.call import Call
from callstream_trio.server import Handler
from callstream_trio.sound import SoundWriter

_log = structlog.get_logger("callstream.apps")

_INTERVAL = 1.0
# Half a minute of 16 kHz audio waits at most for a slow disk.
_MAX_WAITING = 1024 * 1024
_MAX_NAME = 80
_MAX_FILES = 1_000_000


class _Buffer:
    """A sink that keeps audio until it is written."""

    def __init__(self) -> None:
        self.dropped = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def take(self, audio: AudioReceived, _now: float) -> Iterable[Command]:
        if self._size + len(audio.data) > _MAX_WAITING:
            self.dropped += len(audio.data)
        else:
            self._pieces.append(audio.data)
            self._size += len(audio.data)
        return ()

    def empty(self) -> bytes:
        pieces, self._pieces, self._size = self._pieces, [], 0
        return b"".join(pieces)


def record(directory: Path) -> Handler:
    """Return a handler that answers, and writes what the caller says to a WAV file of its own in `directory`.

    Platforms send nothing while a line is silent, and nothing is made up here: such moments are missing in the file.
    """

    async def handler(call: Call) -> None:
        await call.answer()
        audio = call.info.caller_format
        try:
            path = await trio.to_thread.run_sync(_reserve, directory, call.info.call_id)
            try:
                writer = await trio.to_thread.run_sync(SoundWriter, path, audio)
            except BaseException:
                path.unlink()
                raise
        except Unsupported as error:
            _log.warning("hanging up: this call cannot be recorded", call=call.info.call_id[:80], why=str(error))
            await call.hang_up()
            return
        buffer = _Buffer()
        call.connect(buffer)
        try:
            while call.ended is None:
                with trio.move_on_after(_INTERVAL):
                    await call.wait_ended()
                await trio.to_thread.run_sync(writer.write, buffer.empty())
        finally:
            # The file gets its end whatever happens to the call.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_finish, writer, buffer.empty())
        if buffer.dropped:
            _log.warning("recording is incomplete: the disk is too slow", file=str(path), bytes_lost=buffer.dropped)
        _log.info("recorded", file=str(path))

    return handler


def _finish(writer: SoundWriter, rest: bytes) -> None:
    try:
        writer.write(rest)
    finally:
        writer.close()


def _reserve(directory: Path, call_id: str) -> Path:
    """Create an empty file with a name that is safe, tells the call, and is new."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", call_id).strip("._")[:_MAX_NAME] or "call"
    for number in range(1, _MAX_FILES):
        path = directory / f"{stem}-{number:03d}.wav"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{directory} is full of recordings of {stem}")
