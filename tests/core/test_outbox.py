"""What waits to be sent stays in order and within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core.marks import Ordered
from callstream_core.outbox import Outbox


def mark(name: str = "m") -> Ordered:
    return Ordered(c.PlaceMark(name), ())


acts = st.lists(st.one_of(st.binary(min_size=1, max_size=99), st.none(), st.integers(1, 50)), max_size=40)


@pytest.mark.parametrize("joins", [False, True])
@settings(derandomize=True, deadline=None, max_examples=200)
@given(acts=acts)
def test_audio_comes_out_as_it_went_in(joins: bool, acts: list[bytes | int | None]) -> None:
    outbox = Outbox(max_size=10**6, max_items=10**6)
    fed, taken = b"", b""
    for act in acts:
        if act is None:
            outbox.add(mark())
        elif isinstance(act, bytes):
            fed += act
            outbox.add_audio(act, joins=joins)
        elif size := outbox.next_size():
            assert outbox.next_command() is None
            if act < size:
                piece, at = outbox.lend()
                outbox.skip(act)
                taken += piece[at : at + act]
            else:
                taken += outbox.take_audio(size)
        else:
            outbox.next_command()
        assert outbox.size == len(fed) - len(taken)
        assert len(outbox) == outbox.pieces + len(list(outbox.commands))
    while (size := outbox.next_size()) or outbox.next_command():
        taken += outbox.take_audio(size) if size else b""
    assert taken == fed
    assert (len(outbox), outbox.pieces, outbox.size) == (0, 0, 0)


def test_short_pieces_join_and_long_ones_do_not() -> None:
    outbox = Outbox(max_size=10**6, max_items=9)
    for _ in range(5):
        outbox.add_audio(bytes(20_000), joins=True)
    assert (outbox.pieces, outbox.next_size(), outbox.size) == (2, 60_000, 100_000)
    outbox.take_audio(50_000)
    # What has left makes no room for more before it: only the last piece grows.
    outbox.add_audio(bytes(1000), joins=True)
    assert (outbox.pieces, outbox.next_size()) == (2, 10_000)
    outbox.take_audio(10_000)
    outbox.take_audio(40_000)
    outbox.add_audio(bytes(1000), joins=True)
    assert (outbox.pieces, outbox.next_size(), outbox.lend()) == (1, 2000, (bytes(2000), 0))
    outbox.add(mark())
    outbox.add_audio(bytes(10), joins=True)
    assert outbox.pieces == 2


def test_marks_are_taken_from_among_audio_that_has_left_in_part() -> None:
    outbox = Outbox(max_size=1000, max_items=9)
    outbox.add_audio(b"abcdef")
    outbox.add(mark())
    outbox.add_audio(b"gh")
    assert outbox.take_audio(2) == b"ab"
    assert len(outbox.take_marks()) == 1
    assert outbox.take_audio(outbox.next_size()) + outbox.take_audio(outbox.next_size()) == b"cdefgh"


def test_what_is_cleared_in_part_begins_anew() -> None:
    outbox = Outbox(max_size=1000, max_items=9)
    outbox.add_audio(b"abcdef")
    outbox.take_audio(2)
    outbox.add(mark())
    assert len(outbox.clear()) == 1
    assert (len(outbox), outbox.pieces, outbox.size) == (0, 0, 0)
    outbox.add_audio(b"xyz")
    assert outbox.take_audio(outbox.next_size()) == b"xyz"


def test_room_is_bounded_in_bytes_and_in_pieces() -> None:
    outbox = Outbox(max_size=1000, max_items=4)
    assert outbox.room(is_begun=True) == 1000
    outbox.add_audio(bytes(900))
    assert outbox.room(is_begun=False) == 100
    for _ in range(2):
        outbox.add(mark())
    assert outbox.room(is_begun=False) == 100
    # What is begun already will need the last place.
    assert outbox.room(is_begun=True) == 0
    outbox.add(mark())
    assert outbox.is_full
    assert outbox.room(is_begun=False) == 0
