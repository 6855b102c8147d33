"""The simulated driver against its conformance cases: flow control, modes, the WebSocket, the end and the clock."""

from __future__ import annotations

import pytest

from callstream_core import events as e
from callstream_core.dialects.asterisk import ClientSection, Generation
from callstream_core.errors import LocalProtocolError
from tests.dialects.driver import (
    ALL,
    G1,
    G2,
    G2_21,
    G3,
    G4,
    G5,
    G6,
    JSON,
    PLAIN,
    SINCE_G2,
    SINCE_G3,
    SINCE_G4,
    Call,
    WireCall,
)
from tests.dialects.recordings import frame

PASSTHROUGH = "{} not supported in passthrough mode"
WHILE_IN = "{} not supported while media direction is 'in'"


@pytest.mark.parametrize("generation", ALL)
def test_d33_the_900th_frame_says_stop(generation: Generation) -> None:
    call = Call(generation)
    # Generation 1 does not understand it; no tick passes here anyway.
    is_paused = generation > G1
    assert call.app(call.say("PAUSE_MEDIA"), *[160] * 899) == []
    assert call.app(call.say("GET_STATUS")) == [call.status(899, paused=is_paused)]
    assert call.app(160) == [call.event("MEDIA_XOFF")]
    assert call.app(call.say("GET_STATUS")) == [call.status(900, full=True, paused=is_paused)]


@pytest.mark.parametrize("generation", ALL)
def test_d34_a_message_that_finds_less_than_1000_frames_is_taken_whole(generation: Generation) -> None:
    call = Call(generation)
    full = {"full": True, "paused": generation > G1}
    assert call.app(call.say("PAUSE_MEDIA"), *[160] * 999) == [call.event("MEDIA_XOFF")]
    assert call.app(65440, call.say("GET_STATUS")) == [call.status(1408, **full)]
    assert call.app(160, call.say("GET_STATUS")) == [call.status(1408, **full)]
    assert call.warnings[-1] == "160 bytes of audio dropped: 1408 frames are queued"
    assert call.app(call.say("MARK_MEDIA"), call.say("GET_STATUS")) == [call.status(1408, **full)]


@pytest.mark.parametrize("generation", ALL)
def test_d35_it_says_go_below_800_frames(generation: Generation) -> None:
    call = Call(generation, format="gsm")
    assert call.app(455 * 33, 455 * 33) == [call.event("MEDIA_XOFF")]
    assert call.ticks(111) == [["core 33"]] * 111
    assert call.tick() == [call.event("MEDIA_XON"), "core 33"]
    assert call.ticks(798) == [["core 33"]] * 798
    assert call.tick() == call.idle
    assert call.played == call.sent


