"""The arithmetic between bytes, samples, frames and seconds."""

from __future__ import annotations

import attrs
import pytest

from callstream_core.audio import AudioFormat, linear

ULAW = AudioFormat(encoding="ulaw", rate=8000, frame_size=160)
OPUS = AudioFormat(encoding="opus", rate=48000, frame_size=0)


@pytest.mark.parametrize(
    ("format", "frame_size", "frame_samples"),
    [
        (linear(8000), 320, 160),
        (linear(16000), 640, 320),
        (linear(44100), 1764, 882),
        (linear(8000, channels=2), 640, 160),
        (linear(24000, ptime=0.03), 1440, 720),
        (linear(11025), 440, 220),
        (ULAW, 160, 160),
        (OPUS, 0, 960),
    ],
)
def test_frames_are_as_long_as_their_ptime(format: AudioFormat, frame_size: int, frame_samples: int) -> None:
    assert (format.frame_size, format.frame_samples) == (frame_size, frame_samples)


def test_a_linear_format_keeps_what_it_was_made_of() -> None:
    assert linear(16000, channels=2, ptime=0.01) == AudioFormat(
        encoding="slin", rate=16000, frame_size=640, ptime=0.01, channels=2
    )


@pytest.mark.parametrize(
    ("format", "is_packets", "is_linear"),
    [(linear(8000), False, True), (ULAW, False, False), (OPUS, True, False)],
)
def test_a_format_knows_its_kind(format: AudioFormat, is_packets: bool, is_linear: bool) -> None:
    assert (format.is_packets, format.is_linear) == (is_packets, is_linear)


@pytest.mark.parametrize(
    ("format", "size", "seconds"),
    [(ULAW, 0, 0.0), (ULAW, 160, 0.02), (ULAW, 4000, 0.5), (linear(8000, channels=2), 32000, 1.0)],
)
def test_bytes_play_for_their_share_of_a_frame(format: AudioFormat, size: int, seconds: float) -> None:
    assert format.seconds(size) == pytest.approx(seconds)


def test_a_packet_of_any_size_plays_one_ptime() -> None:
    assert OPUS.seconds(3) == OPUS.seconds(300) == OPUS.ptime


@pytest.mark.parametrize(("encoding", "byte"), [("slin", b"\0"), ("ulaw", b"\xff"), ("alaw", b"\xd5"), ("g722", b"\0")])
def test_silence_is_the_quietest_byte_of_the_encoding(encoding: str, byte: bytes) -> None:
    assert AudioFormat(encoding=encoding, rate=8000, frame_size=160).silence(3) == byte * 3


def test_a_format_is_a_value() -> None:
    assert {ULAW, attrs.evolve(ULAW)} == {ULAW}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ULAW.rate = 16000  # type: ignore[misc]
