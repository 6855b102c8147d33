"""Recordings as lines: ours, and those of real platforms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import transcript
from callstream_core.transcript import Line, message_line, read, write

RECORDINGS = Path(__file__).parent.parent / "transcripts"


def line(**found: object) -> Line:
    [only] = read([json.dumps({"t": 1, **found})])
    return only


def test_a_text() -> None:
    text = '{"t":0.25,"from":"app","kind":"text","text":"GET_STATUS ü","bytes":13}'
    [only] = read([text])
    assert only == Line(at=0.25, speaker="app", kind="text", text="GET_STATUS ü", size=13)
    assert only.message == "GET_STATUS ü"
    assert write(only) == text


def test_audio_of_which_only_the_size_was_kept() -> None:
    text = '{"t":0.5,"from":"asterisk","kind":"binary","bytes":160,"sha256":"be9e","first":"ffff"}'
    [only] = read([text])
    assert only.message == bytes(160)
    assert only.more == {"sha256": "be9e", "first": "ffff"}
    assert write(only) == text


def test_audio_that_was_kept() -> None:
    only = message_line(b"\xff\x00", at=1.0, speaker="platform")
    assert write(only) == '{"t":1.0,"from":"platform","kind":"binary","bytes":2,"data":"/wA="}'
    assert list(read([write(only)])) == [only]
    assert only.message == b"\xff\x00"
    assert message_line(b"\xff\x00", at=1.0, speaker="app", keeps_audio=False).data is None


def test_other_recorders_keep_audio_elsewhere() -> None:
    assert line(kind="binary", bytes="/wA=", len=2).message == b"\xff\x00"
    shortened = line(kind="binary", bytes="/wA=", len=4000, cut=True)
    assert (shortened.data, shortened.size, len(shortened.message)) == (None, 4000, 4000)
    assert line(kind="close", code=4000, text="bye").reason == "bye"
    assert line(kind="close", code=4000, text="bye").text is None


def test_fragments_pings_and_closes() -> None:
    fragment = line(**{"from": "app"}, kind="binary", bytes=600, fin=False)
    assert not fragment.is_final
    assert list(read([write(fragment)])) == [fragment]
    assert line(kind="ping", bytes=2, hex="6869").message == b"hi"
    close = line(kind="close", code=1001, reason="gone", note="automatic reply")
    assert (close.code, close.reason, close.note) == (1001, "gone", "automatic reply")
    assert list(read([write(close)])) == [close]


def test_an_opening_keeps_what_the_recorder_knew() -> None:
    opening = line(kind="open", request=["GET / HTTP/1.1"], asterisk="22.10.1")
    assert opening.more == {"request": ["GET / HTTP/1.1"], "asterisk": "22.10.1"}
    assert list(read([write(opening)])) == [opening]


def test_a_stretch_that_was_left_out() -> None:
    text = (
        '{"t":1.1,"elided":3,"t_to":2.5,"asterisk":{"frames":2,"bytes":320,"sizes":[160]},"app":{"frames":1,"bytes":9}}'
    )
    [only] = read([text])
    assert (only.kind, only.until) == (transcript.ELIDED, 2.5)
    assert (only.elided("asterisk"), only.elided("app"), only.elided("x")) == ((2, 320), (1, 9), (0, 0))
    assert write(only) == text
    assert line(kind="text", text="").until == 1.0
    with pytest.raises(ValueError, match="frames should be a whole number"):
        line(elided=1, app={"frames": "many"}).elided("app")


def test_text_that_is_not_utf8_is_kept_as_bytes() -> None:
    only = message_line("MARK_MEDIA \udcff", at=1.0, speaker="app")
    written = write(only)
    assert written == '{"t":1.0,"from":"app","kind":"text","bytes":12,"data":"TUFSS19NRURJQSD/"}'
    assert list(read([written])) == [only]


def test_empty_lines_are_passed_over() -> None:
    assert len(list(read(["", '{"t":0,"kind":"eof"}', "\n"]))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"t":0}',
        '{"kind":"text"}',
        '{"t":true,"kind":"text"}',
        '{"t":1e300,"kind":"text"}',
        '{"t":0,"elided":1,"t_to":"soon"}',
        '{"t":0,"kind":"binary","data":"?"}',
        '{"t":0,"kind":"binary","data":"AA="}',
        '{"t":0,"kind":"ping","hex":"0"}',
        '{"t":0,"kind":"close","code":"x"}',
        '{"t":0,"kind":"text","text":null}',
        '{"t":0,"kind":"text","text":"","bytes":-1}',
    ],
)
def test_what_is_no_line_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2: "):
        list(read(['{"t":0,"kind":"eof"}', text]))


@settings(deadline=None)
@given(
    st.text() | st.binary(max_size=300) | st.binary(max_size=300).map(lambda raw: raw.decode(errors="surrogateescape")),
    st.floats(0, 1e6),
)
def test_messages_come_back(message: str | bytes, at: float) -> None:
    [only] = read([write(message_line(message, at=at, speaker="app"))])
    assert only.message == message
    assert only.at == pytest.approx(at, abs=1e-6)
    assert only.size == len(message.encode(errors="surrogateescape") if isinstance(message, str) else message)


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*/*.jsonl")), ids=lambda path: path.stem)
def test_recordings_come_back(path: Path) -> None:
    lines = path.read_text().splitlines()
    read_lines = list(read(lines))
    assert len(read_lines) == len(lines)
    assert list(read(map(write, read_lines))) == read_lines
