"""The frame codec, clause by clause of RFC 6455, and as a real Asterisk behaves."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

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

KEY = bytes.fromhex("37fa213d")
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "asterisk"


def frame(first: int, payload: bytes = b"", *, key: bytes | None = KEY, form: int | None = None) -> bytes:
    """Build a frame the slow way; `form` 126 or 127 forces a longer length than needed."""
    size = len(payload)
    form = form or (size if size < 126 else 126 if size < 65536 else 127)
    extended = size.to_bytes({126: 2, 127: 8}[form]) if form >= 126 else b""
    if key is None:
        return bytes((first, form)) + extended + payload
    masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return bytes((first, 0x80 | form)) + extended + key + masked


def whole(message: str | bytes, *, key: bytes | None = KEY) -> bytes:
    if isinstance(message, str):
        return frame(FIN | TEXT, message.encode(), key=key)
    return frame(FIN | BINARY, message, key=key)


def hear(*frames: bytes, rules: WebSocketRules = STRICT, masked: bool = True) -> list[Incoming]:
    """Feed each piece by itself; a failure's wording is left out."""
    decoder = FrameDecoder(masked=masked, rules=rules)
    return [anonymous(said) for piece in frames for said in decoder.feed(piece)]


def anonymous(said: Incoming) -> Incoming:
    return Failure(said.code, "") if isinstance(said, Failure) else said


def failed(code: int) -> Failure:
    return Failure(code, "")


ASTERISK = asterisk_rules()
SIZES = [0, 1, 2, 3, 4, 5, 20, 124, 125, 126, 127, 160, 320, 321, 655, 2047, 2049, 65535, 65536, 70001]


# RFC 6455 §5.2 and §5.6: whole messages


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [KEY, b"\0\0\0\0", b"\0\0\0\1", b"\xff\0\0\0", None], ids=str)
def test_takes_a_binary_message_of_any_size(size: int, key: bytes | None) -> None:
    message = (bytes(range(256)) * 300)[:size]
    assert hear(whole(message, key=key), masked=key is not None) == [message]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("text", ["", "MEDIA_XOFF", "Grüße ☎ 😀", "x" * 400, "ö" * 40000])
def test_takes_a_text_message(text: str, masked: bool) -> None:
    assert hear(whole(text, key=KEY if masked else None), masked=masked) == [text]


@pytest.mark.parametrize("key", [KEY, b"\0\0\0\0", None], ids=str)
@pytest.mark.parametrize("size", [126, 160, 161, 320, 2048, 2052])
def test_takes_reads_of_one_size_for_what_they_are(size: int, key: bytes | None) -> None:
    same = [bytes([number]) * size for number in range(3)]
    head = 4 if key is None else 8
    # As long as the others: a text, two messages in one read, and a message that goes on in the next read.
    half = (size - head - 126) // 2
    reads = [whole(message, key=key) for message in same]
    reads += [whole("t" * size, key=key), reads[0], reads[1]]
    said: list[Incoming] = [*same, "t" * size, same[0], same[1]]
    if half >= 126:
        pair = [b"p" * half, b"q" * (size - head - half)]
        reads += [b"".join(whole(message, key=key) for message in pair), reads[2]]
        said += [*pair, same[2]]
    long = whole(b"r" * (size + 9), key=key)
    reads += [long[: size + head], long[size + head :], reads[0]]
    said += [b"r" * (size + 9), same[0]]
    reads += [frame(MORE | BINARY, b"s" * size, key=key), frame(FIN | MORE, b"u" * size, key=key), reads[0]]
    said += [b"s" * size + b"u" * size, same[0]]
    assert hear(*reads, masked=key is not None) == said


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("first", [FIN | 0x40 | BINARY, FIN | 0x3, FIN | MORE])
def test_a_fault_shows_behind_a_read_of_the_same_size(first: int, masked: bool) -> None:
    key = KEY if masked else None
    usual = whole(bytes(320), key=key)
    assert hear(usual, usual, frame(first, bytes(320), key=key), usual, masked=masked) == [
        *[bytes(320)] * 2,
        failed(1002),
    ]


