"""Any sizes in, whole frames out, nothing lost or added but at the end of an utterance."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core.framer import Framer


@settings(derandomize=True, deadline=None, max_examples=200)
@given(size=st.integers(1, 50), utterances=st.lists(st.lists(st.binary(max_size=120), max_size=8), max_size=4))
def test_frames_are_whole_and_what_was_fed_whatever_the_chunks(size: int, utterances: list[list[bytes]]) -> None:
    framer = Framer(size)
    for chunks in utterances:
        out, fed = b"", b""
        for chunk in chunks:
            frames = framer.feed(chunk)
            out, fed = out + frames, fed + chunk
            assert len(frames) % size == 0
            assert framer.leftover == len(fed) - len(out) < size
            assert fed.startswith(out)
        out += framer.finish(b"\xff")
        padding = -len(fed) % size
        assert out == fed + b"\xff" * padding
        assert framer.leftover == 0


def test_an_unfinished_frame_can_be_taken_as_it_is() -> None:
    framer = Framer(4)
    assert framer.feed(b"12345") == b"1234"
    assert framer.take() == b"5"
    assert framer.take() == framer.finish(b"\0") == b""
    assert framer.feed(b"abcd") == b"abcd"


def test_a_frame_has_at_least_one_byte() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Framer(0)
