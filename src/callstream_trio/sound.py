"""Sound files in, call audio out; call audio in, sound files out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from callstream_core.audio import AudioFormat, linear
from callstream_core.dialect import PlayoutTraits
from callstream_core.outputs import FramePlayed
from callstream_core.resample import Converter

_BLOCK = 8192


class UnreadableSound(Exception):
    """A sound file that cannot be played; the message says why."""


def read_pieces(path: Path, target: AudioFormat) -> Iterator[bytes]:
    """Yield a sound file's audio, converted to a call's format. Blocks on the disk: run it in a thread."""
    try:
        with soundfile.SoundFile(path) as sound:
            source = linear(sound.samplerate, channels=sound.channels)
            converter = Converter(source, target, is_live=False)
            for block in sound.blocks(_BLOCK, dtype="int16", always_2d=True):
                piece = converter.feed(np.ascontiguousarray(block).tobytes())
                if piece:
                    yield piece
            rest = converter.finish()
            if rest:
                yield rest
    except (soundfile.LibsndfileError, OSError) as error:
        raise UnreadableSound(f"{path} cannot be played: {error}; use WAV, FLAC or OGG") from None


class SoundWriter:
    """Writes call audio as a 16-bit WAV file at the call's own rate. Blocks on the disk."""

    def __init__(self, path: Path, source: AudioFormat) -> None:
        rate = source.rate
        self._converter = Converter(source, linear(rate, channels=source.channels))
        self._file = soundfile.SoundFile(
            path, "w", samplerate=rate, channels=source.channels, subtype="PCM_16", format="WAV"
        )
        self._channels = source.channels

    def write(self, data: bytes) -> None:
        """Append audio in the call's format."""
        self._append(self._converter.feed(data))

    def close(self) -> None:
        """Finish the file."""
        self._append(self._converter.finish())
        self._file.close()

    def _append(self, pcm: bytes) -> None:
        if pcm:
            self._file.write(np.frombuffer(pcm, dtype="<i2").reshape(-1, self._channels))


def write_heard(path: Path, frames: Sequence[FramePlayed], traits: PlayoutTraits) -> None:
    """Write what a caller heard as a WAV file, with silence where nothing was played. Blocks on the disk."""
    writer = SoundWriter(path, traits.format)
    silence = traits.format.silence(traits.format.frame_size)
    made = bytes(2 * traits.format.frame_samples) if traits.fills_silence else None
    try:
        start = frames[0].at
        written = 0
        for frame in frames:
            due = round((frame.at - start) / traits.period)
            if due > written:
                writer.write(silence * (due - written))
            # Early drivers make silence in linear samples, whatever the codec.
            writer.write(silence if frame.data == made else frame.data)
            written = due + 1
    finally:
        writer.close()
