"""Asterisk's chan_websocket: media over WebSocket, with control in plain text or JSON."""

from __future__ import annotations

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialect import Dialect
from callstream_core.dialects.asterisk.codec import AsteriskCodec
from callstream_core.dialects.asterisk.formats import FORMATS
from callstream_core.dialects.asterisk.profile import AsteriskProfile, ClientSection, Generation, Syntax
from callstream_core.machine import conversation

__all__ = ["DIALECT", "FORMATS", "AsteriskProfile", "ClientSection", "Generation", "Syntax"]


def _is_start(text: str) -> bool:
    start = text.lstrip()
    return start.startswith("MEDIA_START ") or (start.startswith("{") and '"MEDIA_START"' in start)


DIALECT = Dialect(
    name="asterisk",
    table=conversation(
        events=(
            e.AudioReceived,
            e.DigitReceived,
            e.MarkReached,
            e.BufferingCompleted,
            e.PlayoutDrained,
            e.FlowPaused,
            e.FlowResumed,
            e.StatusReported,
            e.PlatformFailed,
            e.DirectionChanged,
        ),
        commands=(
            c.PlaceMark,
            c.ClearPlayout,
            c.ReportDrained,
            c.PausePlayout,
            c.ResumePlayout,
            c.RequestStatus,
            c.SetDirection,
            c.StartBuffering,
            c.StopBuffering,
        ),
    ),
    codec=AsteriskCodec,
    profile=AsteriskProfile,
    subprotocols=("media",),
    attempts=4,
    paths=("/asterisk",),
    recognizes=_is_start,
)