def test_takes_many_frames_from_one_read_in_order() -> None:
    said: list[Incoming] = [b"a" * 160, "hello", b"b" * 320, "t" * 200, b"", b"c" * 160]
    assert hear(b"".join(whole(m) for m in said if isinstance(m, str | bytes))) == said


def test_takes_a_frame_that_comes_byte_by_byte() -> None:
    stream = whole(b"a" * 65535) + whole("tail")
    assert hear(*(stream[i : i + 1] for i in range(len(stream)))) == [b"a" * 65535, "tail"]


@pytest.mark.parametrize("place", [1, 2, 3, 4, 7, 8, 9, 100, 327])
def test_takes_a_frame_that_comes_in_two_reads(place: int) -> None:
    stream = whole(b"a" * 320)
    assert hear(stream + stream[:place], stream[place:]) == [b"a" * 320] * 2


def test_takes_thousands_of_tiny_frames_from_one_read() -> None:
    assert hear(whole(b"x", key=None) * 20_000, masked=False) == [b"x"] * 20_000


def test_hears_nothing_in_nothing() -> None:
    assert hear(b"", whole("a")[:3], b"", whole("a")[3:]) == ["a"]


@pytest.mark.parametrize("first", [0x83, 0x87, 0x8B, 0x8F, 0x03])
def test_refuses_reserved_opcodes(first: int) -> None:
    assert hear(frame(first)[:2]) == [failed(1002)]


@pytest.mark.parametrize("bit", [0x40, 0x20, 0x10])
@pytest.mark.parametrize("size", [5, 200])
def test_refuses_reserved_bits(bit: int, size: int) -> None:
    assert hear(frame(FIN | bit | BINARY, bytes(size))) == [failed(1002)]


@pytest.mark.parametrize("size", [5, 200])
def test_refuses_wrong_masking(size: int) -> None:
    assert hear(whole(bytes(size), key=None), masked=True) == [failed(1002)]
    assert hear(whole(bytes(size)), masked=False) == [failed(1002)]


@pytest.mark.parametrize(("size", "form"), [(0, 126), (125, 126), (125, 127), (65535, 127)])
def test_refuses_a_length_longer_than_needed(size: int, form: int) -> None:
    message = bytes(size)
    assert hear(frame(FIN | BINARY, message, form=form)) == [failed(1002)]
    assert hear(frame(FIN | BINARY, message, form=form), rules=attrs.evolve(ASTERISK, max_frame=None)) == [message]


def test_refuses_a_length_with_its_top_bit_set() -> None:
    header = b"\x82\xff" + (2**63).to_bytes(8)
    assert hear(header) == [failed(1002)]
    assert hear(header, rules=ASTERISK) == [failed(1009)]


def test_ends_at_the_first_fault() -> None:
    assert hear(whole("a") + frame(0x83) + whole("b"), whole("c")) == ["a", failed(1002)]


# §5.4: fragments


@pytest.mark.parametrize("pieces", [[b"", b""], [b"a" * 300, b"", b"b" * 70000], [b"abc"] * 50], ids=len)
def test_joins_fragments_around_control_frames(pieces: list[bytes]) -> None:
    stream = frame(BINARY, pieces[0])
    for piece in pieces[1:]:
        stream += frame(FIN | PING, b"?") + frame(MORE, piece)
    stream += frame(FIN | PONG) + frame(FIN | MORE) + whole(b"n" * 200)
    pings: list[Incoming] = [Ping(b"?")] * (len(pieces) - 1)
    assert hear(stream) == [*pings, Pong(b""), b"".join(pieces), b"n" * 200]


