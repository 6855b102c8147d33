"""What generations of chan_websocket say, and what of it cannot be; names and their limits."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.audio import AudioFormat
from callstream_core.dialect import Clock, Support
from callstream_core.dialects.asterisk import FORMATS, AsteriskProfile, Syntax
from callstream_core.dialects.asterisk.codec import AsteriskCodec
from callstream_core.errors import LocalProtocolError, Malformed
from tests.dialects.words import DOCUMENTED, G2, G2_21, JSON, PLAIN, both_ends

# What the documentation shows, and other generations say


@pytest.mark.parametrize("message", DOCUMENTED)
def test_documented_messages_are_understood(message: str) -> None:
    [event] = AsteriskCodec().decode_event(message)
    assert not isinstance(event, e.MessageIgnored)


def opened(message: str) -> e.SessionOpened:
    [event] = AsteriskCodec().decode_event(message)
    assert isinstance(event, e.SessionOpened)
    return event


def test_an_early_opening_has_neither_channel_id_nor_ptime() -> None:
    event = opened("MEDIA_START connection_id:c channel:WebSocket/c/0x1 format:slin16 optimal_frame_size:640")
    assert event.ids == {"connection_id": "c", "channel": "WebSocket/c/0x1"}
    assert event.call_id == "WebSocket/c/0x1"
    assert event.caller_format == FORMATS["slin16"]
    assert event.capabilities.drained is Support.EMULATED


def test_a_channel_id_may_hold_spaces_and_colons() -> None:
    event = opened(
        "MEDIA_START connection_id:c channel:w channel_id:a b:c d: format:ulaw optimal_frame_size:160 ptime:20"
    )
    assert event.call_id == "a b:c d:"


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize(("passthrough", "unbuffered"), [(False, False), (True, False), (False, True)])
def test_generation_7_tells_its_mode(is_json: bool, passthrough: bool, unbuffered: bool) -> None:
    pairs = f"passthrough:{passthrough} more:x unbuffered:{unbuffered}".lower()
    message = (
        '{"event":"MEDIA_START","channel_id":"1","format":"ulaw","optimal_frame_size":160,"ptime":20,'
        f'"passthrough":{str(passthrough).lower()},"unbuffered":{str(unbuffered).lower()},"more":[1]}}'
        if is_json
        else f"MEDIA_START channel_id:1 format:ulaw optimal_frame_size:160 ptime:20 {pairs}"
    )
    event = opened(message)
    is_paced = passthrough or unbuffered
    assert event.capabilities.clock is (Clock.APP if is_paced else Clock.PLATFORM)
    assert event.capabilities.marks is (Support.EMULATED if is_paced else Support.NATIVE)
    assert event.reply_format == attrs.evolve(FORMATS["ulaw"], frame_size=0 if passthrough else 160)


def test_an_unknown_format_is_taken_as_it_is_announced() -> None:
    event = opened('{"event":"MEDIA_START","format":"lc3","optimal_frame_size":40,"ptime":10}')
    assert event.caller_format == AudioFormat(encoding="lc3", rate=8000, frame_size=40, ptime=0.01)
    assert event.call_id == ""


@pytest.mark.parametrize(
    "message",
    [
        "MEDIA_START",
        "MEDIA_START format:ulaw",
        "MEDIA_START format:ulaw optimal_frame_size:-1",
        "MEDIA_START format:ulaw optimal_frame_size:65536 ptime:20",
        "MEDIA_START format:ulaw optimal_frame_size:160 ptime:0",
        "MEDIA_START format:ulaw optimal_frame_size:160 ptime:1001",
        "MEDIA_START format:ulaw optimal_frame_size:160 ptime:20 passthrough:perhaps",
        '{"event":"MEDIA_START","format":"ulaw","optimal_frame_size":160,"channel_id":null}',
        '{"event":"MEDIA_START","format":"ulaw","optimal_frame_size":160,"channel_variables":[]}',
        "STATUS queue_length:many",
        '{"event":"STATUS","queue_length":1,"queue_full":1}',
        '{"event":"DTMF_END"}',
        '{"event":["STATUS"]}',
        "{",
        '{"event":"STATUS","queue_length":1e999}',
    ],
)
def test_what_makes_no_sense_is_malformed_and_changes_nothing(message: str) -> None:
    codec = AsteriskCodec()
    before = codec.capabilities
    with pytest.raises(Malformed):
        codec.decode_event(message)
    assert codec.capabilities == before
    assert len(codec.decode_event(DOCUMENTED[0])) == 1


def test_unknown_events_and_keys_do_no_harm() -> None:
    _, app = both_ends(JSON)
    unknown = '{"event":"MEDIA_NEWS","channel_id":"1"}'
    assert app.decode_event(unknown) == [e.MessageIgnored(unknown)]
    assert app.decode_event("{}") == [e.MessageIgnored("{}")]
    assert app.decode_event('{"event":"MEDIA_XON","more":{"a":[1]}}') == [e.FlowResumed()]
    _, app = both_ends(PLAIN)
    assert app.decode_event("MEDIA_NEWS a:b") == [e.MessageIgnored("MEDIA_NEWS a:b")]
    assert app.decode_event("") == [e.MessageIgnored("")]


@pytest.mark.parametrize("syntax", Syntax)
def test_an_error_ends_in_a_line_feed_that_nobody_needs(syntax: Syntax) -> None:
    platform, app = both_ends(syntax)
    [message] = platform.encode_event(e.PlatformFailed("SET_MEDIA_DIRECTION only supports JSON format.\n"))
    assert app.decode_event(message) == [e.PlatformFailed("SET_MEDIA_DIRECTION only supports JSON format.")]


def test_passthrough_by_option_may_be_known_beforehand() -> None:
    profile = AsteriskProfile(passthrough=True)
    [opening] = AsteriskCodec(profile).encode_event(profile.opening())
    app = AsteriskCodec(profile)
    app.decode_event(opening)
    assert app.capabilities.clock is Clock.APP


def test_the_syntax_of_a_channel_never_changes() -> None:
    _, app = both_ends(PLAIN)
    message = '{"event":"MEDIA_XON"}'
    assert app.decode_event(message) == [e.MessageIgnored(message)]
    _, app = both_ends(JSON)
    with pytest.raises(Malformed):
        app.decode_event("MEDIA_XON")


def test_the_levels_of_a_status_are_known_anyway() -> None:
    _, app = both_ends(JSON)
    assert app.decode_event('{"event":"STATUS","queue_length":7}') == [
        e.StatusReported(queue_length=7, xon_level=800, xoff_level=900)
    ]


def test_passthrough_by_option_shows_in_its_first_refusal() -> None:
    _, app = both_ends(JSON)
    error = '{"event":"ERROR","channel_id":"1","error_text":"MARK_MEDIA not supported in passthrough mode"}'
    support = [app.capabilities.marks]
    for _ in range(2):
        assert app.decode_event(error) == [e.PlatformFailed("MARK_MEDIA not supported in passthrough mode")]
        support.append(app.capabilities.marks)
    assert support == [Support.NATIVE, Support.EMULATED, Support.EMULATED]
    assert app.refusal(c.ClearPlayout(), e.Direction.BOTH) == "FLUSH_MEDIA not supported in passthrough mode"


# Names and their limits


@pytest.mark.parametrize(
    ("syntax", "make", "longest"),
    [
        (JSON, c.PlaceMark, 84),
        (JSON, c.StopBuffering, 74),
        (PLAIN, c.PlaceMark, 117),
        (PLAIN, c.StopBuffering, 107),
    ],
)
def test_a_name_must_fit_into_128_bytes(syntax: Syntax, make: Callable[[str], c.Command], longest: int) -> None:
    platform, app = both_ends(syntax)
    for name in (longest * "x", (longest // 2) * "ü"):
        [message] = app.encode_command(make(name))
        assert platform.decode_command(message) == [make(name)]
    for name in ((longest + 1) * "x", (longest // 2 + 1) * "ü"):
        with pytest.raises(LocalProtocolError, match="choose a shorter name"):
            app.encode_command(make(name))


@pytest.mark.parametrize("syntax", Syntax)
@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_is_text(syntax: Syntax, name: str) -> None:
    _, app = both_ends(syntax)
    with pytest.raises(LocalProtocolError, match="valid Unicode"):
        app.encode_command(c.PlaceMark(name))


def test_blanks_around_a_plain_name_are_lost() -> None:
    _, app = both_ends(PLAIN)
    for name in ("a ", "a\n", " "):
        with pytest.raises(LocalProtocolError, match="cuts blanks"):
            app.encode_command(c.PlaceMark(name))
    early = AsteriskCodec(AsteriskProfile(generation=G2))
    with pytest.raises(LocalProtocolError, match="cuts blanks"):
        early.encode_command(c.PlaceMark(" a"))


def test_marks_of_generations_without_marks() -> None:
    platform = AsteriskCodec(profile := AsteriskProfile(generation=G2_21))
    [opening] = platform.encode_event(profile.opening())
    for app in (AsteriskCodec(profile), AsteriskCodec()):
        app.decode_event(opening)
        [message] = app.encode_command(c.PlaceMark("a"))
        assert message == "STOP_MEDIA_BUFFERING a"
        assert platform.decode_command(message) == [c.StopBuffering("a")]
        [answer] = platform.encode_event(e.BufferingCompleted("a"))
        assert app.decode_event(answer) == [e.MarkReached("a")]
        assert app.decode_event(answer) == [e.BufferingCompleted("a")]


def test_bytes_that_are_not_utf8_come_back_as_they_were() -> None:
    platform, _ = both_ends(PLAIN)
    # The lax frame layer hands a byte FF up like this.
    assert platform.decode_command("MARK_MEDIA \udcff") == [c.PlaceMark("\udcff")]
    assert platform.encode_event(e.MarkReached("\udcff")) == ["MEDIA_MARK_PROCESSED \udcff"]
    # No wire can carry this, but a test might.
    assert platform.decode_command("MARK_MEDIA \ud800") == [c.PlaceMark("\ud800")]
    # As one byte, not as three.
    assert platform.decode_command("MARK_MEDIA " + 117 * "\udcff") == [c.PlaceMark(117 * "\udcff")]
