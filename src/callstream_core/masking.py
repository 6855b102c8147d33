"""The masking of WebSocket payloads (RFC 6455, 5.3) by one wide XOR: Python adds and multiplies long numbers in C."""

from __future__ import annotations

from functools import lru_cache

# Audio has few sizes, all small. A peer that sends every size must not fill memory with patterns.
_MAX_AUDIO_SIZE = 2048


def is_audio_size(size: int) -> bool:
    """Tell whether messages of so many bytes may be audio, of which many will be alike."""
    return size <= _MAX_AUDIO_SIZE


def _make_ones(words: int) -> int:
    return int.from_bytes(b"\0\0\0\1" * words)


_kept_ones = lru_cache(maxsize=64)(_make_ones)


def ones(words: int) -> int:
    """Return so many 32-bit words of value 1: times a key, they are the key repeated."""
    return _kept_ones(words) if is_audio_size(words * 4) else _make_ones(words)


def apply_mask(payload: bytes, key: int) -> bytes:
    """Mask or unmask `payload`."""
    size = len(payload)
    pattern = key * ones((size + 3) >> 2)
    if size & 3:
        pattern >>= 8 * (-size & 3)
    return (int.from_bytes(payload) ^ pattern).to_bytes(size)