@pytest.mark.parametrize("first", [MORE, FIN | MORE])
def test_refuses_a_continuation_of_nothing(first: int) -> None:
    assert hear(frame(first, b"a")) == [failed(1002)]
    assert hear(frame(first, b"a"), rules=asterisk_rules(Fragments.REASSEMBLE)) == [failed(1003)]


@pytest.mark.parametrize("size", [3, 200])
def test_refuses_a_new_message_inside_another(size: int) -> None:
    assert hear(frame(BINARY, b"a"), whole(bytes(size))) == [failed(1002)]


def test_bounds_the_pieces_of_a_message() -> None:
    rules = attrs.evolve(STRICT, max_fragments=3)
    assert hear(frame(TEXT), frame(MORE), frame(FIN | MORE), rules=rules) == [""]
    assert hear(frame(TEXT), frame(MORE), frame(MORE), frame(MORE), rules=rules) == [failed(1008)]


@pytest.mark.parametrize("rules", [attrs.evolve(STRICT, fragments=Fragments.REFUSE), asterisk_rules(Fragments.REFUSE)])
def test_refuses_any_fragment_where_told_so(rules: WebSocketRules) -> None:
    assert hear(whole("a"), frame(TEXT, b"b"), rules=rules) == ["a", failed(1003)]
    assert hear(frame(FIN | MORE, b"b"), rules=rules) == [failed(1003)]


# Sizes


@pytest.mark.parametrize("most", [10, 200, 70_000])
def test_bounds_a_message_before_its_payload_comes(most: int) -> None:
    rules = attrs.evolve(STRICT, max_message=most)
    fits, spills = whole(bytes(most)), whole(bytes(most + 1))
    length = 2 if most < 125 else 4 if most < 65535 else 10
    assert hear(fits + spills, rules=rules) == [bytes(most), failed(1009)]
    assert hear(fits, spills[:length], rules=rules) == [bytes(most), failed(1009)]
    assert hear(frame(BINARY, bytes(most)), frame(FIN | MORE, b"a")[:6], rules=rules) == [failed(1009)]


def test_short_limits_leave_room_for_control_frames() -> None:
    rules = attrs.evolve(STRICT, max_message=10)
    assert hear(frame(BINARY, bytes(10)), frame(FIN | PING, bytes(125)), rules=rules) == [Ping(bytes(125))]


# §5.5 and §7.4: control frames


def test_hears_pings_and_pongs() -> None:
    payload = bytes(range(125))
    assert hear(frame(FIN | PING, payload) + frame(FIN | PONG, payload)) == [Ping(payload), Pong(payload)]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_refuses_fragmented_and_long_control_frames(opcode: int) -> None:
    assert hear(frame(opcode)) == [failed(1002)]
    assert hear(frame(FIN | opcode, bytes(126))) == [failed(1002)]


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_hears_a_close(code: int) -> None:
    payload = code.to_bytes(2) + "tschüß".encode()
    assert hear(frame(FIN | CLOSE, payload) + whole("late"), whole("later")) == [Close(code, "tschüß")]


def test_hears_a_close_without_a_code() -> None:
    assert hear(frame(FIN | CLOSE)) == [Close(None)]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_refuses_close_codes_that_no_peer_may_send(code: int) -> None:
    assert hear(frame(FIN | CLOSE, code.to_bytes(2))) == [failed(1002)]
    assert hear(frame(FIN | CLOSE, code.to_bytes(2)), rules=ASTERISK) == [Close(code)]


def test_refuses_half_a_close_code_and_a_broken_reason() -> None:
    assert hear(frame(FIN | CLOSE, b"\3")) == [failed(1002)]
    assert hear(frame(FIN | CLOSE, b"\3\xe8\xff")) == [failed(1007)]


# §8.1: UTF-8

BROKEN = [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"x" * 200 + b"\x80"]


