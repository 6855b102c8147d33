"""chan_websocket's messages and our words, side by side."""

from __future__ import annotations

from typing import Any

import attrs

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Generation, Syntax
from callstream_core.dialects.asterisk.codec import AsteriskCodec

JSON, PLAIN = Syntax.JSON, Syntax.PLAIN
G1, G2_21, G2, G3, G4, G5, G6 = Generation
ID = "1795197210.0"
CHANNEL = "WebSocket/conn1/0x7f52b8001c00"

PROFILE = AsteriskProfile(connection_id="conn1", channel=CHANNEL, channel_id=ID)
JSON_PROFILE = attrs.evolve(PROFILE, syntax=JSON, variables={"A": "1"})

FULL = e.StatusReported(queue_length=1408, xon_level=800, xoff_level=900, is_full=True, is_paused=True)
IDLE = e.StatusReported(queue_length=0, xon_level=800, xoff_level=900, is_buffering=True)

# Each event, as plain text and as JSON.
EVENTS: list[tuple[e.Event, str, str]] = [
    (
        e.DigitReceived("#"),
        f"DTMF_END digit:# channel_id:{ID}",
        f'{{"event":"DTMF_END","channel_id":"{ID}","digit":"#"}}',
    ),
    (
        e.MarkReached("m 1"),
        "MEDIA_MARK_PROCESSED m 1",
        f'{{"event":"MEDIA_MARK_PROCESSED","channel_id":"{ID}","correlation_id":"m 1"}}',
    ),
    (
        e.MarkReached(""),
        "MEDIA_MARK_PROCESSED",
        f'{{"event":"MEDIA_MARK_PROCESSED","channel_id":"{ID}","correlation_id":""}}',
    ),
    (
        e.BufferingCompleted('ü"\\/\x1f'),
        'MEDIA_BUFFERING_COMPLETED ü"\\/\x1f',
        f'{{"event":"MEDIA_BUFFERING_COMPLETED","channel_id":"{ID}","correlation_id":"ü\\"\\\\/\\u001F"}}',
    ),
    (e.PlayoutDrained(), "QUEUE_DRAINED", f'{{"event":"QUEUE_DRAINED","channel_id":"{ID}"}}'),
    (e.FlowPaused(), "MEDIA_XOFF", f'{{"event":"MEDIA_XOFF","channel_id":"{ID}"}}'),
    (e.FlowResumed(), "MEDIA_XON", f'{{"event":"MEDIA_XON","channel_id":"{ID}"}}'),
    (
        FULL,
        f"STATUS channel_id:{ID} queue_length:1408 xon_level:800 xoff_level:900"
        " queue_full:true bulk_media:false media_paused:true",
        f'{{"event":"STATUS","channel_id":"{ID}","queue_length":1408,"xon_level":800,"xoff_level":900,'
        '"queue_full":true,"bulk_media":false,"media_paused":true}',
    ),
    (
        IDLE,
        f"STATUS channel_id:{ID} queue_length:0 xon_level:800 xoff_level:900"
        " queue_full:false bulk_media:true media_paused:false",
        f'{{"event":"STATUS","channel_id":"{ID}","queue_length":0,"xon_level":800,"xoff_level":900,'
        '"queue_full":false,"bulk_media":true,"media_paused":false}',
    ),
    (
        e.PlatformFailed("FLUSH_MEDIA not supported in passthrough mode"),
        f"ERROR channel_id:{ID} error_text:FLUSH_MEDIA not supported in passthrough mode",
        f'{{"event":"ERROR","channel_id":"{ID}","error_text":"FLUSH_MEDIA not supported in passthrough mode"}}',
    ),
    (
        PROFILE.opening(),
        f"MEDIA_START connection_id:conn1 channel:{CHANNEL} channel_id:{ID}"
        " format:ulaw optimal_frame_size:160 ptime:20",
        "",
    ),
    (
        JSON_PROFILE.opening(),
        "",
        f'{{"event":"MEDIA_START","connection_id":"conn1","channel":"{CHANNEL}","channel_id":"{ID}","format":"ulaw",'
        '"optimal_frame_size":160,"ptime":20,"channel_variables":{"A":"1",'
        '"MEDIA_WEBSOCKET_CONNECTION_ID":"conn1","MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE":"160"}}',
    ),
]
# Each command, the same.
COMMANDS: list[tuple[c.Command, str, str]] = [
    (c.Answer(), "ANSWER", '{"command":"ANSWER"}'),
    (c.HangUp(), "HANGUP", '{"command":"HANGUP"}'),
    (c.StartBuffering(), "START_MEDIA_BUFFERING", '{"command":"START_MEDIA_BUFFERING"}'),
    (c.StopBuffering(), "STOP_MEDIA_BUFFERING", '{"command":"STOP_MEDIA_BUFFERING"}'),
    (
        c.StopBuffering("utt-17"),
        "STOP_MEDIA_BUFFERING utt-17",
        '{"command":"STOP_MEDIA_BUFFERING","correlation_id":"utt-17"}',
    ),
    (c.PlaceMark(""), "MARK_MEDIA", '{"command":"MARK_MEDIA"}'),
    (c.PlaceMark(" m  1"), "MARK_MEDIA  m  1", '{"command":"MARK_MEDIA","correlation_id":" m  1"}'),
    (c.ClearPlayout(), "FLUSH_MEDIA", '{"command":"FLUSH_MEDIA"}'),
    (c.PausePlayout(), "PAUSE_MEDIA", '{"command":"PAUSE_MEDIA"}'),
    (c.ResumePlayout(), "CONTINUE_MEDIA", '{"command":"CONTINUE_MEDIA"}'),
    (c.ReportDrained(), "REPORT_QUEUE_DRAINED", '{"command":"REPORT_QUEUE_DRAINED"}'),
    (c.RequestStatus(), "GET_STATUS", '{"command":"GET_STATUS"}'),
    (c.SetDirection(e.Direction.IN), "", '{"command":"SET_MEDIA_DIRECTION","direction":"in"}'),
]


