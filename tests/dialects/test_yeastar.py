"""Yeastar's audio tap, case by case: this in, exactly that out."""

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
from callstream_core.dialects.yeastar import DIALECT, FRAGMENT, YeastarProfile
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Output
from callstream_trio.admission import Admission, Admitted, HeaderToken, Request, parse_auth

CALL = "1760000001.42"
INSIDE, OUTSIDE = "PJSIP/2001-0000001c", "PJSIP/trunkA-0000001d"
NUMBERS = {INSIDE: "2001", OUTSIDE: "+4930123456"}
PIECE = bytes(range(256)) * 5


def message(channel: str = INSIDE, data: bytes = PIECE, status: str = "process", **changes: Any) -> str:
    """Return a message as the PBX writes it; None leaves a field out."""
    values: dict[str, Any] = {
        "callid": CALL,
        "channelid": channel,
        "number": NUMBERS.get(channel, "3000"),
        "callflow": "queue",
        "status": status,
        "audio": base64.b64encode(data).decode(),
    }
    values |= changes
    return json.dumps({key: value for key, value in values.items() if value is not None})


def end(channel: str = INSIDE) -> str:
    return message(channel, b"", "end")


def details(channel: str, **changes: str) -> dict[str, str]:
    return {"callid": CALL, "number": NUMBERS[channel], "callflow": "queue", **changes}


def started(channel: str, rate: int = 8000, **changes: str) -> e.TrackStarted:
    return e.TrackStarted(track=channel, format=YeastarProfile(rate=rate).audio, details=details(channel, **changes))


def tapped(*channels: str, rate: int = 8000) -> AppSession:
    """Return a session that has heard one fragment of each of these."""
    app = AppSession(DIALECT, YeastarProfile(rate=rate), now=0.0)
    for channel in channels or (INSIDE, OUTSIDE):
        app.receive(message(channel), 0.0)
    return app


def heard(outputs: list[Output], channel: str) -> bytes:
    return b"".join(out.data for out in outputs if isinstance(out, e.AudioReceived) and out.track == channel)


def closed(code: int | None, reason: str, **changes: Any) -> e.SessionClosed:
    values = {"initiator": e.Side.PLATFORM, "code": code, "reason": reason, "call_continues": True}
    return e.SessionClosed(**(values | changes))


def asked(path: str = "/yeastar", **headers: str) -> Request:
    """Return the PBX's request."""
    fixed = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    fixed["Sec-WebSocket-Key"] = base64.b64encode(bytes(16)).decode()
    lines = fixed | {name.replace("_", "-"): value for name, value in headers.items()}
    target, _, query = path.partition("?")
    return Request(
        method="GET",
        path=target,
        query={"Secret": ["s3cr3t"]} if query else {},
        headers=[(name.lower().encode(), value.encode()) for name, value in lines.items()],
    )


def status_of(rules: Admission, request: Request) -> int:
    decision = rules.decide(request)
    return 101 if isinstance(decision, Admitted) else decision.status


SECRET = Admission(auth=[HeaderToken("Secret", "s3cr3t")])


def test_01_the_secret_is_a_header() -> None:
    assert status_of(SECRET, asked(Secret="s3cr3t")) == 101
    assert status_of(SECRET, asked(Secret="s3cr3T")) == 401
    assert status_of(SECRET, asked(Secret="")) == 401
    assert status_of(SECRET, asked()) == 401
    assert status_of(Admission(), asked()) == 101


@pytest.mark.parametrize("name", ["X_Tap_Key", "x_tap_key", "X_TAP_KEY"])
def test_02_the_header_may_have_another_name(name: str) -> None:
    rules = Admission(auth=[HeaderToken("X-Tap-Key", "s3cr3t")])
    assert status_of(rules, asked(**{name: "s3cr3t"})) == 101
    assert status_of(rules, asked(Secret="s3cr3t")) == 401


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "abc", "Basic YTpi", "Bearer"])
def test_02_the_value_comes_as_it_was_typed(value: str) -> None:
    rules = Admission(auth=[parse_auth(f"header:Authorization={value}")])
    assert status_of(rules, asked(Authorization=value)) == 101
    assert status_of(rules, asked(Authorization=value + "x")) == 401


