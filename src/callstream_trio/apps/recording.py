"""A handler that records callers, one file per call."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
import trio

from callstream_core.audio import AudioFormat
from callstream_core.commands import Command
from callstream_core.errors import Unsupported
from callstream_core.events import AudioReceived
from callstream_trio.call import Call
from callstream_trio.parties import PartyWriter
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
        self._pieces: list[tuple[str, float, bytes]] = []
        self._size = 0

    def take(self, audio: AudioReceived, now: float) -> Iterable[Command]:
        if self._size + len(audio.data) > _MAX_WAITING:
            self.dropped += len(audio.data)
        else:
            self._pieces.append((audio.track, now, audio.data))
            self._size += len(audio.data)
        return ()

    def empty(self) -> list[tuple[str, float, bytes]]:
        """Return what waits: whose, when it came, and what."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces


class _OneVoice:
    """A file of one caller's audio, to whom all pieces belong."""

    parties = ("caller",)
    refused = 0

    def __init__(self, path: Path, audio: AudioFormat) -> None:
        self._writer = SoundWriter(path, audio)

    def write(self, pieces: Iterable[tuple[str, float, bytes]]) -> None:
        self._writer.write(b"".join(data for _, _, data in pieces))

    def close(self) -> None:
        self._writer.close()


_Make = Callable[[Path, AudioFormat], PartyWriter | _OneVoice]


def record(directory: Path) -> Handler:
    """Return a handler that answers, and writes what the caller says to a WAV file of its own in `directory`.

    Platforms send nothing while a line is silent, and nothing is made up here: such moments are missing in the file.
    Where every party has a track of its own, the file has a channel for each, and silence keeps them together.
    """

    async def handler(call: Call) -> None:
        await call.answer()
        audio = call.info.caller_format
        make: _Make = PartyWriter if call.info.capabilities.has_tracks else _OneVoice
        try:
            path = await trio.to_thread.run_sync(_reserve, directory, call.info.call_id)
            try:
                writer = await trio.to_thread.run_sync(make, path, audio)
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
        if writer.refused:
            _log.warning("recording is incomplete: too many parties", file=str(path), bytes_lost=writer.refused)
        if buffer.dropped:
            _log.warning("recording is incomplete: the disk is too slow", file=str(path), bytes_lost=buffer.dropped)
        _log.info("recorded", file=str(path), parties=list(writer.parties))

    return handler


def _finish(writer: PartyWriter | _OneVoice, rest: Iterable[tuple[str, float, bytes]]) -> None:
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
