"""What simulated calls measure, without any call."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from callstream_core.audio import linear
from callstream_core.dialects.asterisk import FORMATS
from callstream_core.errors import Unsupported
from callstream_core.outputs import FramePlayed
from callstream_trio.report import EchoCheck, Meter, Spread, Summary
from callstream_trio.sound import UnreadableSound
from callstream_trio.voice import Voice, make_voice


def meter(format: str = "ulaw") -> Meter:
    return Meter(FORMATS[format], is_packets=False, period=0.02, silence=None)


def test_lateness_is_counted_from_the_grid_of_the_first_frame() -> None:
    measured = meter()
    for now in (10.0, 10.02, 10.07, 10.06, 10.075):
        measured.arrived(bytes(160), 1, now)
    assert measured.lateness(is_steady=True) == pytest.approx([0, 0, 0.03, 0, 0])


def test_audio_sent_ahead_is_not_late_and_a_new_talk_has_a_new_grid() -> None:
    measured = meter()
    # Half a second at once, the next half in time, then a pause of a second.
    for now, size in ((10.0, 25), (10.4, 25), (12.0, 1), (12.03, 1)):
        measured.arrived(bytes(160 * size), size, now)
    assert measured.lateness(is_steady=False) == pytest.approx([0, 0, 0, 0.01])
    assert measured.lateness(is_steady=True)[-1] == pytest.approx(1.01)


def test_gaps_are_ticks_without_a_frame_but_pauses_are_not() -> None:
    measured = meter()
    for at in (1.0, 1.02, 1.06, 1.08, 3.0, 3.02):
        measured.played(FramePlayed(data=bytes(160), at=at))
    assert measured.gaps(is_steady=False) == 1
    assert measured.gaps(is_steady=True) == 1 + 95


def test_marks_are_reached_with_the_frames_before_them() -> None:
    measured = meter()
    measured.marked(1)
    measured.marked(2)
    measured.marked(5)
    for at in (0.02, 0.04):
        measured.played(FramePlayed(data=bytes(160), at=at))
    assert measured.marks_answered == 1
    measured.finish()
    assert (measured.marks_placed, measured.marks_answered) == (3, 2)


def test_cleared_marks_are_not_answered() -> None:
    measured = meter()
    measured.marked(0)
    measured.cleared()
    measured.finish()
    assert (measured.marks_placed, measured.marks_answered) == (1, 0)


def test_a_steady_stream_of_strangers_is_not_searched_for_ever() -> None:
    check = EchoCheck(Voice([b"a", b"b", b"c"]), 0)
    check.sent = 3
    for _ in range(1000):
        check.take(b"x")
    assert check.foreign == 501
    assert not check.is_echo


def test_a_spread_of_nothing_is_nothing() -> None:
    assert Spread.of([]) is None
    assert Spread.of([1.0]) == Spread(p50=1.0, p95=1.0, p99=1.0, max=1.0)
    assert Summary.of([]).calls == 0


def test_frames_of_the_test_signal_are_all_different() -> None:
    for name in ("ulaw", "slin16", "opus", "g722"):
        frames = make_voice(FORMATS[name]).frames
        assert len(set(frames)) == len(frames) == 500


def test_only_known_codecs_can_play_a_file(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="choose slin"):
        make_voice(FORMATS["opus"], tmp_path / "x.wav")


def test_a_file_shorter_than_a_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(10))
    with pytest.raises(UnreadableSound, match="shorter than one frame"):
        make_voice(linear(8000), path)
