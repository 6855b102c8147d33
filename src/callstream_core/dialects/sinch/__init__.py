"""Sinch's voice stream (`connectStream`, `STREAM`): JSON commands and linear audio; the application decides first."""

from __future__ import annotations

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialect import Dialect
from callstream_core.dialects.sinch.codec import SinchCodec, is_connect
from callstream_core.dialects.sinch.control import ConnectStream, DialStream
from callstream_core.dialects.sinch.profile import SinchProfile, Spelling
from callstream_core.dialects.sinch.signature import is_signed, signature
from callstream_core.machine import conversation

__all__ = [
    "DIALECT",
    "ConnectStream",
    "DialStream",
    "SinchProfile",
    "Spelling",
    "is_signed",
    "signature",
]

DIALECT = Dialect(
    name="sinch",
    table=conversation(
        events=(e.AudioReceived, e.MessageIgnored),
        commands=(c.PlaceMark, c.ClearPlayout, c.ReportDrained, c.KeepAlive),
        needs_answer=True,
    ),
    codec=SinchCodec,
    profile=SinchProfile,
    paths=("/sinch",),
    recognizes=is_connect,
)
