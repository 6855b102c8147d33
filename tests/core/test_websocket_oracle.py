"""The frame codec against wsproto: any stream, whole or damaged, cut anywhere, means the same to both."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from callstream_core.websocket import (
    STRICT,
    Close,
    Failure,
    Fragments,
    FrameDecoder,
    FrameEncoder,
    Incoming,
    Ping,
    Pong,
    WebSocketRules,
    asterisk_rules,
)
from tests.core.test_websocket import BINARY, CLOSE, FIN, MORE, PING, PONG, TEXT, anonymous, frame, hear

# wsproto has no limits, so here we have none either.
BOUNDLESS = WebSocketRules(max_message=2**63, max_fragments=2**63)
EVERY_RULES = [STRICT, BOUNDLESS, *(asterisk_rules(fragments) for fragments in Fragments)]


def oracle(*pieces: bytes, masked: bool) -> list[Incoming]:
    """Return what wsproto hears, in our words."""
    protocol = FrameProtocol(client=not masked, extensions=[])
    heard: list[Incoming] = []
    parts: list[bytes | str] = []
    for piece in pieces:
        protocol.receive_bytes(piece)
        try:
            for said in protocol.received_frames():
                payload = said.payload
                if said.opcode is Opcode.CLOSE:
                    assert isinstance(payload, tuple)
                    code, reason = payload
                    heard.append(Close(None if code == 1005 else int(code), reason))
                    continue
                assert not isinstance(payload, tuple)
                if said.opcode.iscontrol():
                    kind = Ping if said.opcode is Opcode.PING else Pong
                    heard.append(kind(bytes(payload)))  # type: ignore[arg-type]
                    continue
                parts.append(payload)
                if said.message_finished:
                    heard.append(("" if isinstance(payload, str) else b"").join(parts))  # type: ignore[arg-type]
                    parts = []
        except ParseFailed as fault:
            heard.append(Failure(int(fault.code), ""))
            return heard
    return heard


SIZES = st.sampled_from([160, 164, 320, 655, 656, 127, 126, 125, 20, 5, 3, 2, 1, 0]) | st.integers(0, 2000)
KEYS = st.sampled_from([bytes(4), b"\0\0\0\1", b"\xff" * 4]) | st.binary(min_size=4, max_size=4)
BYTES = st.builds(lambda size, seed: (seed + bytes(range(256)) * 8)[:size], SIZES, st.binary(max_size=8))
TEXTS = st.builds(lambda text, times: (text * times).encode(), st.text(max_size=20), st.sampled_from([1, 1, 30]))
CLOSES = st.builds(
    lambda code, reason: code.to_bytes(2) + reason,
    st.sampled_from([1000, 1001, 1004, 1005, 1011, 1013, 2999, 3000, 4001, 5000]),
    st.text(max_size=30).map(str.encode) | st.binary(max_size=5),
)


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Draw one message as frames of (first byte, payload), with control frames between them."""
    is_text = draw(st.booleans())
    # Now and then the text is broken.
    payload = draw(TEXTS | TEXTS | TEXTS | st.binary(max_size=6) if is_text else BYTES)
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    frames = []
    for i, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(payload)], strict=True)):
        opcode = MORE if i else TEXT if is_text else BINARY
        frames.append((opcode | (FIN if i == len(cuts) else 0), payload[start:stop]))
        if draw(st.integers(0, 4)) == 3:
            frames.append((FIN | draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125))))
    return frames


@st.composite
def streams(draw: st.DrawFn, masked: bool) -> list[bytes]:
    """Draw the frames of several messages, now and then with a close."""
    frames = [piece for message in draw(st.lists(messages(), min_size=1, max_size=5)) for piece in message]
    if draw(st.integers(0, 5)) == 3:
        close = (FIN | CLOSE, draw(st.just(b"") | CLOSES))
        frames.insert(draw(st.integers(0, len(frames))), close)
    return [frame(first, payload, key=draw(KEYS) if masked else None) for first, payload in frames]


