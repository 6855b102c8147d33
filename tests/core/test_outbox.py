"""What waits to be sent stays in order and within bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core.marks import Ordered
from callstream_core.outbox import Outbox


def mark(name: str = "m") -> Ordered:
    return Ordered(c.PlaceMark(name), ())


@settings(derandomize=True, deadline=None, max_examples=200)
@given(acts=st.lists(st.one_of(st.binary(min_size=1, max_size=99), st.none(), st.integers(1, 50)), max_size=40))
def test_audio_comes_out_as_it_went_in(acts: list[bytes | int | None]) -> None:
    outbox = Outbox(max_size=10**6, max_items=10**6)
    fed, taken, commands = b"", b"", 0
    for act in acts:
        if act is None:
            outbox.add(mark())
        elif isinstance(act, bytes):
            fed += act
            assert outbox.add_audio(act, 16) == -(-len(act) // 16)
        elif (piece := outbox.next_piece()) is not None:
            assert outbox.next_command() is None
            taken += outbox.take_audio(piece, act)
        else:
            commands += outbox.next_command() is not None
        assert outbox.size == len(fed) - len(taken)
        assert len(outbox) == outbox.pieces + len(list(outbox.commands))
    outbox.recut(7)
    while (piece := outbox.next_piece()) is not None or outbox.next_command():
        if piece is not None:
            assert len(piece) <= 7
            taken += outbox.take_audio(piece, 7)
    assert taken == fed
    assert (len(outbox), outbox.pieces, outbox.size) == (0, 0, 0)


def test_room_is_bounded_in_bytes_and_in_pieces() -> None:
    outbox = Outbox(max_size=1000, max_items=4)
    assert outbox.room(100, begun=False) == 400
    assert outbox.room(100, begun=True) == 300
    assert outbox.room(500, begun=False) == 1000
    outbox.add_audio(bytes(900), 900)
    assert outbox.room(500, begun=False) == 100
    for _ in range(3):
        assert not outbox.is_full
        outbox.add(mark())
    assert outbox.is_full
    assert outbox.room(500, begun=True) == 0
    assert len(outbox.clear()) == 3
    assert (len(outbox), outbox.size) == (0, 0)