@pytest.mark.parametrize("text", BROKEN)
def test_refuses_text_that_is_not_utf_8(text: bytes) -> None:
    assert hear(frame(FIN | TEXT, text)) == [failed(1007)]
    assert hear(frame(TEXT, text[:1]), frame(FIN | MORE, text[1:]))[-1] == failed(1007)


def test_takes_text_cut_inside_a_character() -> None:
    text = "Grüße ☎ 😀".encode()
    pieces = [text[i : i + 1] for i in range(len(text))]
    assert hear(frame(TEXT), *(frame(MORE, piece) for piece in pieces), frame(FIN | MORE)) == [text.decode()]


def test_refuses_broken_text_before_its_message_is_complete() -> None:
    assert hear(frame(TEXT, b"ok \xe2"), frame(MORE, b"\x98 ")) == [failed(1007)]
    joined = [frame(TEXT, b"good"), frame(FIN | MORE)]
    assert hear(*joined, frame(TEXT, b"\xff")) == ["good", failed(1007)]
    assert hear(frame(BINARY, b"ok \xe2"), frame(MORE, b"\x98 ")) == []


# Asterisk


def fragments(*sizes: int, opcode: int = BINARY) -> list[bytes]:
    """Return one message cut into pieces of these sizes; each piece has its own letter."""
    last = len(sizes) - 1
    return [
        frame((FIN if i == last else 0) | (MORE if i else opcode), bytes([97 + i]) * size)
        for i, size in enumerate(sizes)
    ]


def test_asterisk_tolerates_what_the_standard_forbids() -> None:
    rules = ASTERISK
    assert hear(whole(b"a" * 200, key=None), rules=rules, masked=True) == [b"a" * 200]
    assert hear(whole(b"a" * 200), rules=rules, masked=False) == [b"a" * 200]
    assert hear(frame(FIN | 0x70 | BINARY, b"a"), rules=rules) == [b"a"]
    assert hear(frame(FIN | PING, b"a" * 200), rules=rules) == [Ping(b"a" * 200)]
    assert hear(frame(FIN | CLOSE, b"\3"), rules=rules) == [Close(None)]


@pytest.mark.parametrize("text", BROKEN)
def test_asterisk_hands_broken_text_up(text: bytes) -> None:
    [heard] = hear(frame(FIN | TEXT, text), rules=ASTERISK)
    assert isinstance(heard, str)
    assert heard.encode("utf-8", "surrogateescape") == text
    assert FrameEncoder().message(heard) == frame(FIN | TEXT, text, key=None)


def test_d51_a_frame_is_at_most_65535_bytes_with_its_header() -> None:
    for size, key in ((65531, None), (65527, KEY)):
        fits, spills = whole(bytes(size), key=key), whole(bytes(size + 1), key=key)
        for masked in (True, False):
            for spilt in (spills, spills[:8]):
                assert hear(fits, spilt, rules=ASTERISK, masked=masked) == [bytes(size), failed(1009)]


def test_d52_an_unknown_opcode_gets_1003() -> None:
    assert hear(frame(FIN | 0x3), rules=ASTERISK) == [failed(1003)]


D53 = [
    ((4096, 4096), [b"a" * 4096, failed(1003)]),
    ((100, 60), [b"a" * 100 + b"b" * 60]),
    ((600, 600, 400), [b"c" * 400]),
    ((1024, 576), [b"a" * 1024, failed(1003)]),
]


@pytest.mark.parametrize(("sizes", "since_22_10"), D53, ids=str)
def test_d53_fragments(sizes: tuple[int, ...], since_22_10: list[Incoming]) -> None:
    joined = b"".join(bytes([97 + i]) * size for i, size in enumerate(sizes))
    assert hear(*fragments(*sizes), rules=asterisk_rules(Fragments.REASSEMBLE)) == [joined]
    assert hear(*fragments(*sizes), rules=asterisk_rules(Fragments.REFUSE)) == [failed(1003)]
    assert hear(*fragments(*sizes), rules=ASTERISK) == since_22_10