def test_03_a_secret_in_the_query_is_not_where_the_pbx_puts_it() -> None:
    assert status_of(SECRET, asked("/yeastar?Secret=s3cr3t")) == 401


def test_04_each_channel_begins_with_its_first_audio() -> None:
    app = AppSession(DIALECT, now=0.0)
    opened, *rest = app.receive(message(INSIDE), 0.0)
    assert isinstance(opened, e.SessionOpened)
    assert (opened.dialect, opened.profile, opened.call_id) == ("yeastar", "8000", CALL)
    assert opened.ids == {"callid": CALL}
    assert opened.reply_format is None
    assert opened.caller_format == YeastarProfile().audio
    assert opened.capabilities.call_continues
    assert rest == [started(INSIDE), e.AudioReceived(PIECE, INSIDE)]
    assert app.receive(message(OUTSIDE), 0.01) == [started(OUTSIDE), e.AudioReceived(PIECE, OUTSIDE)]
    assert app.receive(message(INSIDE), 0.08) == [e.AudioReceived(PIECE, INSIDE)]


@pytest.mark.parametrize(("rate", "seconds"), [(8000, 8.0), (16000, 4.0)])
def test_05_and_06_only_the_configuration_tells_the_rate(rate: int, seconds: float) -> None:
    app = AppSession(DIALECT, YeastarProfile(rate=rate))
    audio = b"".join(heard(app.receive(message(), i * FRAGMENT / 2 / rate), INSIDE) for i in range(100))
    assert len(audio) == 2 * 64_000
    assert app.opened is not None
    assert app.opened.caller_format.seconds(len(audio)) == pytest.approx(seconds)
    assert not app.counters