@st.composite
def damaged(draw: st.DrawFn, masked: bool) -> bytes:
    """Draw a stream of frames left out, repeated, swapped, of the wrong role, cut, or with bits flipped."""
    frames = draw(streams(masked)) + draw(streams(masked if draw(st.integers(0, 7)) != 3 else not masked))
    if draw(st.booleans()):
        frames = draw(st.lists(st.sampled_from(frames), min_size=1, max_size=8))
    stream = bytearray(b"".join(frames))
    starts = [len(b"".join(frames[:i])) for i in range(len(frames))]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        # Half of the flips hit a header, where they hurt.
        at = draw(st.sampled_from(starts)) + draw(st.integers(0, 1)) if draw(st.booleans()) else None
        at = draw(st.integers(0, len(stream) - 1)) if at is None else min(at, len(stream) - 1)
        stream[at] ^= 1 << draw(st.integers(0, 7))
    if draw(st.integers(0, 3)) == 2:
        del stream[draw(st.integers(0, len(stream))) :]
    return bytes(stream)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `stream` at fractions of its length, in thousandths."""
    places = [0, *sorted(place * len(stream) // 1000 for place in cuts), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(places)]


CUTS = st.lists(st.integers(0, 1000), max_size=6)


@pytest.mark.parametrize("masked", [True, False])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), cuts=CUTS)
def test_hears_what_wsproto_hears(masked: bool, data: st.DataObject, cuts: list[int]) -> None:
    stream = b"".join(data.draw(streams(masked)))
    heard = hear(*cut(stream, cuts), rules=BOUNDLESS, masked=masked)
    assert heard == oracle(stream, masked=masked)
    assert heard == hear(*(stream[i : i + 1] for i in range(len(stream))), rules=BOUNDLESS, masked=masked)


@pytest.mark.parametrize("masked", [True, False])
@settings(max_examples=250, deadline=None)
@given(data=st.data(), cuts=CUTS)
def test_judges_damage_as_wsproto_does(masked: bool, data: st.DataObject, cuts: list[int]) -> None:
    stream = data.draw(damaged(masked))
    decoder = FrameDecoder(masked=masked, rules=BOUNDLESS)
    heard = [anonymous(said) for piece in cut(stream, cuts) for said in decoder.feed(piece)]
    expected = oracle(stream, masked=masked)
    if heard == expected:
        return
    if heard and isinstance(heard[-1], Close) and heard[-1].code == 1014:
        # wsproto does not know this code of the IANA registry.
        assert expected == [*heard[:-1], Failure(1002, "")]
    elif len(heard) > len(expected):
        # We judge two bytes of a header; wsproto waits for all of it, or for the first byte of payload.
        assert heard[-1] == Failure(1002, "")
        assert oracle(stream, bytes(16), masked=masked) == heard
    else:
        # wsproto decodes text while its frame is still coming; we do once the frame is complete.
        assert expected == [*heard, Failure(1007, "")]
        assert decoder.feed(bytes(2**16)) in ([], [Failure(1007, "text is not UTF-8")])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("rules", EVERY_RULES, ids=range(len(EVERY_RULES)))
@settings(max_examples=60, deadline=None)
@given(data=st.data(), cuts=CUTS)
def test_any_bytes_mean_the_same_however_cut(
    masked: bool, rules: WebSocketRules, data: st.DataObject, cuts: list[int]
) -> None:
    stream = data.draw(damaged(masked) | st.binary(max_size=40))
    heard = hear(stream, rules=rules, masked=masked)
    assert hear(*cut(stream, cuts), rules=rules, masked=masked) == heard
    assert not any(isinstance(said, Close | Failure) for said in heard[:-1])


def held(decoder: FrameDecoder) -> int:
    """Return the bytes of the buffers that a decoder owns."""
    values = [getattr(decoder, slot) for slot in FrameDecoder.__slots__]
    return sum(sys.getsizeof(value) for value in values if isinstance(value, bytes | bytearray))


@pytest.mark.parametrize("fragments", list(Fragments))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_holds_no_more_than_its_rules_allow(fragments: Fragments, data: st.DataObject) -> None:
    rules = WebSocketRules(max_message=3000, max_fragments=100, fragments=fragments)
    decoder = FrameDecoder(masked=True, rules=rules)
    # One message and one header; a bytearray reserves an eighth more than it holds, and 64 bytes itself.
    most = (3000 + 14 + 125) * 9 // 8 + 2 * 64
    for piece in data.draw(st.lists(damaged(True), max_size=4)):
        for start in range(0, len(piece), 100):
            decoder.feed(piece[start : start + 100])
            assert held(decoder) <= most


def test_holds_almost_nothing_when_idle() -> None:
    decoder = FrameDecoder(masked=True)
    for said in (b"a" * 70_000, "text", b"b" * 320):
        stream = FrameEncoder(mask=lambda: b"abcd").message(said)
        assert decoder.feed(stream[:-1]) + decoder.feed(stream[-1:]) == [said]
    assert held(decoder) == 0
    assert sys.getsizeof(decoder) < 200


@settings(max_examples=100, deadline=None)
@given(message=st.text(max_size=300) | BYTES, key=KEYS)
def test_round_trip_in_both_roles(message: str | bytes, key: bytes) -> None:
    client, server = FrameEncoder(mask=lambda: key), FrameEncoder()
    assert hear(client.message(message), masked=True) == [message]
    assert hear(server.message(message), masked=False) == [message]
    assert oracle(client.message(message), masked=True) == [message]
    assert server.message(message) == bytes(FrameProtocol(client=False, extensions=[]).send_data(message))
    assert hear(bytes(FrameProtocol(client=True, extensions=[]).send_data(message)), masked=True) == [message]


@settings(max_examples=100, deadline=None)
@given(
    payload=st.binary(max_size=125),
    code=st.sampled_from([1000, 1011, 3000, 4999]),
    reason=st.text(max_size=150),
)
def test_encodes_control_frames_as_wsproto_does(payload: bytes, code: int, reason: str) -> None:
    ours, theirs = FrameEncoder(), FrameProtocol(client=False, extensions=[])
    assert ours.ping(payload) == bytes(theirs.ping(payload))
    assert ours.pong(payload) == bytes(theirs.pong(payload))
    assert ours.close(code, reason) == bytes(theirs.close(code, reason))
    assert ours.close(None) == bytes(theirs.close())
