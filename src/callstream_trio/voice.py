"""What a simulated caller says: frames of a test signal, or of a sound file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import trio

from callstream_core import codecs
from callstream_core.audio import AudioFormat, lower_minus_one
from callstream_core.dialect import Profile
from callstream_core.errors import Unsupported
from callstream_trio.sound import UnreadableSound, read_pieces

_SIGNAL = 10.0
_MAX_SIZE = 64 * 1024 * 1024
# A packet of a codec without a frame size: about what Opus needs for speech.
_PACKET = 60


@attrs.frozen
class Voice:
    """Frames that a caller sends one after the other, again from the first after the last."""

    frames: Sequence[bytes]
    is_sound: bool = True
    """False where the frames only have the right size, because the codec cannot be encoded here."""


class Voices:
    """What callers say, made once for each format that a call has: a sound file, or a test signal."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._made: dict[AudioFormat, Voice] = {}
        self._making = threading.Lock()

    def of(self, audio: AudioFormat) -> Voice:
        """Return the voice in a format. Blocks on the disk; raises as `make_voice` does."""
        with self._making:
            voice = self._made.get(audio)
            if voice is None:
                voice = self._made[audio] = make_voice(audio, self._path)
            return voice

    async def prepare(self, audio: AudioFormat) -> Voice:
        """Return the voice in a format, without holding anybody up."""
        voice = self._made.get(audio)
        return await trio.to_thread.run_sync(self.of, audio) if voice is None else voice


def said_format(profile: Profile) -> AudioFormat:
    """Return what one party says on a call: where each has a track, what they say is joined on the wire only."""
    audio = profile.opening().caller_format
    parties = audio.channels
    return attrs.evolve(audio, channels=1, frame_size=audio.frame_size // parties) if parties > 1 else audio


def can_encode(audio: AudioFormat) -> bool:
    """Tell whether sound can be turned into this format, and back."""
    try:
        codecs.sample_width(audio.encoding)
    except Unsupported:
        return False
    return audio.frame_size > 0


def make_voice(audio: AudioFormat, path: Path | None = None) -> Voice:
    """Return a sound file's frames, or a test signal. Blocks on the disk.

    Raises:
        Unsupported: for a file, where the codec cannot be encoded.
        UnreadableSound: for a file that cannot be used.
    """
    if path is not None:
        return _file(path, audio)
    if can_encode(audio):
        return Voice(_cut(_signal(audio), audio))
    size = audio.frame_size or _PACKET
    count = round(_SIGNAL / audio.ptime)
    return Voice([hashlib.shake_128(number.to_bytes(4)).digest(size) for number in range(count)], is_sound=False)


def tone(audio: AudioFormat, *, pitch: float = 440.0, seconds: int = 1) -> bytes:
    """Return a steady tone; whole seconds of a whole number of hertz join without a click."""
    time = np.arange(seconds * audio.rate) / audio.rate
    return _encode(0.3 * np.sin(2 * np.pi * pitch * time), audio)


def _signal(audio: AudioFormat) -> bytes:
    """Return a tone whose pitch and loudness wander, so that no two frames are equal and a lost one shows."""
    time = np.arange(round(_SIGNAL * audio.rate)) / audio.rate
    phase = 440 * time + 20 * np.sin(2 * np.pi * 0.37 * time)
    loudness = 0.2 + 0.1 * np.sin(2 * np.pi * 0.73 * time)
    return _encode(loudness * np.sin(2 * np.pi * phase), audio)


def _encode(samples: np.ndarray[tuple[int], np.dtype[np.float64]], audio: AudioFormat) -> bytes:
    pcm = np.rint(samples * 32767).astype("<i2")
    if audio.channels > 1:
        pcm = pcm.repeat(audio.channels)
    return codecs.from_linear(pcm.tobytes(), audio)


def _file(path: Path, audio: AudioFormat) -> Voice:
    if not can_encode(audio):
        raise Unsupported(
            f"no sound can be turned into {audio.encoding}: choose slin, ulaw or alaw, or leave the file out"
        )
    pieces = []
    size = 0
    for piece in read_pieces(path, audio):
        size += len(piece)
        if size > _MAX_SIZE:
            raise UnreadableSound(f"{path} is too long: {_MAX_SIZE // 2**20} MiB in the call's format are the most")
        pieces.append(piece)
    frames = _cut(b"".join(pieces), audio)
    if not frames:
        raise UnreadableSound(f"{path} is shorter than one frame of {audio.ptime * 1000:g} ms")
    return Voice(frames)


def _cut(data: bytes, audio: AudioFormat) -> list[bytes]:
    size = audio.frame_size
    if audio.is_linear:
        # jambonz takes the sample -1 for a mark, so that no application sends it back.
        data = lower_minus_one(data)
    end = len(data) - len(data) % size
    return [data[start : start + size] for start in range(0, end, size)]