@pytest.mark.parametrize(("rate", "real"), [(16000, 8000), (8000, 16000)])
def test_07_a_wrong_rate_is_suspected_once_per_track_and_nothing_changes(rate: int, real: int) -> None:
    app = AppSession(DIALECT, YeastarProfile(rate=rate))
    out: list[Output] = []
    suspected_at = {}
    for number in range(100):
        now = number * FRAGMENT / 2 / real
        for channel in (INSIDE, OUTSIDE):
            for said in app.receive(message(channel), now):
                out.append(said)
                if isinstance(said, e.Tolerated):
                    assert said.name == "rate_mismatch_suspected"
                    assert said.detail.startswith(f"{channel}: about {real} samples per second arrive; configured")
                    suspected_at[channel] = now
    assert suspected_at == {INSIDE: pytest.approx(2.0, abs=0.09), OUTSIDE: pytest.approx(2.0, abs=0.09)}
    assert app.counters == {"rate_mismatch_suspected": 2}
    assert heard(out, INSIDE) == PIECE * 100


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.tuples(st.sampled_from([INSIDE, OUTSIDE, "c"]), st.binary(min_size=1, max_size=60))))
def test_09_channels_stay_apart_in_any_order(order: list[tuple[str, bytes]]) -> None:
    app = AppSession(DIALECT)
    out = [said for channel, data in order for said in app.receive(message(channel, data), 0.0)]
    for channel in (INSIDE, OUTSIDE, "c"):
        said = b"".join(data for name, data in order if name == channel)
        assert heard(out, channel) == said[: len(said) // 2 * 2]


def test_10_one_channel_ends_and_the_other_goes_on() -> None:
    app = tapped()
    assert app.receive(end(INSIDE), 1.0) == [e.TrackEnded(INSIDE)]
    assert app.receive(message(OUTSIDE), 0.08) == [
        e.Tolerated("gap", f"{OUTSIDE}: 920 ms without audio"),
        e.AudioReceived(PIECE, OUTSIDE),
    ]
    assert app.state is State.OPEN
    assert app.next_timeout() is None


def test_11_when_all_have_left_the_pbx_closes() -> None:
    app = tapped()
    app.receive(end(INSIDE), 1.0)
    assert app.receive(end(OUTSIDE), 1.0) == [e.TrackEnded(OUTSIDE), e.SessionEnding("every party has left")]
    assert app.state is State.ENDING
    assert app.receive_close(1000, 1.2) == [CloseLink(1000), closed(1000, "normal end")]


def test_12_without_a_close_we_close_after_five_seconds() -> None:
    app = tapped(INSIDE)
    app.receive(end(), 1.0)
    assert app.next_timeout() == 6.0
    assert app.handle_timeout(5.9) == []
    [close, last] = app.handle_timeout(6.0)
    assert close == CloseLink(1000)
    assert isinstance(last, e.SessionClosed)


def test_12_somebody_may_come_while_the_close_is_awaited() -> None:
    app = tapped(INSIDE)
    app.receive(end(), 1.0)
    assert app.receive(message(OUTSIDE), 3.0) == [started(OUTSIDE), e.AudioReceived(PIECE, OUTSIDE)]
    assert (app.state, app.next_timeout()) == (State.OPEN, None)
    assert app.receive(end(OUTSIDE), 4.0)[1:] == [e.SessionEnding("every party has left")]
    assert app.next_timeout() == 9.0


def test_13_a_lost_connection_ends_every_open_track() -> None:
    app = tapped()
    app.receive(end(INSIDE), 1.0)
    app.receive(message("third"), 1.0)
    lost = "reset by peer"
    assert app.receive_close(None, 1.5, lost) == [
        e.TrackEnded(OUTSIDE, lost),
        e.TrackEnded("third", lost),
        closed(None, lost, is_clean=False),
    ]
    assert app.next_timeout() is None


BROKEN = {
    message()[:-3]: "unreadable_message",
    message().replace('", "', '" "', 1): "unreadable_message",
    "[]": "unreadable_message",
    '"process"': "unreadable_message",
    "": "unreadable_message",
    message(audio=[1]): "unreadable_message",
    message(number="9" * 300): "unreadable_message",
    message(audio="AAAA!AAA"): "unreadable_audio",
    message(audio="AAAAA"): "unreadable_audio",
    message(audio="AA=A"): "unreadable_audio",
    message(audio="é"): "unreadable_audio",
}


@pytest.mark.parametrize(("text", "name"), list(BROKEN.items()))
def test_14_what_cannot_be_read_costs_itself_alone(text: str, name: str) -> None:
    app = tapped(INSIDE)
    for number in range(1, 301):
        [said] = app.receive(text, 0.01)
        assert isinstance(said, e.Tolerated)
        assert said.name == name
        assert app.counters == {name: number}
    assert app.receive(message(), 0.08) == [e.AudioReceived(PIECE, INSIDE)]


@pytest.mark.parametrize(
    "callflow", ["", "ivr", "queue", "ringgroup", "cfd", "conference", "multicast_paging", "something new"]
)
def test_15_the_callflow_is_passed_on(callflow: str) -> None:
    app = tapped(OUTSIDE)
    first, _ = app.receive(message(INSIDE, callflow=callflow), 0.0)
    assert first == started(INSIDE, callflow=callflow)
    assert app.receive(message(INSIDE, callflow="x", number="7"), 0.0) == [
        e.TrackUpdated(INSIDE, details(INSIDE, callflow="x", number="7")),
        e.AudioReceived(PIECE, INSIDE),
    ]
    assert app.receive(message(INSIDE, callflow="x", number="7"), 0.0) == [e.AudioReceived(PIECE, INSIDE)]


def test_16_a_third_channel_comes_and_goes() -> None:
    app = tapped()
    out = app.receive(message("third"), 5.0)
    assert out[0] == e.TrackStarted(
        track="third",
        format=YeastarProfile().audio,
        details={"callid": CALL, "number": "3000", "callflow": "queue"},
    )
    assert app.receive(end("third"), 6.0) == [e.TrackEnded("third")]
    assert app.state is State.OPEN


def test_17_one_call_on_two_sockets_is_two_sessions() -> None:
    first, second = tapped(INSIDE), tapped(OUTSIDE)
    assert first.opened is not None
    assert second.opened is not None
    assert first.opened.call_id == second.opened.call_id == CALL
    first.receive(end(INSIDE), 1.0)
    assert (first.state, second.state) == (State.ENDING, State.OPEN)


@pytest.mark.parametrize(
    "command",
    [
        c.SendAudio(PIECE),
        c.ClearPlayout(),
        c.Answer(),
        c.Reject(),
        c.SendDigit("1"),
        c.PlaceMark("m"),
        c.EndUtterance(),
        c.SetDirection(e.Direction.IN),
        c.RequestStatus(),
    ],
)
def test_18_a_tap_takes_no_commands(command: c.Command) -> None:
    app = tapped()
    with pytest.raises(Unsupported, match=rf"only lets us listen: {type(command).__name__} .* own interface"):
        app.send(command, 0.0)
    assert app.state is State.OPEN
    with pytest.raises(LocalProtocolError):
        AppSession(DIALECT).send(command, 0.0)


@pytest.mark.parametrize("when", c.When)
def test_18_a_hang_up_ends_the_tap_alone(when: c.When) -> None:
    app = tapped(INSIDE)
    out = app.send(c.HangUp(when), 1.0)
    assert out == [
        CloseLink(1000),
        e.TrackEnded(INSIDE, "normal end"),
        closed(1000, "normal end", initiator=e.Side.APP),
    ]
    ending = tapped(INSIDE)
    ending.receive(end(), 1.0)
    assert ending.send(c.HangUp(when), 1.0) == [CloseLink(1000), closed(1000, "normal end", initiator=e.Side.APP)]


def test_20_odd_bytes_are_carried() -> None:
    app = AppSession(DIALECT)
    audio = bytes(number % 251 for number in range(1000 * 641))
    out: list[Output] = []
    for number in range(1000):
        out += app.receive(message(data=audio[number * 641 : (number + 1) * 641]), number * 0.04)
    assert heard(out, INSIDE) == audio
    assert all(len(said.data) % 2 == 0 for said in out if isinstance(said, e.AudioReceived))
    assert app.counters == {"odd_audio": 1000}


def test_21_audio_after_the_end_is_a_new_generation() -> None:
    app = tapped()
    app.receive(message(INSIDE, b"odd"), 0.0)
    app.receive(end(INSIDE), 0.1)
    for number in ("2", "3"):
        assert app.receive(message(INSIDE, b"1234"), 0.2) == [
            e.Tolerated("audio_after_end", INSIDE),
            started(INSIDE, generation=number),
            e.AudioReceived(b"1234", INSIDE),
        ]
        assert app.receive(message(INSIDE, b"1234"), 0.2) == [e.AudioReceived(b"1234", INSIDE)]
        assert app.receive(end(INSIDE), 0.3) == [e.TrackEnded(INSIDE)]
    assert app.counters == {"odd_audio": 1, "audio_after_end": 2}


def test_22_silence_ends_nothing() -> None:
    app = tapped(INSIDE)
    assert app.next_timeout() is None
    assert app.handle_timeout(86400.0) == []
    assert app.state is State.OPEN


def test_before_anybody_speaks_a_socket_may_be_silent_for_long() -> None:
    app = AppSession(DIALECT, now=10.0)
    assert app.next_timeout() == 40.0
    assert app.handle_timeout(40.0) == [e.Tolerated("quiet_opening", "silent for 30 s")]
    assert app.next_timeout() is None
    assert isinstance(app.receive(message(), 500.0)[0], e.SessionOpened)
    silent = AppSession(DIALECT, now=10.0)
    assert silent.receive_close(1000, 11.0) == [CloseLink(1000), closed(1000, "normal end")]


def test_the_dialect_is_known_by_path_and_by_its_first_message() -> None:
    assert dialects.detect(path="/yeastar") is DIALECT
    assert dialects.detect(" " + message()) is DIALECT
    for text in ('{"callid":"x","status":"y"}', '{"event":"MEDIA_START"}', "callid channelid status", "[]"):
        assert dialects.detect(text) is not DIALECT
