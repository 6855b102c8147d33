"""G.711 against two independent implementations, and samples taken apart and put together."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
import warnings
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callstream_core import codecs
from callstream_core.audio import AudioFormat, linear
from callstream_core.errors import Unsupported

ULAW = AudioFormat(encoding="ulaw", rate=8000, frame_size=160)
ALAW = AudioFormat(encoding="alaw", rate=8000, frame_size=160)
SLIN = linear(8000)
G722 = AudioFormat(encoding="g722", rate=16000, frame_size=160)

ALL_CODES = bytes(range(256))
ALL_SAMPLES = struct.pack("<65536h", *range(-32768, 32768))
SAMPLES = st.lists(st.integers(-32768, 32767))


def pcm(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def samples_of(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 2}h", data))


# The end point, the number of intervals and their size in each segment of positive values, as tables 1a
# (A-law) and 2a (µ-law) of G.711 list them. µ-law's first segment is one interval of 1 and fifteen of 2.
ALAW_SEGMENTS = [(64, 32, 2), (128, 16, 4), (256, 16, 8), (512, 16, 16), (1024, 16, 32), (2048, 16, 64)]
ALAW_SEGMENTS += [(4096, 16, 128)]
ULAW_SEGMENTS = [(1, 1, 1), (31, 15, 2), (95, 16, 4), (223, 16, 8), (479, 16, 16), (991, 16, 32)]
ULAW_SEGMENTS += [(2015, 16, 64), (4063, 16, 128), (8159, 16, 256)]


def intervals(segments: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    bounds = [
        (end - size * (count - step), end - size * (count - step - 1))
        for end, count, size in segments
        for step in range(count)
    ]
    assert len(bounds) == 128
    assert bounds[0][0] == 0
    assert all(below[1] == above[0] for below, above in itertools.pairwise(bounds))
    return bounds


def recommended(encoding: str) -> tuple[list[int], bytes]:
    """Return the sample of every code and the code of every sample from -32768, read off the tables."""
    if encoding == "ulaw":
        bounds, scale, flips = intervals(ULAW_SEGMENTS), 4, 0x7F
    else:
        bounds, scale, flips = intervals(ALAW_SEGMENTS), 8, 0x55
    decoded, encoded = [0] * 256, [0] * 65536
    for number, (low, high) in enumerate(bounds):
        positive = (number | 0x80) ^ flips
        # Decoded values lie in the middle, but for µ-law's first, which is zero.
        value = (low + high) * scale // 2 if (low, high) != (0, 1) else 0
        decoded[positive], decoded[positive ^ 0x80] = value, -value
        top = 32768 if number == 127 else high * scale
        for sample in range(low * scale, top):
            encoded[sample + 32768] = positive
        for sample in range(-top, -low * scale):
            encoded[sample + 32768] = positive ^ 0x80
    return decoded, bytes(encoded)


@pytest.mark.parametrize("format", [ULAW, ALAW])
def test_every_code_and_every_sample_are_as_the_recommendation_says(format: AudioFormat) -> None:
    decoded, encoded = recommended(format.encoding)

    assert samples_of(codecs.to_linear(ALL_CODES, format)) == decoded
    assert codecs.from_linear(ALL_SAMPLES, format) == encoded


@pytest.fixture
def audioop() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module: ModuleType = pytest.importorskip("audioop", reason="not in Python 3.13 and later")
    return module


def test_every_code_decodes_as_in_the_standard_library(audioop: ModuleType) -> None:
    assert codecs.to_linear(ALL_CODES, ULAW) == audioop.ulaw2lin(ALL_CODES, 2)
    assert codecs.to_linear(ALL_CODES, ALAW) == audioop.alaw2lin(ALL_CODES, 2)


def test_every_sample_encodes_to_alaw_as_in_the_standard_library(audioop: ModuleType) -> None:
    assert codecs.from_linear(ALL_SAMPLES, ALAW) == audioop.lin2alaw(ALL_SAMPLES, 2)


def test_ulaw_differs_from_the_standard_library_where_that_rounds_negative_samples_away(
    audioop: ModuleType,
) -> None:
    """`audioop` drops the lowest two bits before it takes the magnitude: -1 counts as -4 and decodes to -8.

    The recommendation's decision values are symmetric, and its reference code (ITU-T G.191) makes -1 a zero.
    So the three negative samples just inside each of the 127 decision values are one interval too loud in
    `audioop`. The sample on the value may go either way; we follow the reference.
    """
    ours = codecs.from_linear(ALL_SAMPLES, ULAW)
    theirs = audioop.lin2ulaw(ALL_SAMPLES, 2)
    differing = {sample for sample in range(-32768, 32768) if ours[sample + 32768] != theirs[sample + 32768]}

    decisions = [low * 4 for low, _ in intervals(ULAW_SEGMENTS)[1:]]
    assert differing == {-decision + offset for decision in decisions for offset in range(4)}
    assert all(theirs[sample + 32768] == ours[sample + 32768] - 1 for sample in differing)


@pytest.mark.parametrize("format", [ULAW, ALAW])
def test_encoding_a_decoded_code_gives_it_back(format: AudioFormat) -> None:
    # µ-law has two zeros, and a linear zero is the positive one.
    expected = ALL_CODES.replace(b"\x7f", b"\xff") if format is ULAW else ALL_CODES

    assert codecs.from_linear(codecs.to_linear(ALL_CODES, format), format) == expected


@pytest.mark.parametrize(("format", "quietest"), [(ULAW, 0), (ALAW, 8), (SLIN, 0)])
def test_silence_decodes_to_the_quietest_sample(format: AudioFormat, quietest: int) -> None:
    assert samples_of(codecs.to_linear(format.silence(2), format))[0] == quietest


@pytest.mark.parametrize(("format", "loudest"), [(ULAW, 32124), (ALAW, 32256)])
def test_the_loudest_samples_saturate(format: AudioFormat, loudest: int) -> None:
    coded = codecs.from_linear(pcm(32767, -32768), format)

    assert samples_of(codecs.to_linear(coded, format)) == [loudest, -loudest]


def test_linear_audio_is_left_alone() -> None:
    data = pcm(1, -2, 3)

    assert codecs.to_linear(data, SLIN) is data
    assert codecs.from_linear(data, SLIN) is data


@pytest.mark.parametrize("format", [ULAW, ALAW, SLIN])
def test_nothing_decodes_and_encodes_to_nothing(format: AudioFormat) -> None:
    assert codecs.to_linear(b"", format) == codecs.from_linear(b"", format) == b""


def test_other_encodings_are_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"no codec for 'g722', only slin, ulaw and alaw"):
        codecs.to_linear(b"", G722)
    with pytest.raises(Unsupported, match="'g722'"):
        codecs.from_linear(b"", G722)
    with pytest.raises(Unsupported, match="'g722'"):
        codecs.sample_width("g722")


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        codecs.from_linear(b"\0\0\0", ULAW)


def test_samples_have_a_width() -> None:
    assert [codecs.sample_width(encoding) for encoding in ("slin", "ulaw", "alaw")] == [2, 1, 1]


def test_swapping_turns_little_endian_into_big() -> None:
    assert codecs.swap_bytes(pcm(1, -2, 0x1234)) == struct.pack(">3h", 1, -2, 0x1234)


@given(SAMPLES)
def test_swapping_twice_changes_nothing(samples: list[int]) -> None:
    assert codecs.swap_bytes(codecs.swap_bytes(pcm(*samples))) == pcm(*samples)


def test_mixing_takes_the_mean_and_cannot_clip() -> None:
    stereo = pcm(32767, 32767, -32768, -32768, 100, -100, 1, 2, -1, -2, 32767, -32768)

    assert samples_of(codecs.mix_down(stereo)) == [32767, -32768, 0, 2, -1, 0]
    assert samples_of(codecs.mix_down(pcm(1, 2, 6, -3, -3, -3), 3)) == [3, -3]


def test_interleaving_alternates_the_channels() -> None:
    assert codecs.interleave([pcm(1, 3), pcm(2, 4)]) == pcm(1, 2, 3, 4)


def test_channels_of_different_lengths_do_not_interleave() -> None:
    with pytest.raises(ValueError, match="same shape"):
        codecs.interleave([pcm(1), pcm(1, 2)])


@given(SAMPLES, st.integers(1, 4))
def test_channels_split_and_join_without_loss(samples: list[int], channels: int) -> None:
    data = pcm(*samples * channels)
    split = codecs.split_channels(data, channels)

    assert len(split) == channels
    assert codecs.interleave(split) == data


def test_half_a_frame_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        codecs.split_channels(pcm(1, 2, 3))


@pytest.mark.parametrize(
    ("module", "absent"), [("callstream_core", "{'numpy', 'soxr'}"), ("callstream_core.codecs", "{'soxr'}")]
)
def test_importing_costs_no_library_that_is_not_needed(module: str, absent: str) -> None:
    code = f"import sys, {module}; sys.exit(str({absent} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip() == ""
