"""jambonz's audio socket (`listen`, `stream`): linear audio both ways, and a little JSON about playout."""

from __future__ import annotations

import re

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialect import Dialect
from callstream_core.dialects.jambonz.codec import JambonzCodec
from callstream_core.dialects.jambonz.profile import CALLEE, CALLER, REPLY_RATE, JambonzProfile, MixType
from callstream_core.machine import conversation

__all__ = ["CALLEE", "CALLER", "DIALECT", "REPLY_RATE", "JambonzProfile", "MixType"]


def _is_metadata(text: str) -> bool:
    start = text.lstrip()[:200]
    return start.startswith("{") and re.search(r'"sampleRate"\s*:\s*\d+\s*,\s*"mixType"\s*:\s*"', start) is not None


DIALECT = Dialect(
    name="jambonz",
    table=conversation(
        events=(
            e.AudioReceived,
            e.TrackStarted,
            e.DigitReceived,
            e.MarkReached,
            e.ClipPlayed,
            e.MessageIgnored,
        ),
        commands=(
            c.PlaceMark,
            c.ForgetMarks,
            c.ClearPlayout,
            c.PausePlayout,
            c.ResumePlayout,
            c.ReportDrained,
            c.PlayClip,
            c.ReportFailure,
        ),
    ),
    codec=JambonzCodec,
    profile=JambonzProfile,
    subprotocols=("audio.jambonz.org", "audio.drachtio.org"),
    offered=("audio.jambonz.org",),
    sends_origin=True,
    attempts=1,
    paths=("/jambonz/audio",),
    recognizes=_is_metadata,
)
