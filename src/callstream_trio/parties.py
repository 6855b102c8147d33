"""Sound files with a channel for every party of a call."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
import soundfile

from callstream_core.audio import AudioFormat, linear
from callstream_core.resample import Converter

Samples = npt.NDArray[np.int16]

# Channels of one file; what others say is counted as lost.
_MAX_PARTIES = 16
# Seconds that one party's audio may come behind another's, and pieces that a network may delay.
_SLACK = 2.0
_MAX_DELAY = 3
_BLOCK = 8192


@attrs.define
class _Party:
    """One party's samples that are not written yet, each piece with its place in the file."""

    converter: Converter
    end: int = 0
    """Where its next piece belongs."""
    pieces: deque[tuple[int, Samples]] = attrs.field(factory=deque)

    def fill(self, column: Samples, start: int) -> None:
        """Put what belongs into a stretch of the file where it belongs."""
        stop = start + len(column)
        while self.pieces and self.pieces[0][0] < stop:
            at, samples = self.pieces.popleft()
            part = samples[: stop - at]
            column[at - start : at - start + len(part)] = part
            if len(part) < len(samples):
                self.pieces.appendleft((stop, samples[len(part) :]))


class PartyWriter:
    """Writes a WAV file with a channel for each party. Blocks on the disk.

    A party's place in time is that of its first piece; from there on its samples count. Where it sent nothing, before
    that or for longer than a network's delay, there is silence. The file is whole at any time.
    """

    def __init__(self, path: Path, source: AudioFormat) -> None:
        self.refused = 0
        """Bytes of parties for which there was no channel left."""
        self._path = path
        self._source = source
        self._target = linear(source.rate)
        self._parties: dict[str, _Party] = {}
        self._origin: float | None = None
        self._written = 0
        # Raises for what cannot be decoded, before there is a file.
        Converter(source, self._target)
        self._file = self._open(path, 1)

    @property
    def parties(self) -> list[str]:
        """Whose channels these are, in their order."""
        return list(self._parties)

    def write(self, pieces: Iterable[tuple[str, float, bytes]]) -> None:
        """Add audio: whose, when it came, and what."""
        for track, at, data in pieces:
            party = self._parties.get(track) or self._add(track)
            if party is None:
                self.refused += len(data)
            else:
                self._place(party, at, data)
        if self._parties:
            ends = [party.end for party in self._parties.values()]
            self._write_until(max(min(ends), max(ends) - round(_SLACK * self._target.rate)))

    def close(self) -> None:
        """Write the rest, and finish the file."""
        self._write_until(max((party.end for party in self._parties.values()), default=0))
        self._file.close()

    def _place(self, party: _Party, at: float, data: bytes) -> None:
        if self._origin is None:
            self._origin = at
        samples = np.frombuffer(party.converter.feed(data), "<i2")
        arrived = round((at - self._origin) * self._target.rate)
        delay = round(_MAX_DELAY * self._source.ptime * self._target.rate)
        is_first = not party.end
        # What was written meanwhile stays: it had its time.
        start = max(party.end, self._written, arrived if is_first or arrived > party.end + delay else 0)
        party.pieces.append((start, samples))
        party.end = start + len(samples)

    def _write_until(self, end: int) -> None:
        while self._written < end:
            block = np.zeros((min(_BLOCK, end - self._written), max(len(self._parties), 1)), "<i2")
            for number, party in enumerate(self._parties.values()):
                party.fill(block[:, number], self._written)
            self._file.write(block)
            self._written += len(block)

    def _add(self, track: str) -> _Party | None:
        """Give a party a channel: the first has one already, for others the file is written anew."""
        if len(self._parties) == _MAX_PARTIES:
            return None
        if self._parties:
            self._widen(len(self._parties) + 1)
        party = self._parties[track] = _Party(Converter(self._source, self._target))
        return party

    def _widen(self, channels: int) -> None:
        self._file.close()
        path = self._path.with_name(f".{self._path.name}.new")
        os.close(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o640))
        try:
            wider = self._open(path, channels)
            with soundfile.SoundFile(self._path) as narrow:
                for block in narrow.blocks(_BLOCK, dtype="int16", always_2d=True):
                    wider.write(np.pad(block, ((0, 0), (0, 1))))
            path.replace(self._path)
        except BaseException:
            path.unlink()
            raise
        self._file = wider

    def _open(self, path: Path, channels: int) -> soundfile.SoundFile:
        rate = self._target.rate
        return soundfile.SoundFile(path, "w", samplerate=rate, channels=channels, subtype="PCM_16", format="WAV")
