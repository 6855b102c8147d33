"""jambonz's words, there and back, and messages that were damaged on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import detect
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.audio import lower_minus_one
from callstream_core.dialects.jambonz import DIALECT, JambonzProfile, MixType
from callstream_core.errors import Malformed, Unsupported
from callstream_core.machine import State
from callstream_core.outputs import Transmit
from callstream_core.platform_session import PlatformSession

NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"\\'), max_size=20)
CLIPS = st.builds(
    c.PlayClip,
    data=st.binary(max_size=50),
    kind=st.just("raw"),
    rate=st.sampled_from([8000, 16000, 64000]),
    name=st.none() | NAMES,
    is_queued=st.booleans(),
)
FILES = st.builds(c.PlayClip, data=st.binary(max_size=50), kind=st.just("wav"))
EVENTS = st.one_of(
    st.builds(e.MarkReached, NAMES, st.sampled_from(e.MarkOutcome)),
    st.builds(e.DigitReceived, st.sampled_from("0123456789*#ABCD"), st.integers(1, 9999).map(lambda n: n / 8000)),
    st.builds(
        e.ClipPlayed,
        name=st.none() | NAMES,
        duration=st.integers(0, 99999).map(lambda n: n / 1000),
        last_sample=st.integers(0, 10**6),
    ),
    st.just(e.MessageIgnored('{"bye":true}')),
)
SAMPLES = [
    METADATA := '{"sampleRate":8000,"mixType":"mono","callSid":"c-1"}',
    '{"type": "mark", "data": {"name":"a", "event": "playout"}}',
    '{"type":"mark","data":{"name":"a","event":"cleared"}}',
    '{"type":"playDone","data":{"playbackSeconds":"0","playbackMilliseconds":"100","playbackLastOffsetPos":"800"}}',
    '{"event":"dtmf","dtmf":"5","duration":"1600"}',
    '{"type":"playAudio","data":{"audioContent":"AAAA","audioContentType":"raw","sampleRate":8000}}',
    '{"type":"killAudio"}',
    '{"type":"mark","data":{"name":"x"}}',
    '{"type":"error","data":{"message":"boom"}}',
]


def heard_by_app(message: str | bytes, profile: JambonzProfile | None = None) -> list[e.Event]:
    codec = DIALECT.codec(profile)
    codec.decode_event(METADATA)
    return list(codec.decode_event(message))


@given(EVENTS)
def test_events_come_back(event: e.Event) -> None:
    [message] = DIALECT.codec(JambonzProfile()).encode_event(event)
    assert heard_by_app(message) == [event]


@given(CLIPS | FILES)
def test_clips_come_back(clip: c.PlayClip) -> None:
    codec = DIALECT.codec(JambonzProfile(is_streaming=False))
    [message] = codec.encode_command(clip)
    assert codec.decode_command(message) == [clip]


@given(
    st.one_of(
        st.builds(c.PlaceMark, NAMES),
        st.builds(c.ReportFailure, st.text(st.characters(exclude_categories=["Cs"]))),
        st.sampled_from([c.ClearPlayout(), c.ForgetMarks(), c.HangUp()]),
        st.builds(c.SendAudio, st.binary(min_size=1, max_size=20)),
    )
)
def test_commands_come_back(command: c.Command) -> None:
    codec = DIALECT.codec(None)
    [message] = codec.encode_command(command)
    assert codec.decode_command(message) == [command]


@pytest.mark.parametrize("mix", MixType)
@pytest.mark.parametrize("is_streaming", [False, True])
def test_openings_come_back(mix: MixType, is_streaming: bool) -> None:
    profile = JambonzProfile(sample_rate=16000, mix_type=mix, is_streaming=is_streaming, metadata={"a": {"b": 1}})
    [message] = DIALECT.codec(profile).encode_event(profile.opening())
    assert DIALECT.codec(profile).decode_event(message)[0] == profile.opening()


def test_an_opening_without_extras_is_said_by_its_ids() -> None:
    opening = e.SessionOpened(
        dialect="jambonz",
        profile="mono",
        ids={"callSid": "c-1"},
        call_id="c-1",
        caller_format=JambonzProfile().audio,
        reply_format=None,
        variables={"from": "1"},
        capabilities=DIALECT.codec(None).capabilities,
    )
    [message] = DIALECT.codec(JambonzProfile()).encode_event(opening)
    assert json.loads(message) == {"sampleRate": 8000, "mixType": "mono", "callSid": "c-1", "from": "1"}


@given(st.lists(st.tuples(st.sampled_from(["caller", "callee", "x"]), st.binary(max_size=9)), max_size=8))
def test_both_sides_of_a_stereo_stream_come_back(said: list[tuple[str, bytes]]) -> None:
    profile = JambonzProfile(mix_type=MixType.STEREO)
    platform, app = DIALECT.codec(profile), DIALECT.codec(profile)
    heard = {"caller": b"", "callee": b""}
    told = {"caller": b"", "callee": b""}
    for track, data in said:
        told[track if track in told else "caller"] += data
        for message in platform.encode_event(e.AudioReceived(data, track)):
            for event in app.decode_event(message):
                assert isinstance(event, e.AudioReceived)
                heard[event.track] += event.data
    size = min(map(len, told.values())) // 2 * 2
    assert heard == {track: data[:size] for track, data in told.items()}


@pytest.mark.parametrize(
    "message",
    [
        "[1]",
        '{"type":"mark"}',
        '{"type":"mark","data":{"name":"a","event":"lost"}}',
        '{"type":"mark","data":{"event":"playout"}}',
        '{"type":"playDone","data":{"playbackMilliseconds":"soon"}}',
        '{"event":"dtmf"}',
    ],
)
def test_broken_events_are_misbehaviour(message: str) -> None:
    with pytest.raises(Malformed):
        heard_by_app(message)


def test_an_event_may_be_written_in_any_way() -> None:
    assert heard_by_app(SAMPLES[2]) == [e.MarkReached("a", e.MarkOutcome.CLEARED)]
    assert heard_by_app('{"event":"dtmf","dtmf":5}') == [e.DigitReceived("5")]
    assert heard_by_app('{"type":7,"event":[]}') == [e.MessageIgnored('{"type":7,"event":[]}')]
    assert heard_by_app('{"type": "mark", "data": {"name":"say "hi"", "event": "playout"}}') == [
        e.MarkReached('say "hi"')
    ]


def test_what_has_no_word_is_not_said() -> None:
    codec = DIALECT.codec(JambonzProfile())
    assert codec.encode_event(e.TrackStarted(track="caller", format=JambonzProfile().audio)) == []
    assert codec.refusal(c.HangUp(), e.Direction.BOTH) is None
    with pytest.raises(Unsupported, match="no message for SendDigit"):
        codec.encode_command(c.SendDigit("1"))


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [(METADATA, True), (' { "sampleRate": 8000, "mixType": "x"}', True), ("{}", False), ('["sampleRate"]', False)],
)
def test_the_first_message_tells_the_dialect(text: str, is_ours: bool) -> None:
    assert (detect(text) is DIALECT) is is_ours


@given(st.binary(max_size=60))
def test_one_sample_is_lowered_and_no_other_touched(data: bytes) -> None:
    data = data[: len(data) // 2 * 2] + b"\xff\xff"
    samples = [data[at : at + 2] for at in range(0, len(data), 2)]
    assert lower_minus_one(data) == b"".join(b"\xfe\xff" if s == b"\xff\xff" else s for s in samples)


@st.composite
def damaged(draw: Any) -> str | bytes:
    text = draw(st.sampled_from(SAMPLES))
    other = draw(st.sampled_from(SAMPLES))
    start, end = draw(st.integers(0, len(text))), draw(st.integers(0, len(other)))
    message: str | bytes = draw(st.sampled_from([text[:start] + other[end:], text, text[:start] + "\0" + text[start:]]))
    return message.encode() if draw(st.integers(0, 9)) == 0 and isinstance(message, str) else message


@given(st.lists(damaged() | st.binary(max_size=700), max_size=12), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_messages_do_no_harm(messages: list[str | bytes], is_streaming: bool, has_faults: bool) -> None:
    profile = JambonzProfile(is_streaming=is_streaming, swallows_marks=has_faults, mistakes_minus_one=has_faults)
    app = AppSession(DIALECT, profile, now=0.0)
    platform = PlatformSession(DIALECT, profile)
    for output in platform.open(0.0):
        if isinstance(output, Transmit):
            app.receive(output.message, 0.0)
    for n, message in enumerate(messages):
        app.receive(message, n * 0.03)
        platform.receive(message, n * 0.03)
        platform.handle_timeout(n * 0.03)
    assert app.state in (State.OPEN, State.ENDING)


def test_many_calls_have_ids_of_their_own() -> None:
    profile = JambonzProfile(call_info={"callSid": "c-0-9", "from": "1"})
    first, second = (profile.for_call(number).opening() for number in range(2))
    assert (first.call_id, second.call_id) == ("c-0-000000000001", "c-0-000000000002")
    assert first.variables == second.variables == {"from": "1"}
