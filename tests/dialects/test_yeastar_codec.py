"""Both ends of Yeastar's tap: what the PBX writes, what is read of it, whatever happens on the way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.yeastar import DIALECT, FRAGMENT, MAX_CHANNELS, Party, YeastarCodec, YeastarProfile
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Output, Transmit
from callstream_core.platform_session import PlatformSession
from tests.dialects.test_yeastar import INSIDE, OUTSIDE, PIECE, end, heard, message, tapped
from tests.pair import Pair

FIRST, SECOND = YeastarProfile().tracks


def sent(outputs: list[Output]) -> list[str]:
    return [output.message for output in outputs if isinstance(output, Transmit) and isinstance(output.message, str)]


def pbx(**options: Any) -> PlatformSession:
    """Return a PBX on a call."""
    platform = PlatformSession(DIALECT, YeastarProfile(**options))
    assert platform.open(0.0) == [c.Answer()]
    return platform


# What is read


@pytest.mark.parametrize(
    "audio",
    [
        base64.b64encode(PIECE).decode(),
        base64.b64encode(PIECE).decode().rstrip("="),
        base64.b64encode(PIECE).decode().rstrip("=") + "=",
        base64.encodebytes(PIECE).decode(),
        " " + base64.b64encode(PIECE).decode().replace("A", "\r\n\tA"),
    ],
)
def test_base64_with_blanks_or_without_padding_is_read(audio: str) -> None:
    app = tapped(INSIDE)
    assert app.receive(message(audio=audio), 0.0) == [e.AudioReceived(PIECE, INSIDE)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (message(INSIDE, PIECE, "paused"), [e.Tolerated("unknown_status", f"{INSIDE}: 'paused'"), PIECE]),
        (message(INSIDE, b"", "paused"), [e.Tolerated("unknown_status", f"{INSIDE}: 'paused'")]),
        (message(status=None), [e.Tolerated("unknown_status", f"{INSIDE}: ''"), PIECE]),  # type: ignore[arg-type]
        (message(INSIDE, b""), [e.Tolerated("empty_audio", INSIDE)]),
        (message(INSIDE, PIECE, "end"), [PIECE, e.TrackEnded(INSIDE)]),
        (message(INSIDE, b"x", "end"), [e.Tolerated("odd_audio", f"{INSIDE}: 1 bytes"), e.TrackEnded(INSIDE)]),
        (
            message(status="end", audio="!"),
            [e.Tolerated("unreadable_audio", f"{INSIDE}: not base64"), e.TrackEnded(INSIDE)],
        ),
        (message("new", b"", "end"), [e.Tolerated("stray_end", "new")]),
        (message(more={"a": 1}, number=2001), [PIECE]),
        (message(callid=None, number=None, callflow=None), [PIECE]),
        (message(INSIDE, b"", "end", number=""), [e.TrackEnded(INSIDE)]),
        (PIECE, [e.MessageIgnored(PIECE)]),
    ],
)
def test_what_is_odd_and_does_no_harm(text: str | bytes, expected: list[Any]) -> None:
    app = tapped()
    assert app.receive(text, 0.0) == [e.AudioReceived(it, INSIDE) if it is PIECE else it for it in expected]


def test_an_end_before_anybody_spoke_opens_nothing() -> None:
    app = AppSession(DIALECT)
    assert app.receive(end(), 0.0) == [e.Tolerated("stray_end", INSIDE)]
    assert app.receive(PIECE, 0.0) == [e.MessageIgnored(PIECE)]
    assert app.state is State.OPENING


@pytest.mark.parametrize(
    ("changes", "track", "call_id", "oddities"),
    [
        ({"channelid": None}, "3000", "1760000001.42", {"missing_channelid"}),
        ({"channelid": "", "number": ""}, "caller", "1760000001.42", {"missing_channelid"}),
        ({"channelid": None, "number": None}, "caller", "1760000001.42", {"missing_channelid"}),
        ({"callid": None}, "other", "other", {"missing_callid"}),
        ({"callid": "", "channelid": None}, "3000", "3000", {"missing_channelid", "missing_callid"}),
        ({"callid": 17}, "other", "17", set()),
    ],
)
def test_names_that_are_missing(changes: dict[str, Any], track: str, call_id: str, oddities: set[str]) -> None:
    app = AppSession(DIALECT)
    for _ in range(3):
        out = app.receive(message("other", **changes), 0.0)
        assert out[-1] == e.AudioReceived(PIECE, track)
    assert app.opened is not None
    assert app.opened.call_id == call_id
    assert app.counters == dict.fromkeys(oddities, 1)


def test_several_calls_may_share_a_socket() -> None:
    app = tapped(INSIDE)
    first, _ = app.receive(message(OUTSIDE, callid="2.0"), 0.0)
    assert isinstance(first, e.TrackStarted)
    assert first.details["callid"] == "2.0"


def test_channels_without_end_are_not_remembered() -> None:
    app = AppSession(DIALECT)
    for number in range(MAX_CHANNELS):
        app.receive(message(f"c{number}"), 0.0)
    assert app.receive(message("more"), 0.0) == [e.Tolerated("too_many_channels", "more")]
    app.receive(end("c7"), 0.1)
    assert isinstance(app.receive(message("more"), 0.1)[0], e.TrackStarted)
    # It has made room, and counts as new.
    app.receive(end("c8"), 0.1)
    assert app.receive(message("c7"), 0.1)[0] == e.TrackStarted(
        track="c7",
        format=YeastarProfile().audio,
        details={"callid": "1760000001.42", "number": "3000", "callflow": "queue"},
    )


# What is said


@pytest.mark.parametrize(("rate", "ptime"), [(8000, 0.08), (16000, 0.04)])
def test_fragments_have_one_size_at_either_rate(rate: int, ptime: float) -> None:
    platform = pbx(rate=rate)
    assert platform.profile.opening().caller_format.ptime == ptime
    out = [
        text
        for size in (100, 3000, 1280, 740)
        for text in sent(platform.send(e.AudioReceived(bytes(size), FIRST), 1.0))
    ]
    assert [len(json.loads(text)["audio"]) for text in out] == [1708] * 4
    assert json.loads(out[0]) | {"audio": ""} == {
        "callid": "1700000000.1",
        "channelid": FIRST,
        "number": "1009",
        "callflow": "",
        "status": "process",
        "audio": "",
    }


def test_a_call_from_the_pbx_to_the_application() -> None:
    platform = pbx(callflow="ivr", parties=(Party("a", "1"), Party("b", "2")))
    app = AppSession(DIALECT)
    pair = Pair(app, platform, delay=0.01)
    pair.say_event(e.AudioReceived(PIECE + b"rest", "a"))
    pair.say_event(e.AudioReceived(PIECE, "b"))
    pair.say_event(e.TrackUpdated("b", {"number": "22"}))
    pair.say_event(e.TrackStarted(track="c", format=platform.profile.opening().caller_format, details={"number": "3"}))
    pair.run(0.08)
    pair.say_event(e.AudioReceived(PIECE, "b"))
    pair.say_event(e.AudioReceived(PIECE, "c"))
    pair.say_event(e.TrackEnded("a"))
    pair.say_event(e.SessionEnding())
    pair.run(1.0)
    told = [out for _, out in pair.heard_by_app if not isinstance(out, e.SessionOpened | e.SessionClosed)]
    common = {"callid": "1700000000.1", "callflow": "ivr"}
    audio = platform.profile.opening().caller_format
    assert told == [
        e.TrackStarted(track="a", format=audio, details={**common, "number": "1"}),
        e.AudioReceived(PIECE, "a"),
        e.TrackStarted(track="b", format=audio, details={**common, "number": "2"}),
        e.AudioReceived(PIECE, "b"),
        e.TrackUpdated("b", {**common, "number": "22"}),
        e.AudioReceived(PIECE, "b"),
        e.TrackStarted(track="c", format=audio, details={**common, "number": "3"}),
        e.AudioReceived(PIECE, "c"),
        e.AudioReceived(b"rest".ljust(FRAGMENT, b"\0"), "a"),
        e.TrackEnded("a"),
        e.TrackEnded("b"),
        e.TrackEnded("c"),
        e.SessionEnding("every party has left"),
    ]
    assert pair.heard_by_app[0][1] == platform.profile.opening()
    assert app.state is platform.state is State.CLOSED
    assert not app.counters
    assert not pair.platform_heard(e.PeerMisbehaved)


def test_what_is_said_to_a_pbx_is_noted_and_ignored() -> None:
    platform = pbx()
    for text in ("x", b"xy"):
        [noted] = platform.receive(text, 1.0)
        assert isinstance(noted, e.PeerMisbehaved)
        assert "nothing is read on this socket" in noted.reason
    assert platform.state is State.OPEN
    assert platform.counters == {"misbehaved": 2}
    assert platform.receive_pong(1.0) == []
    assert platform.next_timeout() is None


def test_only_who_is_there_can_speak() -> None:
    platform = pbx()
    platform.send(e.TrackEnded(FIRST), 1.0)
    for event in (e.AudioReceived(PIECE), e.AudioReceived(PIECE, FIRST), e.TrackEnded(FIRST), e.TrackUpdated("x", {})):
        with pytest.raises(LocalProtocolError, match="nobody speaks on"):
            platform.send(event, 1.0)
    with pytest.raises(LocalProtocolError):
        platform.send(e.DigitReceived("1"), 1.0)


@pytest.mark.parametrize(("code", "answer"), [(1000, 1000), (1005, 1000), (1011, 1011)])
def test_the_pbx_answers_a_close(code: int, answer: int) -> None:
    assert pbx().receive_close(code, 1.0)[0] == CloseLink(answer)
    [last] = pbx().receive_close(None, 1.0)
    assert isinstance(last, e.SessionClosed)


def test_a_codec_alone_has_no_words_for_commands() -> None:
    codec = YeastarCodec()
    assert codec.encode_command(c.HangUp()) == []
    assert codec.refusal(c.Answer(), e.Direction.IN) is None
    with pytest.raises(Unsupported, match="reads nothing"):
        codec.encode_command(c.Answer())
    assert codec.encode_event(e.FlowPaused()) == []


# What goes wrong


def test_a_pbx_that_loses_the_ends() -> None:
    platform, app = pbx(says_end=False), AppSession(DIALECT)
    for text in sent(platform.send(e.AudioReceived(PIECE, FIRST), 0.0)):
        app.receive(text, 0.0)
    assert platform.send(e.TrackEnded(SECOND), 1.0) == []
    assert platform.send(e.SessionEnding(), 1.0)[0] == CloseLink(1000)
    assert app.receive_close(1000, 1.0)[:2] == [CloseLink(1000), e.TrackEnded(FIRST, "normal end")]


def test_a_pbx_that_never_closes() -> None:
    pair = Pair(AppSession(DIALECT), pbx(platform_closes=False))
    pair.say_event(e.AudioReceived(PIECE, FIRST))
    pair.say_event(e.SessionEnding())
    pair.run(4.9)
    assert {pair.app.state, pair.platform.state} == {State.ENDING}
    pair.run(0.2)
    assert {pair.app.state, pair.platform.state} == {State.CLOSED}
    assert pair.app_heard(e.SessionClosed)


def test_a_pbx_that_garbles() -> None:
    platform, app = pbx(garbles_every=3), AppSession(DIALECT)
    out = [
        said
        for number in range(9)
        for text in sent(platform.send(e.AudioReceived(PIECE, FIRST), 0.0))
        for said in app.receive(text, number * 0.08)
    ]
    assert heard(out, FIRST) == PIECE * 6
    assert app.counters == {"unreadable_message": 3}


def test_the_secret_is_a_header_of_any_name() -> None:
    assert YeastarProfile().request_headers == ()
    assert YeastarProfile().rules.is_strict
    assert YeastarProfile(secret_name="X-Tap-Key", secret="s").request_headers == (("X-Tap-Key", "s"),)
    with pytest.raises(ValueError, match="rate"):
        YeastarProfile(rate=44100)


# Anything at all


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), st.binary(max_size=4000)), max_size=12),
    st.sampled_from([8000, 16000]),
)
def test_all_that_the_pbx_says_is_heard(said: list[tuple[str, bytes]], rate: int) -> None:
    platform, app = pbx(rate=rate), AppSession(DIALECT, YeastarProfile(rate=rate))
    out: list[Output] = []
    for track, data in said:
        for text in sent(platform.send(e.AudioReceived(data, track), 0.0)):
            out += app.receive(text, 0.0)
    for text in sent(platform.send(e.SessionEnding(), 0.0)):
        out += app.receive(text, 0.0)
    for track in (FIRST, SECOND):
        audio = b"".join(data for name, data in said if name == track)
        assert heard(out, track) == audio.ljust(-(-len(audio) // FRAGMENT) * FRAGMENT, b"\0")
    # Who never spoke was never announced.
    assert set(app.counters) <= {"stray_end"}


PARTS = [message(), end(), message(OUTSIDE), message(INSIDE, b"odd"), "[]", '"\\ud800"', '{"audio":1e999}', "9" * 5000]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(PARTS),
            st.text(max_size=30),
            st.binary(max_size=30),
            st.tuples(st.sampled_from(PARTS), st.integers(0, 300), st.integers(0, 40), st.text(max_size=5)).map(
                lambda cut: cut[0][: cut[1]] + cut[3] + cut[0][cut[1] + cut[2] :]
            ),
            st.fixed_dictionaries(
                {},
                optional={
                    key: st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats(), st.lists(st.none()))
                    for key in ("callid", "channelid", "number", "callflow", "status", "audio")
                },
            ).map(json.dumps),
        ),
        max_size=40,
    )
)
def test_nothing_that_is_said_breaks_a_session(messages: list[str | bytes]) -> None:
    app = AppSession(DIALECT, now=0.0)
    out: list[Output] = []
    for number, text in enumerate(messages):
        out += app.receive(text, number * 0.08)
    assert "misbehaved" not in app.counters
    out += app.receive_close(None, 100.0)
    assert isinstance(out[-1], e.SessionClosed)
    tracks: set[str] = set()
    for said in out:
        if isinstance(said, e.TrackStarted):
            assert said.track not in tracks
            tracks.add(said.track)
        elif isinstance(said, e.TrackEnded):
            tracks.remove(said.track)
        elif isinstance(said, e.AudioReceived):
            assert said.track in tracks
    assert not tracks


@pytest.mark.parametrize("name", ["asterisk", "sinch", "yeastar"])
def test_many_calls_have_ids_of_their_own(name: str) -> None:
    profile: Any = dialects.get(name).profile()
    assert len({profile.for_call(number).opening().call_id for number in range(100)}) == 100
    assert profile.for_call(0).opening().call_id == profile.opening().call_id
    assert profile.tracks == ([FIRST, SECOND] if name == "yeastar" else (e.CALLER,))
