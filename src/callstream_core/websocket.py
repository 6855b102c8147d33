"""WebSocket frames (RFC 6455): bytes in, messages out, and back; no handshake, no extensions.

A phone call is fifty small frames a second each way, one like the other, so the decoder has three paths. `_take` takes
any frame and knows all the rules. A short path takes whole messages of 126 to 65,535 bytes. What looks just like the
last read, one binary message of the same size and nothing else, is not looked at again. All must agree.

What the peer sends never raises: the first fault ends the stream with a `Failure`.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import lru_cache
from struct import Struct

from callstream_core.masking import apply_mask, is_audio_size, ones
from callstream_core.websocket_rules import (
    STRICT,
    Close,
    Failure,
    Fragments,
    Incoming,
    Ping,
    Pong,
    WebSocketRules,
    asterisk_rules,
)

__all__ = [
    "STRICT",
    "Close",
    "Failure",
    "Fragments",
    "FrameDecoder",
    "FrameEncoder",
    "Incoming",
    "Ping",
    "Pong",
    "WebSocketRules",
    "asterisk_rules",
]

# Asterisk gives up joining once this much has come without the last fragment.
_ASTERISK_CEILING = 1024

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))
_FIN, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_MAX_CONTROL = 125

_MEDIUM = Struct(">BBH")
_LARGE = Struct(">BBQ")
# The first two bytes of a frame as one number, then a 16-bit length, then the key where there is one.
_SHORT_PATH = Struct(">HHI")
_WHOLE = {False: (0x827E, 0x817E), True: (0x82FE, 0x81FE)}
_ANY_WHOLE_BINARY = 0x8200

# Codes a peer may send (RFC 6455 §7.4.1 and the IANA registry), besides 3000 to 4999.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))

_from_bytes = int.from_bytes

# `FrameDecoder._awaited` once the stream is over: no read brings this many bytes.
_NEVER = 2**64


# A read of one binary message of the short path: its size, its first bytes up to the key, the pattern of its length.
_Likeness = tuple[int, bytes, int]
_NOTHING: _Likeness = (-1, b"", 0)


@lru_cache(maxsize=64)
def _likeness(size: int, head: bytes, words: int) -> _Likeness:
    """Return what all calls share whose frames are alike."""
    return size, head, ones(words)


class _Broken(Exception):
    """The peer broke a rule; caught in `feed`."""

    def __init__(self, code: int, reason: str) -> None:
        self.failure = Failure(code, reason)


class FrameDecoder:
    """Turn bytes of one end of a WebSocket, cut anywhere, into what they say.

    `masked` is whether the peer has to mask, thus whether we are the server.
    """

    __slots__ = (
        "_awaited",
        "_collected",
        "_last",
        "_masked",
        "_max_short",
        "_min_short",
        "_opcode",
        "_pieces",
        "_rest",
        "_rules",
        "_valid",
        "_whole",
    )

    def __init__(self, *, masked: bool, rules: WebSocketRules = STRICT) -> None:
        self._masked = masked
        self._rules = rules
        # The short path takes these first two bytes (none while a message is incomplete) and these lengths.
        self._whole: tuple[int, ...] = _WHOLE[masked]
        self._min_short = 126 if rules.is_strict else 0
        header = 8 if masked else 4
        self._max_short = min(rules.max_message, (rules.max_frame or _NEVER) - header)
        # The beginning of a frame, and how long it must grow before another look is worth it.
        self._rest: bytearray | None = None
        self._awaited = 0
        # The message being joined: its opcode, frames, bytes, and how many of these are known to be UTF-8.
        self._opcode = 0
        self._pieces = 0
        self._collected: bytearray | None = None
        self._valid = 0
        self._last = _NOTHING

    def feed(self, data: bytes) -> list[Incoming]:
        """Return what `data` completes, in order; after `Close` or `Failure` always nothing."""
        if self._awaited:
            data = self._resume(data)
        else:
            size, head, pattern = self._last
            if len(data) == size and data[:4] == head:
                if not self._masked:
                    return [data[4:]]
                return [(_from_bytes(data[8:]) ^ _from_bytes(data[4:8]) * pattern).to_bytes(size - 8)]
        heard: list[Incoming] = []
        position = 0
        end = len(data)
        try:
            while position < end:
                if end - position >= 8:
                    lead, length, key = _SHORT_PATH.unpack_from(data, position)
                    start = position + (8 if self._masked else 4)
                    stop = start + length
                    if lead in self._whole and self._min_short <= length <= self._max_short and stop <= end:
                        payload = data[start:stop]
                        if self._masked and key:
                            payload = apply_mask(payload, key)
                        heard.append(payload if lead >= _ANY_WHOLE_BINARY else self._text(payload))
                        if stop - position == end and lead >= _ANY_WHOLE_BINARY:
                            self._remember(data, length)
                        position = stop
                        continue
                position = self._take(data, position, heard)
        except _Broken as broken:
            heard.append(broken.failure)
            self._end()
        return heard

    def _remember(self, data: bytes, length: int) -> None:
        """Know the next read by this one, if it is of whole words, as audio is."""
        if is_audio_size(length) and not length % 4:
            self._last = _likeness(len(data), data[:4], length >> 2)

    def _resume(self, data: bytes) -> bytes:
        """Return the waiting bytes and `data`, or nothing where still too few."""
        rest = self._rest
        if rest is None:
            return b""
        rest += data
        if len(rest) < self._awaited:
            return b""
        self._rest = None
        self._awaited = 0
        return bytes(rest)

    def _wait(self, data: bytes, position: int, size: int) -> int:
        """Keep the frame at `position` until it has `size` bytes; return the end of `data`."""
        self._rest = bytearray(data[position:])
        self._awaited = size
        return len(data)

    def _end(self) -> None:
        self._rest = self._collected = None
        self._awaited = _NEVER

    def _take(self, data: bytes, position: int, heard: list[Incoming]) -> int:
        """Take the frame at `position`, whatever it is; return where to go on."""
        available = len(data) - position
        if available < 2:
            return self._wait(data, position, 2)
        first = data[position]
        second = data[position + 1]
        opcode = first & 0x0F
        self._check_lead(first, second)

        length = second & 0x7F
        header = 2
        if length >= 126:
            header = 4 if length == 126 else 10
            if available < header:
                return self._wait(data, position, header)
            # RFC 6455 §5.2: the shortest encoding, and never the top bit of eight bytes.
            shortest = 126 if header == 4 else 65536
            length = int.from_bytes(data[position + 2 : position + header])
            if self._rules.is_strict and not shortest <= length < 2**63:
                raise _Broken(1002, "badly encoded length")
        is_masked = second & _MASKED
        if is_masked:
            header += 4
        self._check_size(opcode, header, length)

        if available < header + length:
            return self._wait(data, position, header + length)
        start = position + header
        stop = start + length
        payload = data[start:stop]
        if is_masked and (key := int.from_bytes(data[start - 4 : start])):
            payload = apply_mask(payload, key)
        if opcode == _PING:
            heard.append(Ping(payload))
        elif opcode == _PONG:
            heard.append(Pong(payload))
        elif opcode == _CLOSE:
            heard.append(self._close(payload))
            self._end()
            return len(data)
        else:
            message = self._join(first, payload)
            if message is not None:
                heard.append(message)
            self._whole = _WHOLE[self._masked] if self._collected is None else ()
            self._last = _NOTHING
        return stop

    def _check_lead(self, first: int, second: int) -> None:
        """Judge what the first two bytes of a frame tell."""
        opcode = first & 0x0F
        is_strict = self._rules.is_strict
        if opcode not in _OPCODES:
            raise _Broken(1002 if is_strict else 1003, "unknown opcode")
        if is_strict:
            if first & _RESERVED:
                raise _Broken(1002, "reserved bits are set")
            if (second >= _MASKED) is not self._masked:
                raise _Broken(1002, "frame is not masked" if self._masked else "frame is masked")
            if opcode >= _CLOSE and (first < _FIN or second & 0x7F > _MAX_CONTROL):
                raise _Broken(1002, "control frame is fragmented or too long")
        if self._rules.fragments is Fragments.REASSEMBLE and opcode < _CLOSE:
            is_first = self._collected is None
            if (opcode == _CONTINUATION) is is_first:
                raise _Broken(1002 if is_strict else 1003, "fragment out of order")

    def _check_size(self, opcode: int, header: int, length: int) -> None:
        """Judge a frame's size, and with it that of its message, before the payload is there."""
        rules = self._rules
        size, most = length, rules.max_message
        if opcode >= _CLOSE:
            most = max(most, _MAX_CONTROL)
        elif self._collected is not None:
            size += len(self._collected)
        if size > most:
            raise _Broken(1009, "message is too long")
        if rules.max_frame is not None and header + length > rules.max_frame:
            raise _Broken(1009, "frame is too long")

    def _close(self, payload: bytes) -> Close:
        is_strict = self._rules.is_strict
        if len(payload) < 2:
            if payload and is_strict:
                raise _Broken(1002, "close code is cut")
            return Close(None)
        code = int.from_bytes(payload[:2])
        if is_strict and code not in _CLOSE_CODES and not 3000 <= code <= 4999:
            raise _Broken(1002, "close code is not allowed")
        return Close(code, self._text(payload[2:]))

    def _text(self, payload: bytes) -> str:
        try:
            return payload.decode("utf-8", "strict" if self._rules.is_strict else "surrogateescape")
        except UnicodeDecodeError:
            raise _Broken(1007, "text is not UTF-8") from None

    def _decode(self, opcode: int, payload: bytes) -> str | bytes:
        return payload if opcode == _BINARY else self._text(payload)

    def _join(self, first: int, payload: bytes) -> str | bytes | None:
        """Return the message that a data frame completes, if it does."""
        opcode = first & 0x0F
        rules = self._rules
        if self._collected is None and first >= _FIN and opcode != _CONTINUATION:
            return self._decode(opcode, payload)
        if rules.fragments is Fragments.REFUSE:
            raise _Broken(1003, "fragmented message")
        if rules.fragments is Fragments.ASTERISK:
            return self._join_as_asterisk(first, payload)
        if self._collected is None:
            self._collected = bytearray()
            self._opcode = opcode
            self._pieces = self._valid = 0
        self._pieces += 1
        if self._pieces > rules.max_fragments:
            raise _Broken(1008, "message has too many fragments")
        self._collected += payload
        if first < _FIN:
            if self._opcode == _TEXT and rules.is_strict:
                self._validate(self._collected)
            return None
        message = bytes(self._collected)
        self._collected = None
        return self._decode(self._opcode, message)

    def _validate(self, collected: bytearray) -> None:
        """Fail at once where text that is still growing cannot become UTF-8 any more (RFC 6455 §8.1)."""
        try:
            _, size = codecs.utf_8_decode(collected[self._valid :], "strict", False)
        except UnicodeDecodeError:
            raise _Broken(1007, "text is not UTF-8") from None
        self._valid += size

    def _join_as_asterisk(self, first: int, payload: bytes) -> str | bytes | None:
        """Join as chan_websocket since 22.10 does, faults included.

        It holds fragments back only while they stay below its ceiling. What goes over is handed up at once:
        under its own opcode where it has one, else unmarked, and the driver drops it. The last fragment takes
        the opcode of the message held back most recently, were it long complete; with none it is refused.
        """
        opcode = first & 0x0F
        collected = self._collected or bytearray()
        collected += payload
        if first < _FIN and len(collected) < _ASTERISK_CEILING:
            self._opcode = opcode or self._opcode
            self._collected = collected
            return None
        self._collected = None
        if opcode == _CONTINUATION:
            if first < _FIN:
                return None
            if not self._opcode:
                raise _Broken(1003, "fragment out of order")
            opcode = self._opcode
        return self._decode(opcode, bytes(collected))


