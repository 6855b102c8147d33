"""What makes Sinch connect: the `connectStream` action of the first voice API, and `dial` of the second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from callstream_core.dialects.sinch.profile import MAX_RATE, MIN_RATE, RATES

MAX_DURATION = 14400
"""Seconds of a call that `connectStream` allows."""
_MAX_HEADER_BYTES = 1024
_MAX_HEADERS = 16
_MAX_HEADER_TEXT = 255
_HEADER_TEXT = re.compile(r"[\t\x20-\x7e]*")
_OUTCOMES = frozenset({"onAnswer", "onBusy", "onReject", "onTimeout", "onHangup", "onFailure"})

Json = Mapping[str, Any]


def _check_endpoint(_instance: object, _attribute: object, url: str) -> None:
    # urlsplit itself raises ValueError for some.
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not url.isascii() or re.search(r"\s", url):
        raise ValueError(f"{url!r} is no WebSocket URL; Sinch connects to ws:// or, better, wss://")


def _check_positive(_instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{attribute.name} is a positive number, not {value}")


def _pairs(headers: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in headers.items()]


@attrs.frozen(kw_only=True)
class ConnectStream:
    """The answer to an incoming call event (ICE): connect the caller to a stream. Raises `ValueError` early."""

    endpoint: str = attrs.field(validator=_check_endpoint)
    """Our WebSocket, as Sinch reaches it. A token in its query string survives."""
    rate: int | None = None
    """Samples per second; Sinch's own default is not documented."""
    version: int = attrs.field(default=1, validator=_check_positive)
    max_duration: int | None = attrs.field(default=None, validator=_check_positive)
    """Seconds after which Sinch ends the call."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Given back in `connect`: up to 1024 bytes in all."""
    instructions: Sequence[Json] = attrs.field(factory=list)
    """SVAML instructions that come first, such as `{"name": "answer"}`."""

    def __attrs_post_init__(self) -> None:
        if self.rate is not None and not MIN_RATE <= self.rate <= MAX_RATE:
            raise ValueError(f"a rate of {self.rate} Hz; a stream takes {MIN_RATE} to {MAX_RATE}")
        if self.max_duration is not None and self.max_duration > MAX_DURATION:
            raise ValueError(f"a call of {self.max_duration} s; Sinch takes {MAX_DURATION} at most")
        size = sum(len(text.encode()) for pair in self.headers.items() for text in pair)
        if size > _MAX_HEADER_BYTES:
            raise ValueError(f"headers of {size} bytes; Sinch takes {_MAX_HEADER_BYTES} at most")

    def as_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        options: dict[str, Any] = {"version": self.version}
        if self.rate is not None:
            options["sampleRate"] = self.rate
        action: dict[str, Any] = {
            "name": "connectStream",
            "destination": {"type": "Websocket", "endpoint": self.endpoint},
            "streamingOptions": options,
        }
        if self.max_duration is not None:
            action["maxDuration"] = self.max_duration
        if self.headers:
            action["callHeaders"] = _pairs(self.headers)
        return {"instructions": [dict(each) for each in self.instructions], "action": action}


@attrs.frozen(kw_only=True)
class DialStream:
    """The `dial` command (voice API 2) that calls a stream: a leg of its own, joined to others by a bridge."""

    endpoint: str = attrs.field(validator=_check_endpoint)
    rate: int = attrs.field(default=8000, validator=attrs.validators.in_(RATES))
    version: int = attrs.field(default=1, validator=_check_positive)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Given back in `connect`: 16 at most, of printable ASCII."""
    name: str | None = None
    """The leg's name among the call's commands."""
    caller: Json | None = None
    """Who calls, such as `{"type": "PHONE", "phone": {"number": "+15550100"}}`."""
    dial_timeout: int | None = attrs.field(default=None, validator=_check_positive)
    """Seconds for our answer; then `onTimeout`. Ten in Sinch's own example."""
    max_duration: int | None = attrs.field(default=None, validator=_check_positive)
    """Seconds after which Sinch ends the leg."""
    bridge: str | None = None
    """The bridge that the leg joins when it is answered, before what `events` has for that."""
    events: Mapping[str, Sequence[Json]] = attrs.field(factory=dict)
    """Commands for each outcome: `onAnswer`, `onBusy`, `onReject`, `onTimeout`, `onHangup`, `onFailure`."""

    def __attrs_post_init__(self) -> None:
        if len(self.headers) > _MAX_HEADERS:
            raise ValueError(f"{len(self.headers)} headers; Sinch takes {_MAX_HEADERS} at most")
        for key, value in self.headers.items():
            if not key or max(len(key), len(value)) > _MAX_HEADER_TEXT:
                raise ValueError(f"header {key[:20]!r}: 1 to {_MAX_HEADER_TEXT} characters, and no longer value")
            if not _HEADER_TEXT.fullmatch(key + value):
                raise ValueError(f"header {key[:20]!r}: printable ASCII and tabs only")
        if unknown := sorted(set(self.events) - _OUTCOMES):
            raise ValueError(f"there is no {unknown[0]}; there are {', '.join(sorted(_OUTCOMES))}")

    def as_json(self) -> dict[str, Any]:
        """Return the command, for the list of `commands` of a call."""
        stream: dict[str, Any] = {
            "endpoint": self.endpoint,
            "streamOptions": {"version": self.version, "codec": "PCM", "sampleRate": self.rate},
        }
        if self.headers:
            stream["callHeaders"] = _pairs(self.headers)
        events = {name: [dict(each) for each in commands] for name, commands in self.events.items()}
        if self.bridge is not None:
            joins = {"command": "bridgeCall", "bridgeName": self.bridge}
            events["onAnswer"] = [joins, *events.get("onAnswer", [])]
        optional = {
            "callName": self.name,
            "from": self.caller,
            "dialTimeoutDurationSeconds": self.dial_timeout,
            "maxCallDurationSeconds": self.max_duration,
            "events": events or None,
        }
        return {
            "command": "dial",
            "to": {"type": "STREAM", "stream": stream},
            **{key: value for key, value in optional.items() if value is not None},
        }
