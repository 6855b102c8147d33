"""Streams from one rate, encoding and number of channels to another. The only module that needs soxr.

Every stream remembers what the next chunk continues, so use one object per direction of a call, and feed it
chunks of any size: the chunking never shows in the output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from callstream_core import codecs
from callstream_core.audio import AudioFormat
from callstream_core.errors import Unsupported

# It came with soxr 1.1. Pipecat insists on 1.0, where live streams are as late as files.
_HAS_VARIABLE_RATE = tuple(map(int, soxr.__version__.split(".")[:2])) >= (1, 1)


class Resampler:
    """Changes the sample rate of a stream of linear audio (16-bit, little-endian, channels interleaved).

    `is_live` chooses between delay and work. True: the output follows the input by 10 to 30 ms, evenly, for 8
    to 20 µs of work per 20 ms frame. False, for files: about 5 µs, but the output comes in bursts and up to
    170 ms late. Either way all is kept up to 90 % of half the lower rate, with noise below that of 16 bits.

    Raises:
        ValueError: if a rate or the number of channels is below one.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int = 1, *, is_live: bool = True) -> None:
        if min(source_rate, target_rate, channels) < 1:
            raise ValueError("rates and channels must be positive")
        self._cutter = _Cutter(2 * channels)
        self._channels = channels
        # Not int16: soxr dithers that, so equal input would give unequal output.
        # At a fixed ratio soxr works in FFT blocks, whose size is most of its delay. Its engine for variable
        # ratios works in small steps of time; here the ratio stays where it is.
        engine = {"vr": is_live} if _HAS_VARIABLE_RATE else {}
        self._stream: Any = (
            soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="HQ", **engine)
            if source_rate != target_rate
            else None
        )

    def feed(self, data: bytes) -> bytes:
        """Return the audio that is ready, maybe none. An incomplete sample waits for the rest of it."""
        data = self._cutter.cut(data)
        return self._run(data) if self._stream and data else data

    def finish(self) -> bytes:
        """Return the rest, so that the whole output lasts as long as the input, and start afresh.

        A last incomplete sample is dropped.
        """
        self._cutter.clear()
        if self._stream is None:
            return b""
        rest = self._run(b"", last=True)
        self._stream.clear()
        return rest

    def _run(self, data: bytes, *, last: bool = False) -> bytes:
        samples = np.frombuffer(data, "<i2").astype(np.float32).reshape(-1, self._channels)
        resampled = self._stream.resample_chunk(samples, last)
        # A filter overshoots at full scale: saturate, or the cast would wrap.
        np.rint(resampled, out=resampled)
        np.minimum(resampled, 32767, out=resampled)
        np.maximum(resampled, -32768, out=resampled)
        return bytes(resampled.astype("<i2").tobytes())


class Converter:
    """Turns a stream of one format into another: decode, mix, resample, encode.

    Many channels become one by their mean, one becomes many by repetition. Formats that differ only in
    framing are passed through untouched, whatever their encoding, but linear samples whole. `is_live` is that of
    `Resampler`.

    Raises:
        Unsupported: for encodings other than "slin", "ulaw" and "alaw", and between different numbers of
            channels neither of which is one.
        ValueError: if a rate or a number of channels is below one.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat, *, is_live: bool = True) -> None:
        self._source = source
        self._target = target
        self._is_same = (source.encoding, source.rate, source.channels) == (
            target.encoding,
            target.rate,
            target.channels,
        )
        if self._is_same:
            self._cutter = _Cutter(2 * source.channels if source.is_linear and not source.is_packets else 1)
            return
        codecs.sample_width(target.encoding)
        if source.channels != target.channels and 1 not in (source.channels, target.channels):
            raise Unsupported(f"cannot turn {source.channels} channels into {target.channels}: split them and choose")
        self._cutter = _Cutter(codecs.sample_width(source.encoding) * source.channels)
        # Resample the fewer channels: mix before, repeat after.
        self._resampler = Resampler(source.rate, target.rate, min(source.channels, target.channels), is_live=is_live)

    def feed(self, data: bytes) -> bytes:
        """Return the audio that is ready, maybe none. An incomplete sample waits for the rest of it."""
        data = self._cutter.cut(data)
        if self._is_same:
            return data
        linear = codecs.to_linear(data, self._source)
        if self._source.channels > self._target.channels:
            linear = codecs.mix_down(linear, self._source.channels)
        return self._encode(self._resampler.feed(linear))

    def finish(self) -> bytes:
        """Return the rest and start afresh. A last incomplete sample is dropped."""
        self._cutter.clear()
        if self._is_same:
            return b""
        return self._encode(self._resampler.finish())

    def _encode(self, linear: bytes) -> bytes:
        if self._target.channels > self._source.channels:
            linear = codecs.interleave([linear] * self._target.channels)
        return codecs.from_linear(linear, self._target)


class _Cutter:
    """Cuts a stream of bytes at whole samples of `width` bytes."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._carry = b""

    def cut(self, data: bytes) -> bytes:
        if self._carry:
            data = self._carry + data
            self._carry = b""
        odd = len(data) % self._width
        if odd:
            self._carry = data[-odd:]
            data = data[:-odd]
        return data

    def clear(self) -> None:
        self._carry = b""