@lru_cache(maxsize=64)
def _header(first: int, masked: int, size: int) -> bytes:
    """Return the beginning of a frame, up to the key. Audio has few sizes, and they come again and again."""
    if size < 126:
        return bytes((first, masked | size))
    if size < 65536:
        return _MEDIUM.pack(first, masked | 126, size)
    return _LARGE.pack(first, masked | 127, size)


class FrameEncoder:
    """Turn what one end of a WebSocket says into bytes.

    `mask` yields four unpredictable bytes at each call; a client must have one, a server must not.
    """

    __slots__ = ("_mask",)

    def __init__(self, *, mask: Callable[[], bytes] | None = None) -> None:
        self._mask = mask

    def message(self, message: str | bytes) -> bytes:
        """Return one unfragmented frame; text heard from a lax decoder goes out as it came."""
        if self._mask is None and type(message) is bytes:
            return _header(_FIN | _BINARY, 0, len(message)) + message
        if isinstance(message, str):
            return self._frame(_FIN | _TEXT, message.encode("utf-8", "surrogateescape"))
        return self._frame(_FIN | _BINARY, message)

    def ping(self, payload: bytes = b"") -> bytes:
        """Return a ping with up to 125 bytes of payload."""
        if len(payload) > _MAX_CONTROL:
            raise ValueError(f"a ping carries at most {_MAX_CONTROL} bytes, not {len(payload)}")
        return self._frame(_FIN | _PING, payload)

    def pong(self, payload: bytes = b"") -> bytes:
        """Return a pong."""
        # No limit: Asterisk answers the overlong ping that it tolerates, and its double must too.
        return self._frame(_FIN | _PONG, payload)

    def close(self, code: int | None, reason: str = "") -> bytes:
        """Return a close; the reason is cut to 123 bytes, and only travels with a code."""
        payload = b""
        if code is not None:
            cut = reason.encode("utf-8", "replace")[: _MAX_CONTROL - 2]
            payload = code.to_bytes(2) + cut.decode("utf-8", "ignore").encode()
        return self._frame(_FIN | _CLOSE, payload)

    def _frame(self, first: int, payload: bytes) -> bytes:
        header = _header(first, 0 if self._mask is None else _MASKED, len(payload))
        if self._mask is None:
            return header + payload
        key = self._mask()
        return header + key + apply_mask(payload, int.from_bytes(key))
