"""Streams keep their length, their sound and their sample boundaries whatever the chunks."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import codecs
from callstream_core.audio import AudioFormat, linear
from callstream_core.errors import Unsupported
from callstream_core.resample import Converter, Resampler

RATES = [(8000, 16000), (16000, 8000), (8000, 24000), (24000, 8000), (8000, 44100), (48000, 8000)]
ODD_SIZES = (1, 7, 320, 3, 0, 641, 2)


def coded(encoding: str, rate: int = 8000, *, channels: int = 1) -> AudioFormat:
    return AudioFormat(encoding=encoding, rate=rate, frame_size=rate // 50 * channels, channels=channels)


def sine(rate: int, frequency: float, *, seconds: float = 1.0, peak: int = 20000) -> bytes:
    times = np.arange(round(rate * seconds)) / rate
    return (np.sin(2 * np.pi * frequency * times) * peak).round().astype("<i2").tobytes()


def run(stream: Resampler | Converter, data: bytes, sizes: tuple[int, ...] = (1 << 30,)) -> bytes:
    pieces, start = [], 0
    for size in itertools.cycle(sizes):
        pieces.append(stream.feed(data[start : start + size]))
        start += size
        if start >= len(data):
            return b"".join([*pieces, stream.finish()])
    raise AssertionError


def decibels(power: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10((power**2).sum() / (noise**2).sum()))


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize(("source", "target"), RATES)
def test_the_chunking_never_shows(source: int, target: int, is_live: bool) -> None:
    data = sine(source, 440, seconds=0.5) + np.random.default_rng(7).bytes(4000)
    stream = Resampler(source, target, is_live=is_live)

    whole = run(stream, data)

    assert run(stream, data, ODD_SIZES) == whole
    assert run(stream, data, (source // 50 * 2,)) == whole


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_sine_in_odd_chunks_stays_a_sine(source: int, target: int, is_live: bool) -> None:
    out = run(Resampler(source, target, is_live=is_live), sine(source, 1000), ODD_SIZES)

    samples = np.frombuffer(out, "<i2").astype(np.float64)[target // 4 : -target // 4]
    angles = 2 * np.pi * 1000 * np.arange(len(samples)) / target
    basis = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    weights = np.linalg.lstsq(basis, samples, rcond=None)[0]
    heard = basis @ weights
    # Rounding to 16 bits on the way in and out leaves 93 dB or more at every pair; truncating does not.
    assert decibels(heard, samples - heard) > 92
    assert np.hypot(*weights) == pytest.approx(20000, rel=0.01)
    # A click is a step that the sine itself never takes.
    assert np.abs(np.diff(samples)).max() <= 2 * np.pi * 1000 / target * 20000 + 3


@pytest.mark.parametrize("is_live", [True, False])
def test_what_the_lower_rate_cannot_carry_is_gone(is_live: bool) -> None:
    data = sine(16000, 4200)
    out = run(Resampler(16000, 8000, is_live=is_live), data)

    assert np.abs(np.frombuffer(out, "<i2")[2000:-2000].astype(int)).max() <= 2


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([*RATES, (8000, 7999), (16000, 16000)]),
    st.integers(0, 3000),
    st.integers(1, 2),
    st.booleans(),
    st.integers(1, 999),
)
def test_the_output_lasts_as_long_as_the_input(
    rates: tuple[int, int], count: int, channels: int, is_live: bool, size: int
) -> None:
    source, target = rates
    out = run(Resampler(source, target, channels, is_live=is_live), bytes(count * 2 * channels), (size,))

    assert len(out) % (2 * channels) == 0
    assert abs(len(out) // (2 * channels) - round(count * target / source)) <= 1


@pytest.mark.parametrize(("source", "target"), RATES)
def test_live_output_follows_within_a_frame_and_a_half_and_evenly(source: int, target: int) -> None:
    stream = Resampler(source, target)
    frame = bytes(source // 50 * 2)
    sizes = [len(stream.feed(frame)) // 2 for _ in range(50)]

    # Delay in samples after each frame; measured: 10 to 30 ms.
    delays = [(number + 1) * target // 50 - sum(sizes[: number + 1]) for number in range(50)]
    assert max(delays) <= target * 0.03
    assert set(sizes[5:]) == {target // 50}


@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (24000, 16000)])
def test_overshoot_saturates_and_never_wraps(source: int, target: int) -> None:
    square = np.repeat(np.tile(np.array([16000, -16000], "<i2"), 50), 20)
    quiet = np.frombuffer(run(Resampler(source, target), square.tobytes()), "<i2").astype(int)
    loud = np.frombuffer(run(Resampler(source, target), (square * 2).tobytes()), "<i2").astype(int)

    assert np.abs(quiet).max() > 16384
    assert np.abs(loud - np.clip(quiet * 2, -32768, 32767)).max() <= 1


def test_silence_stays_digital_silence() -> None:
    assert not any(run(Resampler(8000, 24000), bytes(8000)))


def test_channels_do_not_leak_into_each_other() -> None:
    left, right = sine(8000, 440), sine(8000, 1000)
    out = run(Resampler(8000, 16000, 2), codecs.interleave([left, right]), ODD_SIZES)

    assert codecs.split_channels(out) == [
        run(Resampler(8000, 16000), left),
        run(Resampler(8000, 16000), right),
    ]


def test_equal_rates_change_nothing_but_keep_samples_whole() -> None:
    stream = Resampler(8000, 8000)

    assert [stream.feed(b"\1\2\3"), stream.feed(b"\4"), stream.feed(b"\5")] == [b"\1\2", b"\3\4", b""]
    assert stream.finish() == b""
    assert stream.feed(b"\6\7") == b"\6\7"


def test_a_finished_stream_starts_afresh() -> None:
    stream = Resampler(8000, 16000)
    first = run(stream, sine(8000, 440) + b"\1")

    assert run(stream, sine(8000, 440)) == first


@pytest.mark.parametrize("numbers", [(0, 8000, 1), (8000, -1, 1), (8000, 8000, 0)])
def test_rates_and_channels_are_positive(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Resampler(*numbers)


@pytest.mark.parametrize("encoding", ["slin", "ulaw", "opus"])
def test_formats_that_differ_only_in_framing_pass_through(encoding: str) -> None:
    source = AudioFormat(encoding=encoding, rate=8000, frame_size=0)
    target = AudioFormat(encoding=encoding, rate=8000, frame_size=480, ptime=0.06)
    converter = Converter(source, target)
    data = b"\1\2\3"

    assert converter.feed(data) is data
    assert converter.finish() == b""


def test_linear_audio_passes_through_in_whole_samples() -> None:
    converter = Converter(linear(8000), linear(8000))

    assert [converter.feed(data) for data in (b"\1", b"\2\3", b"\4\5")] == [b"", b"\1\2", b"\3\4"]
    assert converter.finish() == b""
    assert converter.feed(b"\6\7") == b"\6\7"


@pytest.mark.parametrize("encoding", ["ulaw", "alaw"])
def test_the_wire_becomes_what_an_application_hears(encoding: str) -> None:
    wire = coded(encoding)
    speech = codecs.from_linear(sine(8000, 440), wire)

    heard = run(Converter(wire, linear(16000)), speech, (160,))

    assert heard == run(Resampler(8000, 16000), codecs.to_linear(speech, wire))
    back = run(Converter(linear(16000), wire), heard, ODD_SIZES)
    assert back == codecs.from_linear(run(Resampler(16000, 8000), heard), wire)
    assert len(back) == len(speech)


def test_one_law_becomes_the_other_sample_by_sample() -> None:
    ulaw, alaw = coded("ulaw"), coded("alaw")
    data = bytes(range(256))

    converter = Converter(ulaw, alaw)

    assert converter.feed(data) == codecs.from_linear(codecs.to_linear(data, ulaw), alaw)
    assert converter.finish() == b""


def test_stereo_is_mixed_down_across_odd_chunks() -> None:
    left, right = sine(8000, 440), sine(8000, 1000)
    converter = Converter(linear(8000, channels=2), coded("alaw"))
    stereo = codecs.interleave([left, right])

    assert run(converter, stereo, ODD_SIZES) == codecs.from_linear(codecs.mix_down(stereo), coded("alaw"))


def test_mono_is_repeated_on_every_channel() -> None:
    mono = sine(8000, 440)

    out = run(Converter(linear(8000), linear(16000, channels=3)), mono, ODD_SIZES)

    assert codecs.split_channels(out, 3) == [run(Resampler(8000, 16000), mono)] * 3


def test_stereo_g711_is_cut_at_whole_pairs() -> None:
    converter = Converter(coded("ulaw", channels=2), linear(8000, channels=2))

    assert converter.feed(b"\xff\xff\xff") == bytes(4)
    assert converter.feed(b"\xff") == bytes(4)
    assert converter.feed(b"\x00") == b""
    assert converter.finish() == b""
    assert converter.feed(b"\xff\xff") == bytes(4)


@pytest.mark.parametrize(
    ("source", "target", "advice"),
    [
        (coded("opus"), linear(16000), "no codec for 'opus'"),
        (linear(16000), coded("g722"), "no codec for 'g722'"),
        (linear(8000, channels=3), linear(8000, channels=2), "cannot turn 3 channels into 2"),
    ],
)
def test_impossible_conversions_are_refused_at_once(source: AudioFormat, target: AudioFormat, advice: str) -> None:
    with pytest.raises(Unsupported, match=advice):
        Converter(source, target)


def test_a_converter_for_files_may_lag() -> None:
    data = sine(8000, 440)

    out = run(Converter(linear(8000), linear(16000), is_live=False), data)

    assert out == run(Resampler(8000, 16000, is_live=False), data)