FURTHER = [
    ([*fragments(1023, 5000)], [b"a" * 1023 + b"b" * 5000]),
    ([*fragments(1023, 1, 5)], [b"c" * 5]),
    ([*fragments(0, 0, 0)], [b""]),
    ([frame(FIN | MORE, b"a")], [failed(1003)]),
    ([frame(MORE, bytes(2000)), whole("after")], ["after"]),
    # The opcode of the last joined message serves a last fragment that lost its own.
    ([*fragments(3, 4, opcode=TEXT), *fragments(2000, 5)], ["aaabbbb", b"a" * 2000, "bbbbb"]),
    # A whole message between fragments takes what was held back along.
    ([frame(TEXT, b"a"), frame(FIN | PING), whole(b"b")], [Ping(b""), b"ab"]),
    ([frame(TEXT, b"a"), whole(b"b" * 200), whole(b"c" * 200)], [b"a" + b"b" * 200, b"c" * 200]),
]


@pytest.mark.parametrize(("frames", "heard"), FURTHER, ids=range(len(FURTHER)))
def test_d53_further_fragments_since_22_10(frames: list[bytes], heard: list[Incoming]) -> None:
    assert hear(*frames, rules=ASTERISK) == heard


def test_d54_a_ping_is_answered_and_a_pong_is_just_heard() -> None:
    ping, pong = hear(FrameEncoder().ping(b"hi"), FrameEncoder().pong(b"hi"), rules=ASTERISK)
    assert isinstance(ping, Ping)
    assert FrameEncoder().pong(ping.payload) == b"\x8a\x02hi"
    assert pong == Pong(b"hi")


@pytest.mark.parametrize(
    ("name", "arrived"),
    [
        # Asterisk then told of a queue of 7 and of 5 frames of 160 bytes, and closed with 1003.
        ("fragmented-long-json", [b"x" * 1200]),
        ("fragmented-small-json", [b"x" * 800]),
        ("fragmented-first-1024-json", [b"x" * 1024, failed(1003)]),
    ],
)
def test_d53_recordings(name: str, arrived: list[Incoming]) -> None:
    opcodes = {"binary": BINARY, "text": TEXT, "continuation": MORE}
    lines = [json.loads(line) for line in (TRANSCRIPTS / f"{name}.jsonl").read_text().splitlines()]
    frames = [
        frame(opcodes[line["kind"]] | (FIN if line.get("fin", True) else 0), b"x" * line["bytes"])
        for line in lines
        if line["from"] == "app" and line["kind"] in opcodes
    ]
    assert [said for said in hear(*frames, rules=ASTERISK) if not isinstance(said, str)] == arrived


# The encoder


@pytest.mark.parametrize("size", SIZES)
def test_encodes_as_the_slow_way_does(size: int) -> None:
    message = (b"callstream" * 8000)[:size]
    client, server = FrameEncoder(mask=lambda: KEY), FrameEncoder()
    for said in (message, message.decode()):
        assert client.message(said) == whole(said)
        assert server.message(said) == whole(said, key=None)


def test_encodes_control_frames() -> None:
    encoder = FrameEncoder()
    assert (encoder.ping(), encoder.pong(b"hi")) == (b"\x89\0", b"\x8a\2hi")
    assert encoder.close(None, "lost") == b"\x88\0"
    assert encoder.close(1001, "bye") == b"\x88\5\3\xe9bye"
    assert encoder.pong(bytes(200)) == frame(FIN | PONG, bytes(200), key=None)
    with pytest.raises(ValueError, match="at most 125"):
        encoder.ping(bytes(126))


def test_cuts_a_close_reason_between_characters() -> None:
    assert hear(FrameEncoder().close(1000, "ö" * 100), masked=False) == [Close(1000, "ö" * 61)]
    assert hear(FrameEncoder().close(1000, "\udcff!"), masked=False) == [Close(1000, "?!")]
