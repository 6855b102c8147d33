"""Sinch's messages: decode(encode(x)) is x, documented examples read as documented, and damage does no harm."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialect import Profile
from callstream_core.dialects.sinch import DIALECT, SinchProfile, Spelling
from callstream_core.dialects.sinch.codec import SinchCodec
from callstream_core.dialects.sinch.profile import RATES
from callstream_core.errors import Malformed, Unsupported
from callstream_core.machine import State
from callstream_core.platform_session import PlatformSession

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | TEXT, lambda inner: st.lists(inner, max_size=2), max_leaves=3
)
PROFILES = st.builds(
    SinchProfile,
    rate=st.sampled_from(RATES) | st.integers(4000, 192000),
    spelling=st.sampled_from(Spelling),
    call_id=TEXT,
    application=TEXT,
    headers=st.dictionaries(TEXT, TEXT, max_size=3),
    extras=st.dictionaries(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), JSON, max_size=3),
)
MESSAGES = [
    '{"command":"connect","version":1,"callId":"c-71f0","applicationKey":"app-5","codec":"PCM","sampleRate":16000,'
    '"callHeaders":{"tenant":"blue"}}',
    '{"command":"connect","CallId":"c-71f0","ApplicationId":"app-5","Headers":{"tenant":"blue"}}',
    '{"command":"connect","callId":"c","callHeaders":[{"key":"a","value":"b"}]}',
    *(f'{{"command":"{word}"}}' for word in ("answer", "busy", "reject", "clear", "heartbeat", "text")),
]


def connected(profile: SinchProfile | None = None) -> SinchCodec:
    codec = SinchCodec(profile)
    codec.decode_event(MESSAGES[0])
    return codec


@given(PROFILES)
def test_each_spelling_of_connect_comes_back(profile: SinchProfile) -> None:
    opening = profile.opening()
    [message] = SinchCodec(profile).encode_event(opening)
    # Spellings that do not tell the rate need one that is known beforehand.
    assert SinchCodec(SinchProfile(rate=profile.rate)).decode_event(message) == [opening]


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        (Spelling.V2, MESSAGES[0]),
        (Spelling.V1, MESSAGES[1]),
        (Spelling.TUTORIAL, MESSAGES[1].replace("CallId", "callId").replace("Appl", "appl").replace("Head", "head")),
        (Spelling.V2_ARRAY, MESSAGES[0].replace('{"tenant":"blue"}', '[{"key":"tenant","value":"blue"}]')),
    ],
)
def test_connect_to_the_letter(spelling: Spelling, message: str) -> None:
    profile = SinchProfile(
        spelling=spelling, rate=16000, call_id="c-71f0", application="app-5", headers={"tenant": "blue"}
    )
    assert SinchCodec(profile).encode_event(profile.opening()) == [message]


def test_a_missing_rate() -> None:
    profile = SinchProfile(rate=16000, omits_rate=True)
    [message] = SinchCodec(profile).encode_event(profile.opening())
    assert "sampleRate" not in str(message)
    [event] = SinchCodec().decode_event(message)
    assert isinstance(event, e.SessionOpened)
    assert event.caller_format.rate == 8000


@pytest.mark.parametrize("word", ["answer", "busy", "reject", "clear", "heartbeat"])
def test_commands_come_back(word: str) -> None:
    message = f'{{"command":"{word}"}}'
    [command] = connected().decode_command(message)
    assert not isinstance(command, e.PeerMisbehaved)
    assert connected().encode_command(command) == [message]
    assert connected().decode_command(f'{{"Command":"{word.upper()}","id":7}}') == [command]


def test_a_rejection_has_no_reason_but_busy() -> None:
    [message] = connected().encode_command(c.Reject("nobody is in"))
    assert connected().decode_command(message) == [c.Reject()]


@given(st.binary())
def test_audio_comes_back(data: bytes) -> None:
    data = data[: len(data) // 2 * 2]
    app, platform = connected(), connected()
    [answer] = app.encode_command(c.Answer())
    platform.decode_command(answer)
    [message] = app.encode_command(c.SendAudio(data))
    assert platform.decode_command(message) == ([c.SendAudio(data)] if data else [])
    [message] = platform.encode_event(e.AudioReceived(data))
    assert app.decode_event(message) == ([e.AudioReceived(data)] if data else [])


def test_what_has_no_message() -> None:
    codec = connected()
    assert codec.encode_command(c.HangUp()) == []
    assert codec.encode_event(e.PlatformFailed("no")) == []
    with pytest.raises(Unsupported, match="SendDigit"):
        codec.encode_command(c.SendDigit("1"))


@pytest.mark.parametrize("changes", [{"callId": True}, {"sampleRate": "fast"}, {"codec": []}, {"sampleRate": -8000}])
def test_a_broken_connect_leaves_the_way_open_for_a_better_one(changes: dict[str, Any]) -> None:
    codec = SinchCodec()
    with pytest.raises(Malformed):
        codec.decode_event(json.dumps(json.loads(MESSAGES[0]) | changes))
    assert len(codec.decode_event(MESSAGES[0])) == 1


def test_nulls_are_as_good_as_nothing() -> None:
    nothing = dict.fromkeys(("version", "callId", "applicationKey", "codec", "sampleRate", "callHeaders", "x"))
    [event] = SinchCodec().decode_event(json.dumps({"command": "connect", **nothing}))
    assert isinstance(event, e.SessionOpened)
    assert (event.call_id, event.ids, event.variables, event.extras) == ("", {}, {}, {"x": None})


def test_the_default_profile_is_a_profile() -> None:
    profile: Profile = DIALECT.profile()
    assert not profile.crashes_on_pong
    assert profile.rules.max_message > 6_000_000
    assert profile.direction is e.Direction.BOTH
    with pytest.raises(ValueError, match="3999"):
        SinchProfile(rate=3999)
    assert SinchCodec(SinchProfile()).refusal(c.ClearPlayout(), e.Direction.BOTH) is None


@st.composite
def damaged(draw: st.DrawFn) -> str | bytes:
    """Return a message, cut and spliced with another one, or audio."""
    first, second = draw(st.sampled_from(MESSAGES)), draw(st.sampled_from(MESSAGES))
    kind = draw(st.sampled_from(["whole", "spliced", "audio", "swapped"]))
    if kind == "audio":
        return draw(st.binary(max_size=700))
    if kind == "swapped":
        found = json.loads(first)
        return json.dumps(dict.fromkeys(found, draw(JSON)) | {"command": found["command"]})
    return first if kind == "whole" else first[: draw(st.integers(0, 40))] + second[draw(st.integers(0, 40)) :]


@settings(deadline=None)
@given(st.lists(damaged() | st.sampled_from([c.Answer(), c.ClearPlayout(), c.SendAudio(bytes(320))]), max_size=12))
def test_damage_does_no_harm_to_either_end(said: list[Any]) -> None:
    app, platform = AppSession(DIALECT, now=0.0), PlatformSession(DIALECT)
    platform.open(0.0)
    for now, message in enumerate(said):
        if isinstance(message, str | bytes):
            app.receive(message, float(now))
            platform.receive(message, float(now))
        elif type(message) in app._machine.says:
            app.send(message, float(now))
        assert len(app._codec._half) < 2  # type: ignore[attr-defined]
        app.handle_timeout(float(now))
        platform.handle_timeout(float(now))
    for session in (app, platform):
        session.receive_close(None, 100.0)
        assert session.state is State.CLOSED
        assert session.next_timeout() is None


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_however_audio_is_cut_it_arrives_whole_and_in_order(data: bytes, cuts: list[int]) -> None:
    app = connected()
    app.encode_command(c.Answer())
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    heard = [event for at, to in pairwise(places) for event in app.decode_event(data[at:to])]
    audio = b"".join(event.data for event in heard if isinstance(event, e.AudioReceived))
    assert audio == data[: len(data) // 2 * 2]
    assert all(len(event.data) % 2 == 0 for event in heard if isinstance(event, e.AudioReceived))
    odd = sum((to - at) % 2 for at, to in pairwise(places))
    assert sum(isinstance(event, e.Tolerated) for event in heard) == odd