@pytest.mark.parametrize("generation", SINCE_G2)
def test_d36_a_full_queue_says_nothing_while_paused(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(call.say("PAUSE_MEDIA"), *[160] * 900) == [call.event("MEDIA_XOFF")]
    assert call.app(call.say("FLUSH_MEDIA")) == []
    assert call.ticks(10) == [call.idle] * 10
    assert call.app(call.say("GET_STATUS")) == [call.status(0, full=True, paused=True)]
    assert call.app(call.say("CONTINUE_MEDIA")) == []
    assert call.ticks(2) == [[call.event("MEDIA_XON"), *call.idle], call.idle]


@pytest.mark.parametrize("generation", ALL)
def test_d37_a_flush_of_a_full_queue_says_go_at_the_next_tick(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(*[160] * 900, call.say("FLUSH_MEDIA")) == [call.event("MEDIA_XOFF")]
    assert call.ticks(2) == [[call.event("MEDIA_XON"), *call.idle], call.idle]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d38_passthrough_plays_one_message_per_tick(generation: Generation) -> None:
    call = Call(generation, passthrough=True)
    assert "160" in call.opened[0]
    assert call.app(480, 37, 0, 160) == []
    assert call.ticks(5) == [["core 480"], ["core 37"], ["core 0"], ["core 160"], call.idle]
    assert call.played == call.sent


@pytest.mark.parametrize("syntax", [JSON, PLAIN])
@pytest.mark.parametrize("generation", SINCE_G3)
def test_d39_passthrough_refuses_what_needs_frames(generation: Generation, syntax: object) -> None:
    call = Call(generation, JSON if syntax is JSON else PLAIN, passthrough=True)
    refused = [
        "START_MEDIA_BUFFERING",
        "STOP_MEDIA_BUFFERING",
        "MARK_MEDIA",
        "PAUSE_MEDIA",
        "CONTINUE_MEDIA",
        "FLUSH_MEDIA",
        "REPORT_QUEUE_DRAINED",
    ]
    if generation in SINCE_G4:
        refused.append("SET_MEDIA_DIRECTION")
    assert call.app(*map(call.say, refused)) == [call.error(PASSTHROUGH.format(name)) for name in refused]
    assert call.app(call.say("GET_STATUS"), call.say("ANSWER")) == [call.status(0)]
    assert call.ticks(10) == [call.idle] * 10
    assert call.app(call.say("HANGUP")) == ["close 1000"]


@pytest.mark.parametrize("generation", [G1, G2_21, G2])
def test_d40_early_generations_refuse_silently(generation: Generation) -> None:
    call = Call(generation, passthrough=True)
    assert call.app("FLUSH_MEDIA") == []
    assert call.ticks(10) == [call.idle] * 10


@pytest.mark.parametrize("generation", SINCE_G4)
def test_d41_a_direction_needs_json(generation: Generation) -> None:
    call = Call(generation, PLAIN)
    assert call.app("SET_MEDIA_DIRECTION in") == [call.error("SET_MEDIA_DIRECTION only supports JSON format.\n")]
    call = Call(generation, PLAIN, passthrough=True)
    assert call.app("SET_MEDIA_DIRECTION in") == [call.error(PASSTHROUGH.format("SET_MEDIA_DIRECTION"))]


@pytest.mark.parametrize("generation", SINCE_G4)
def test_d42_a_direction_must_be_known(generation: Generation) -> None:
    call = Call(generation)
    missing = r"SET_MEDIA_DIRECTION requires a 'direction' parameter." + "\n"
    assert call.app(call.say("SET_MEDIA_DIRECTION")) == [call.error(missing)]
    assert call.app(call.say("SET_MEDIA_DIRECTION", direction=1)) == [call.error(missing)]
    assert call.app(call.say("SET_MEDIA_DIRECTION", direction="IN")) == [
        call.error("'IN' is not a valid direction for SET_MEDIA_DIRECTION.\n")
    ]
    assert call.app(call.say("GET_STATUS")) == [call.status(0)]


@pytest.mark.parametrize("generation", SINCE_G4)
def test_d43_direction_in_stops_the_timer(generation: Generation) -> None:
    call = Call(generation, direction=e.Direction.IN)
    say = call.say
    assert call.app(320) == []
    assert call.app(say("START_MEDIA_BUFFERING"), say("MARK_MEDIA")) == [
        call.error(WHILE_IN.format("START_MEDIA_BUFFERING")),
        call.error(WHILE_IN.format("MARK_MEDIA")),
    ]
    assert call.app(say("REPORT_QUEUE_DRAINED"), say("GET_STATUS")) == [call.status(0)]
    assert call.ticks(10) == [[]] * 10
    assert call.app(say("SET_MEDIA_DIRECTION", direction="both")) == []
    call.restarts()
    assert call.ticks(2) == [[call.event("QUEUE_DRAINED")], []]


@pytest.mark.parametrize("generation", SINCE_G4)
def test_d44_direction_out_keeps_the_callers_audio(generation: Generation) -> None:
    call = Call(generation, direction=e.Direction.OUT)
    assert call.core(160) == []
    assert call.core_event(e.DigitReceived("5")) == [call.event("DTMF_END", digit="5")]
    assert call.app(160) == []
    assert call.tick() == ["core 160"]


@pytest.mark.parametrize("generation", SINCE_G4)
def test_d45_direction_in_freezes_the_queue(generation: Generation) -> None:
    call = Call(generation)
    say = call.say
    assert call.app(say("PAUSE_MEDIA"), 800, say("SET_MEDIA_DIRECTION", direction="in")) == []
    assert call.app(say("GET_STATUS"), 800, say("GET_STATUS")) == [call.status(5, paused=True)] * 2
    assert call.app(say("FLUSH_MEDIA"), say("GET_STATUS")) == [call.status(0, paused=True)]
    assert call.core(160) == ["audio 160"]
    assert call.app(say("SET_MEDIA_DIRECTION", direction="in"), say("SET_MEDIA_DIRECTION", direction="out")) == []
    assert call.core(160) == []


@pytest.mark.parametrize("generation", SINCE_G4)
@pytest.mark.parametrize("direction", ["both", "out"])
def test_d45_the_timer_runs_on_where_the_application_is_heard_all_along(generation: Generation, direction: str) -> None:
    call = Call(generation)
    assert call.app(480) == []
    assert call.tick() == ["core 160"]
    assert call.app(call.say("SET_MEDIA_DIRECTION", direction=direction)) == []
    assert call.ticks(3) == [["core 160"], ["core 160"], []]


@pytest.mark.parametrize("generation", ALL)
def test_d46_the_cores_frames_leave_at_once_whatever_their_size(generation: Generation) -> None:
    call = Call(generation)
    assert call.core(160, 240, 50, 0) == ["audio 160", "audio 240", "audio 50", "audio 0"]


@pytest.mark.parametrize("generation", ALL)
def test_d47_digits(generation: Generation) -> None:
    expected = "DTMF_END digit:#" + (" channel_id:1795196411.3" if generation >= G2 else "")
    assert Call(generation, PLAIN).core_event(e.DigitReceived("#")) == [expected]
    if generation >= G3:
        expected = '{"event":"DTMF_END","channel_id":"1795196411.3","digit":"#"}'
        assert Call(generation, JSON).core_event(e.DigitReceived("#")) == [expected]


@pytest.mark.parametrize("generation", ALL)
def test_d48_a_hang_up_drops_everything(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(16000, call.say("MARK_MEDIA"), call.say("HANGUP")) == ["close 1000"]
    assert call.session.next_timeout() is None
    assert call.ticks(10) == [[]] * 10
    assert call.app(call.say("GET_STATUS"), 160) == []
    with pytest.raises(LocalProtocolError):
        call.core(160)


@pytest.mark.parametrize(
    ("generation", "codes"),
    [(G1, (1000, 1000)), (G2, (1000, 1000)), (G3, (1001, 1001)), (G5, (1001, 1001)), (G6, (4000, 1000))],
)
def test_d49_the_answer_to_a_close(generation: Generation, codes: tuple[int, int]) -> None:
    assert WireCall(generation).wire(frame(8, (4000).to_bytes(2))) == [f"close {codes[0]}"]
    assert WireCall(generation).wire(frame(8, b"")) == [f"close {codes[1]}"]
    assert WireCall(generation).wire(frame(8, b"x")) == [f"close {codes[1]}"]


@pytest.mark.parametrize("generation", ALL)
def test_d50_a_lost_connection_is_not_answered(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(160) == []
    outputs = call.session.receive_close(None, call.now)
    assert outputs == [
        e.SessionClosed(
            initiator=e.Side.APP,
            code=None,
            reason="the connection was lost without a close",
            is_clean=False,
            call_continues=None,
        )
    ]
    assert call.ticks(10) == [[]] * 10
    assert call.cut() == []


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize(("is_server", "largest"), [(False, 65531), (True, 65527)])
def test_d51_a_frame_has_65535_bytes_at_most(generation: Generation, is_server: bool, largest: int) -> None:
    call = WireCall(generation, is_server=is_server)
    assert call.wire(frame(2, bytes(largest), is_masked=is_server)) == []
    assert call.app(call.say("GET_STATUS")) == [call.status(409)]
    # Said before the payload is there.
    too_long = frame(2, bytes(largest + 1), is_masked=is_server)
    assert call.wire(too_long[: 8 if is_server else 4]) == ["close 1009"]
    assert call.wire(too_long[8:]) == []


@pytest.mark.parametrize("generation", ALL)
def test_d52_an_unknown_opcode_ends_the_call(generation: Generation) -> None:
    assert WireCall(generation).wire(frame(3, b"x")) == ["close 1003"]


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (G1, (51, 1, 10, 10)),
        (G2, (51, 1, 10, 10)),
        (G3, ("close 1003",) * 4),
        (G4, ("close 1003",) * 4),
        (G5, ("close 1003", 1, 2, "close 1003")),
        (G6, ("close 1003", 1, 2, "close 1003")),
    ],
)
def test_d53_fragments(generation: Generation, expected: tuple[int | str, ...]) -> None:
    found: list[int | str] = []
    for sizes in ((4096, 4096), (100, 60), (600, 600, 400), (1024, 576)):
        call = WireCall(generation)
        heard: list[str] = []
        for n, size in enumerate(sizes):
            heard += call.wire(frame(0 if n else 2, bytes(size), is_final=n == len(sizes) - 1))
        found += heard or [call.session.playout.queue_length]
    assert tuple(found) == expected


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize("is_server", [False, True])
def test_d54_pings_are_answered_and_pongs_are_not(generation: Generation, is_server: bool) -> None:
    call = WireCall(generation, is_server=is_server)
    assert call.wire(frame(9, b"hi", is_masked=is_server)) == ["pong 6869"]
    assert call.wire(frame(10, b"hi", is_masked=is_server)) == []
    assert [w.partition(":")[0] for w in call.warnings] == (["would_crash"] if generation is G6 and is_server else [])


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d55_what_comes_at_the_instant_of_a_tick_comes_before_it(generation: Generation) -> None:
    call = Call(generation)
    assert call.ticks(7) == [call.idle] * 7
    assert call.app(160, call.say("GET_STATUS"), at=call.next_tick) == [call.status(1)]
    assert call.ticks(2) == [["core 160"], call.idle]


@pytest.mark.parametrize("generation", ALL)
def test_d56_ticks_are_whole_fractions_of_a_second(generation: Generation) -> None:
    call = Call(generation, format="g723")
    assert call.app(20 * 20) == []
    assert call.ticks(20) == [["core 20"]] * 20
    assert call.played_at == [pytest.approx(n / 33) for n in range(1, 21)]


@pytest.mark.parametrize("generation", ALL)
def test_d57_ticks_that_come_late_are_merged(generation: Generation) -> None:
    call = Call(generation, merges_ticks=True)
    assert call.app(1600) == []
    assert call.late_tick(5) == ["core 160"]
    assert call.app(call.say("GET_STATUS")) == [call.status(9)]
    assert call.ticks(10) == [["core 160"]] * 9 + [call.idle]


@pytest.mark.parametrize("generation", ALL)
def test_d57_missed_ticks_can_be_injected(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(1600) == []
    # Five that pile up are served as one: four are lost.
    call.session.playout.miss_ticks(4)
    assert call.ticks(5) == [[]] * 4 + [["core 160"]]
    assert call.app(call.say("GET_STATUS")) == [call.status(9)]
    assert call.ticks(10) == [["core 160"]] * 9 + [call.idle]


@pytest.mark.parametrize("generation", ALL)
def test_d57_otherwise_every_tick_that_passed_is_served(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(1600) == []
    assert call.late_tick(5) == ["core 160"] * 5
    assert call.app(call.say("GET_STATUS")) == [call.status(5)]
    assert call.ticks(6) == [["core 160"]] * 5 + [call.idle]


def test_d58_parameters_of_one_call_stick_to_the_section() -> None:
    section = ClientSection("ws://host/call", is_sticky=True)
    assert section.uri_for("a=1") == "ws://host/call?a=1"
    assert section.uri_for() == "ws://host/call?a=1"
    assert section.uri_for("b=2,c") == "ws://host/call?b=2&c"


def test_d58_without_the_switch_they_do_not() -> None:
    section = ClientSection("ws://host/call?x=y")
    assert section.uri_for("a=%201,b=2") == "ws://host/call?x=y&a=%201&b=2"
    assert section.uri_for() == "ws://host/call?x=y"
    for parameters in ("a=b c", "a=<", "a=1&b", "~", "a=%2"):
        with pytest.raises(ValueError, match=r"v\(\) takes"):
            section.uri_for(parameters)