def both_ends(syntax: Syntax, **options: Any) -> tuple[AsteriskCodec, AsteriskCodec]:
    """Return the platform's and the application's codec of an open channel."""
    profile = attrs.evolve(JSON_PROFILE if syntax is JSON else PROFILE, **options)
    platform, app = AsteriskCodec(profile), AsteriskCodec()
    [opening] = platform.encode_event(profile.opening())
    assert app.decode_event(opening) == [profile.opening()]
    return platform, app


# What the documentation of the driver shows, and its generations are seen to say.
DOCUMENTED = [
    "MEDIA_START connection_id:conn1 channel:WebSocket/conn1/0x7f20f80024c0 channel_id:1795196322.0 format:ulaw"
    " optimal_frame_size:160 ptime:20",
    '{"event":"MEDIA_START","connection_id":"conn1","channel":"WebSocket/conn1/0x7f52b8001c00",'
    '"channel_id":"1795197210.0","format":"ulaw","optimal_frame_size":160,"ptime":20,"channel_variables":'
    '{"MEDIA_WEBSOCKET_CONNECTION_ID":"conn1","MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE":"160"}}',
    '{"event":"STATUS","channel_id":"1795196411.3","queue_length":1408,"xon_level":800,"xoff_level":900,'
    '"queue_full":true,"bulk_media":false,"media_paused":true}',
    '{"event":"DTMF_END","channel_id":"1795196660.107","digit":"#"}',
    "ERROR channel_id:1795196462.6 error_text:MARK_MEDIA not supported in passthrough mode",
    "MEDIA_XOFF",
    "MEDIA_XON",
    "QUEUE_DRAINED",
    "STATUS channel_id:1795196411.3 queue_length:0 xon_level:800 xoff_level:900 queue_full:false bulk_media:false"
    " media_paused:false",
    "STATUS queue_length:0 xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false",
    "MEDIA_BUFFERING_COMPLETED",
    "MEDIA_BUFFERING_COMPLETED utt-17",
    "MEDIA_MARK_PROCESSED",
    "MEDIA_MARK_PROCESSED m 1",
    "DTMF_END digit:1 channel_id:1795196660.107",
    "DTMF_END digit:1",
]
