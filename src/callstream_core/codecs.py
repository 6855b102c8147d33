"""G.711, byte order and channels: what turns the wire's bytes into 16-bit samples and back.

"Linear" means 16-bit signed samples, little-endian, channels interleaved: the `slin` of Asterisk.
Functions take and return `bytes`; a length that is not a whole number of samples raises `ValueError`.
Engines carry audio without looking inside, so nothing they import may import this module: numpy alone takes
longer to load than the rest of the core. Only `callstream_core.resample` needs soxr on top.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from callstream_core.audio import AudioFormat
from callstream_core.errors import Unsupported

_LINEAR: np.dtype[np.int16] = np.dtype("<i2")

# The 128 magnitudes of each law, in the order of the codes: the decision value below and the decoded value,
# in the units of the recommendation. µ-law counts 14-bit steps (G.711 table 2), A-law 13-bit steps (table 1).
# A code's upper three bits name the segment, the lower four the interval; the step doubles by segment.
_SEGMENT, _INTERVAL = np.divmod(np.arange(128), 16)
_ULAW_BELOW = np.maximum(((2 * _INTERVAL + 32) << _SEGMENT) - 33, 0)
_ULAW_VALUE = ((2 * _INTERVAL + 33) << _SEGMENT) - 33
# A-law's first segment has the step of its second and no offset.
_ALAW_SHIFT = np.maximum(_SEGMENT - 1, 0)
_ALAW_BELOW = (2 * _INTERVAL + 32 * (_SEGMENT > 0)) << _ALAW_SHIFT
_ALAW_VALUE = (2 * _INTERVAL + 32 * (_SEGMENT > 0) + 1) << _ALAW_SHIFT


def _decoding(values: npt.NDArray[np.integer], flips: int) -> npt.NDArray[np.int16]:
    """Return the sample of every code; `flips` are the bits that the law inverts on the wire, sign aside."""
    codes = np.arange(256)
    magnitudes = values[(codes ^ flips) & 0x7F]
    samples: npt.NDArray[np.int16] = np.where(codes & 0x80, magnitudes, -magnitudes).astype(_LINEAR)
    return samples


def _encoding(below: npt.NDArray[np.integer], flips: int) -> npt.NDArray[np.uint8]:
    """Return the code of every sample, indexed by the sample's 16 bits read as an unsigned number."""
    samples = np.arange(65536, dtype=np.uint16).view(np.int16)
    # G.711 does not say where a sample on a decision value belongs. Its reference code (ITU-T G.191) counts
    # negative samples in one's complement, which puts it into the interval above, on either side of zero.
    magnitudes = np.where(samples < 0, ~samples, samples)
    index = np.searchsorted(below, magnitudes, side="right") - 1
    return (index ^ flips ^ np.where(samples < 0, 0, 0x80)).astype(np.uint8)


# G.711 inverts all bits of µ-law, every second of A-law (and the sign bit is 1 for positive samples in both).
# Samples are the steps of the recommendation scaled to 16 bits.
_DECODINGS = {"ulaw": _decoding(_ULAW_VALUE * 4, 0x7F), "alaw": _decoding(_ALAW_VALUE * 8, 0x55)}
_ENCODINGS = {"ulaw": _encoding(_ULAW_BELOW * 4, 0x7F), "alaw": _encoding(_ALAW_BELOW * 8, 0x55)}


def to_linear(data: bytes, format: AudioFormat) -> bytes:
    """Decode `data` to linear samples of the same rate and channels.

    Raises:
        Unsupported: for an encoding other than "slin", "ulaw" and "alaw".
    """
    if format.encoding == "slin":
        return data
    table = _DECODINGS.get(format.encoding)
    if table is None:
        raise _unsupported(format.encoding)
    return table.take(np.frombuffer(data, np.uint8)).tobytes()


def from_linear(data: bytes, format: AudioFormat) -> bytes:
    """Encode linear samples of the same rate and channels.

    Raises:
        Unsupported: for an encoding other than "slin", "ulaw" and "alaw".
        ValueError: if `data` is not a whole number of samples.
    """
    if format.encoding == "slin":
        return data
    table = _ENCODINGS.get(format.encoding)
    if table is None:
        raise _unsupported(format.encoding)
    return table.take(np.frombuffer(data, "<u2")).tobytes()


def sample_width(encoding: str) -> int:
    """Return the bytes of one sample of one channel.

    Raises:
        Unsupported: for an encoding other than "slin", "ulaw" and "alaw".
    """
    if encoding == "slin":
        return 2
    if encoding in _DECODINGS:
        return 1
    raise _unsupported(encoding)


def swap_bytes(data: bytes) -> bytes:
    """Turn 16-bit samples from little-endian to big-endian (RFC 3551's L16) or back."""
    return np.frombuffer(data, _LINEAR).byteswap().tobytes()


def mix_down(data: bytes, channels: int = 2) -> bytes:
    """Mix interleaved linear samples to mono: their mean, which cannot clip, rounded half up."""
    samples = np.frombuffer(data, _LINEAR).reshape(-1, channels)
    totals: npt.NDArray[np.int32] = samples.sum(axis=1, dtype=np.int32)
    return ((totals + channels // 2) // channels).astype(_LINEAR).tobytes()


def split_channels(data: bytes, channels: int = 2) -> list[bytes]:
    """Return each channel of interleaved linear samples as mono."""
    return [channel.tobytes() for channel in np.frombuffer(data, _LINEAR).reshape(-1, channels).T]


def interleave(channels: Sequence[bytes]) -> bytes:
    """Join mono linear channels of one length, the inverse of `split_channels`."""
    return np.stack([np.frombuffer(channel, _LINEAR) for channel in channels], axis=1).tobytes()


def _unsupported(encoding: str) -> Unsupported:
    return Unsupported(
        f"no codec for {encoding!r}, only slin, ulaw and alaw: ask the platform for one of these,"
        " or decode the packets yourself"
    )
