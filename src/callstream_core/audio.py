"""What a stream of audio looks like: encoding, rate, framing, and the arithmetic between them.

Sizes are bytes of all channels together, durations seconds, rates samples per second and channel.
"""

from __future__ import annotations

import math
import re

import attrs

# Encodings whose silence is not a run of zero bytes (ITU-T G.711).
_SILENCE = {"ulaw": b"\xff", "alaw": b"\xd5"}


@attrs.frozen(kw_only=True)
class AudioFormat:
    """One direction of a call's audio.

    `frame_size` and `ptime` are taken as given: only `linear` computes one from the other.
    """

    encoding: str
    """Lower-case name: "slin" (16-bit signed linear, little-endian), "ulaw", "alaw", "g722", "opus", …"""
    rate: int
    """Samples per second and channel."""
    frame_size: int
    """Bytes of one frame; 0 where packets have no fixed size."""
    ptime: float = 0.02
    """Seconds of audio in one frame or packet."""
    channels: int = 1
    """Channels whose samples take turns in the stream."""

    @property
    def frame_samples(self) -> int:
        """Samples per channel in one frame."""
        return round(self.rate * self.ptime)

    @property
    def is_packets(self) -> bool:
        """True where every message is one packet of a size only its codec knows (opus, g729, …)."""
        return self.frame_size == 0

    @property
    def is_linear(self) -> bool:
        """True for 16-bit signed linear samples."""
        return self.encoding == "slin"

    def seconds(self, size: int) -> float:
        """Return how long `size` bytes play; a packet of unknown size plays one `ptime`."""
        return size * self.ptime / self.frame_size if self.frame_size else self.ptime

    def silence(self, size: int) -> bytes:
        """Return `size` bytes of silence, or of zeros where the encoding has no silent byte."""
        return _SILENCE.get(self.encoding, b"\0") * size

    def silent_frames(self, seconds: float) -> bytes:
        """Return silence of at least this length, in whole frames."""
        # Not one frame more because of how floats are rounded.
        return self.silence(math.ceil(seconds / self.ptime - 1e-6) * self.frame_size)


def lower_minus_one(data: bytes) -> bytes:
    """Return whole 16-bit little-endian samples in which -2 stands in for -1."""
    # All of them at once, however many: a one for each, taken from its low byte.
    lows = data[::2]
    ones = int.from_bytes(lows.translate(_IS_FF), "little") & int.from_bytes(data[1::2].translate(_IS_FF), "little")
    if not ones:
        return data
    lowered = bytearray(data)
    lowered[::2] = (int.from_bytes(lows, "little") - ones).to_bytes(len(lows), "little")
    return bytes(lowered)


may_have_minus_one = re.compile(rb"\xff\xff").search
"""Tell quickly whether 16-bit samples may have a -1; its bytes may be those of two neighbours, too."""
_IS_FF = bytes(value == 0xFF for value in range(256))


def linear(rate: int, *, channels: int = 1, ptime: float = 0.02) -> AudioFormat:
    """Return the format of 16-bit signed linear audio at `rate` samples per second."""
    frame_size = round(rate * ptime) * 2 * channels
    return AudioFormat(encoding="slin", rate=rate, frame_size=frame_size, ptime=ptime, channels=channels)
