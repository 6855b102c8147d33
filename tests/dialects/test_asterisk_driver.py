"""The simulated driver against its conformance cases: control messages, framing and marks.

`core 160` is a frame of 160 bytes handed to the caller; unless stated, the channel is ulaw, so a frame has 160 bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from callstream_core.dialects.asterisk import FORMATS, Generation
from callstream_core.dialects.asterisk.profile import Syntax
from tests.dialects.driver import (
    ALL,
    G1,
    G2,
    G2_21,
    G3,
    G5,
    G6,
    JSON,
    PLAIN,
    SINCE_G2,
    SINCE_G3,
    SINCE_G4,
    Call,
)

CHANNEL = "WebSocket/conn1/0x7f20f80024c0"


def quiet(call: Call, ticks: int = 10) -> bool:
    """Tell whether the next ticks say nothing to the application; what they give the core does not matter."""
    return all(set(heard) <= {"silence", "core 160"} for heard in call.ticks(ticks))


def test_d01_the_opening_is_one_plain_line_and_then_it_answers() -> None:
    call = Call(G5, PLAIN, channel=CHANNEL, channel_id="1795196322.0")
    assert call.opened == [
        f"MEDIA_START connection_id:conn1 channel:{CHANNEL} channel_id:1795196322.0"
        " format:ulaw optimal_frame_size:160 ptime:20",
        "answered",
    ]
    assert call.ticks(10) == [[]] * 10


@pytest.mark.parametrize("generation", [G1, G2_21])
def test_d02_early_openings_have_no_channel_id(generation: Generation) -> None:
    call = Call(generation, channel=CHANNEL)
    assert call.opened == [
        f"MEDIA_START connection_id:conn1 channel:{CHANNEL} format:ulaw optimal_frame_size:160 ptime:20",
        "answered",
    ]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d03_variables_come_newest_first(generation: Generation) -> None:
    call = Call(generation, JSON, channel=CHANNEL, variables={"A": "1", "B": "2"})
    assert call.opened[0] == (
        f'{{"event":"MEDIA_START","connection_id":"conn1","channel":"{CHANNEL}","channel_id":"1795196411.3",'
        '"format":"ulaw","optimal_frame_size":160,"ptime":20,"channel_variables":{"B":"2","A":"1",'
        '"MEDIA_WEBSOCKET_CONNECTION_ID":"conn1","MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE":"160"}}'
    )


@pytest.mark.parametrize("generation", ALL)
def test_d04_it_answers_once_when_told_to(generation: Generation) -> None:
    call = Call(generation, auto_answer=False)
    assert [text for text in call.opened if "MEDIA_START" not in text] == []
    assert not call.session.is_answered
    assert call.app(call.say("ANSWER")) == ["answered"]
    assert call.app(call.say("ANSWER")) == []
    assert call.session.is_answered
    assert quiet(call)


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize("name", FORMATS)
def test_d05_the_opening_announces_the_codec(generation: Generation, name: str) -> None:
    # The table itself is in test_asterisk_codec.py.
    [text, _] = Call(generation, PLAIN, format=name).opened
    size, ptime = FORMATS[name].frame_size, 30 if name == "g723" else 20
    assert text.endswith(f" format:{name} optimal_frame_size:{size} ptime:{ptime}")


@pytest.mark.parametrize("generation", SINCE_G3)
@pytest.mark.parametrize(
    ("text", "is_heard"),
    [("  GET_STATUS \n", True), ("GET_STATUS a b", True), ("get_status", False), ("GET_STATUS\tx", False)],
)
def test_d07_plain_commands_end_at_the_first_space(generation: Generation, text: str, is_heard: bool) -> None:
    call = Call(generation, PLAIN)
    assert call.app(text) == ([call.status(0)] if is_heard else [])
    assert quiet(call)


@pytest.mark.parametrize("generation", [G1, G2_21, G2])
def test_d08_early_parsers_compare_the_whole_text(generation: Generation) -> None:
    call = Call(generation)
    assert call.app("GET_STATUS a b") == []
    assert call.app(" GET_STATUS\t") == [call.status(0)]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d09_texts_are_limited_to_128_bytes(generation: Generation) -> None:
    call = Call(generation, JSON)
    fits = '{"command":"GET_STATUS","x":"' + 97 * "a" + '"}'
    assert len(fits) == 128
    assert call.app(fits) == [call.status(0)]
    assert call.app(fits.replace("aa", "aaa", 1)) == []
    assert call.app(fits.replace("aa", "é", 1)) == [call.status(0)]
    assert call.app(fits.replace("a", "é", 1)) == []
    assert call.app(call.say("GET_STATUS").ljust(128)) == [call.status(0)]
    assert call.app(call.say("GET_STATUS").ljust(129)) == []
    assert quiet(call)


@pytest.mark.parametrize("generation", SINCE_G3)
@pytest.mark.parametrize(
    "text",
    [
        "GET_STATUS",
        '{"command":"GET_STATUS"',
        '{"command":"GET_STATUS"} x',
        '{"command":"GET_STATUS"}{"command":"GET_STATUS"}',
        '"GET_STATUS"',
        "   ",
        '{"command":"MARK_MEDIA","correlation_id":"a\\u0000b"}',
        # Byte FF, as the frame layer hands it up.
        '{"command":"MARK_MEDIA","correlation_id":"a\udcffb"}',
        # Beyond the sheet, each seen to be refused.
        '{"command":"GET_STATUS","x":9223372036854775808}',
        '{"command":"GET_STATUS","x":[-9223372036854775809]}',
        '{"command":"GET_STATUS","x":NaN}',
        '{"command":"GET_STATUS","x":1e999}',
        '{"command":"GET_STATUS","x":"\\ud800"}',
        '{"command":"GET_STATUS","x":[["\\u0000"]]}',
        '{"command":"GET_STATUS","\\u0000":1}',
    ],
)
def test_d10_what_is_not_a_json_command_is_an_error(generation: Generation, text: str) -> None:
    call = Call(generation, JSON)
    assert call.app(text) == [call.error("Unable to parse JSON command")]
    assert quiet(call)


@pytest.mark.parametrize("generation", SINCE_G3)
@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"command":123}',
        '{"command":"BOGUS"}',
        '{"Command":"GET_STATUS"}',
        '{"command":"GET_STATUS "}',
        "",
    ],
)
def test_d11_unknown_commands_are_passed_over(generation: Generation, text: str) -> None:
    call = Call(generation, JSON)
    assert call.app(text) == []
    assert len(call.warnings) == 1
    assert quiet(call)


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d12_the_last_of_two_equal_keys_counts(generation: Generation) -> None:
    call = Call(generation, JSON)
    assert call.app('{"command":"BOGUS","command":"GET_STATUS"}') == [call.status(0)]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d13_a_text_ends_at_its_first_nul(generation: Generation) -> None:
    call = Call(generation, JSON)
    assert call.app('{"command":"GET_STATUS"}\0junk') == [call.status(0)]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d14_json_on_a_plain_channel_is_unknown(generation: Generation) -> None:
    call = Call(generation, PLAIN)
    assert call.app('{"command":"GET_STATUS"}') == []
    assert quiet(call)


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d15_ids_come_back_as_json(generation: Generation) -> None:
    call = Call(generation, JSON)
    assert call.app(r'{"command":"MARK_MEDIA","correlation_id":"a b/c\"d\\e\u00fc\n\u0001\u001f\\u001f"}') == []
    assert call.tick() == [
        '{"event":"MEDIA_MARK_PROCESSED","channel_id":"1795196411.3",'
        r'"correlation_id":"a b/c\"d\\eü\n\u0001\u001F\\u001f"}',
        *call.idle,
    ]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d16_an_id_that_is_no_string_is_none(generation: Generation) -> None:
    call = Call(generation, JSON)
    for value in (42, None, {"a": 1}, ""):
        assert call.app(json.dumps({"command": "MARK_MEDIA", "correlation_id": value})) == []
    assert call.app(call.say("MARK_MEDIA")) == []
    assert call.tick() == [call.mark("")] * 5 + call.idle
    assert call.mark("").endswith('"correlation_id":""}')


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d17_plain_ids_are_the_rest_of_the_line(generation: Generation) -> None:
    call = Call(generation, PLAIN)
    assert call.app("MARK_MEDIA b b2  c", "MARK_MEDIA") == []
    assert call.tick() == ["MEDIA_MARK_PROCESSED b b2  c", "MEDIA_MARK_PROCESSED", *call.idle]


@pytest.mark.parametrize("generation", [G1, G2_21, G2])
def test_d18_early_parsers_see_stop_by_its_beginning(generation: Generation) -> None:
    call = Call(generation)
    assert call.app("STOP_MEDIA_BUFFERINGxyz") == []
    assert call.tick() == ["MEDIA_BUFFERING_COMPLETED xyz", "silence"]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d18_later_parsers_do_not(generation: Generation) -> None:
    call = Call(generation, PLAIN)
    assert call.app("STOP_MEDIA_BUFFERINGxyz") == []
    assert quiet(call)


@pytest.mark.parametrize("generation", ALL)
def test_d19_the_end_of_a_message_that_fills_no_frame_is_lost(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(580) == []
    assert call.ticks(5) == [["core 160"]] * 3 + [call.idle] * 2
    assert call.played == call.sent[:480]
    assert call.warnings == ["100 bytes of audio dropped: not a whole frame of 160"]


@pytest.mark.parametrize("generation", ALL)
def test_d20_less_than_a_frame_vanishes(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(159, 161) == []
    assert call.ticks(3) == [["core 160"], call.idle, call.idle]
    assert call.played == call.sent[159:319]


@pytest.mark.parametrize("generation", SINCE_G4)
def test_d21_buffering_cuts_frames_across_messages(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(call.say("START_MEDIA_BUFFERING"), 1000, 1000, 500, call.say("STOP_MEDIA_BUFFERING", "A")) == []
    assert call.ticks(18) == [["core 160"]] * 15 + [["core 100"], [call.completed("A")], []]
    assert call.played == call.sent


def test_d22_early_generations_fill_the_last_frame_with_silence() -> None:
    call = Call(G3)
    assert call.app(call.say("START_MEDIA_BUFFERING"), 1000, 1000, 500, call.say("STOP_MEDIA_BUFFERING", "A")) == []
    assert call.ticks(18) == [["core 160"]] * 16 + [[call.completed("A"), "silence"], ["silence"]]
    assert call.played == call.sent + 60 * b"\xff"


@pytest.mark.parametrize("generation", [*SINCE_G4[:-1]])
def test_d23_an_unfinished_frame_waits(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(call.say("START_MEDIA_BUFFERING"), 200) == []
    assert call.ticks(8) == [["core 160"]] + [[]] * 7
    assert call.app(120) == []
    assert call.ticks(3) == [["core 160"], [], []]
    assert call.played == call.sent


def test_d24_an_idle_tick_of_generation_6_plays_the_unfinished_frame() -> None:
    call = Call(G6)
    assert call.app(call.say("START_MEDIA_BUFFERING"), 200) == []
    assert call.ticks(8) == [["core 160"], ["core 40"]] + [[]] * 6
    assert call.app(120) == []
    assert call.ticks(3) == [["core 120"], [], []]


def test_d25_generation_6_leaks_the_unfinished_frame_out_of_a_pause() -> None:
    call = Call(G6)
    assert call.app(call.say("START_MEDIA_BUFFERING"), call.say("PAUSE_MEDIA"), 500) == []
    assert call.ticks(3) == [["core 20"], [], []]
    assert call.app(call.say("GET_STATUS")) == [call.status(3, bulk=True, paused=True)]
    assert call.app(call.say("CONTINUE_MEDIA")) == []
    assert call.ticks(5) == [["core 160"]] * 3 + [[]] * 2
    assert call.played == call.sent[480:] + call.sent[:480]


@pytest.mark.parametrize("generation", [*SINCE_G4[:-1]])
def test_d26_a_pause_keeps_the_unfinished_frame(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(call.say("START_MEDIA_BUFFERING"), call.say("PAUSE_MEDIA"), 500) == []
    assert call.ticks(3) == [[]] * 3
    assert call.app(call.say("GET_STATUS")) == [call.status(3, bulk=True, paused=True)]
    assert call.app(call.say("CONTINUE_MEDIA")) == []
    assert call.ticks(5) == [["core 160"]] * 3 + [[]] * 2
    assert call.app(call.say("STOP_MEDIA_BUFFERING")) == []
    assert call.ticks(2) == [["core 20"], [call.completed("")]]
    assert call.played == call.sent


@pytest.mark.parametrize("generation", SINCE_G3)
@pytest.mark.parametrize("syntax", [JSON, PLAIN])
def test_d27_marks_share_a_tick(generation: Generation, syntax: Syntax) -> None:
    call = Call(generation, syntax)
    mark = [call.say("MARK_MEDIA", name) for name in "abc"]
    assert call.app(mark[0], 320, mark[1], mark[2], call.say("REPORT_QUEUE_DRAINED")) == []
    assert call.ticks(5) == [
        [call.mark("a"), "core 160"],
        ["core 160"],
        [call.mark("b"), call.mark("c"), *call.idle],
        [call.event("QUEUE_DRAINED"), *call.idle],
        call.idle,
    ]


@pytest.mark.parametrize("generation", SINCE_G2)
def test_d28_an_empty_queue_is_reported_once(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(call.say("REPORT_QUEUE_DRAINED")) == []
    assert call.ticks(11) == [[call.event("QUEUE_DRAINED"), *call.idle]] + [call.idle] * 10


def test_d28_generation_1_never_reports() -> None:
    call = Call(G1)
    assert call.app("REPORT_QUEUE_DRAINED", "PAUSE_MEDIA", 160) == []
    assert call.ticks(3) == [["core 160"], ["silence"], ["silence"]]


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d29_a_flush_drops_marks_but_not_the_report(generation: Generation) -> None:
    call = Call(generation)
    say = call.say
    assert call.app(1600, say("MARK_MEDIA", "m"), say("REPORT_QUEUE_DRAINED"), say("FLUSH_MEDIA")) == []
    assert call.ticks(11) == [[call.event("QUEUE_DRAINED"), *call.idle]] + [call.idle] * 10


@pytest.mark.parametrize("generation", SINCE_G3)
def test_d30_a_flush_does_not_end_a_pause(generation: Generation) -> None:
    call = Call(generation)
    say = call.say
    assert call.app(say("PAUSE_MEDIA"), 320, say("MARK_MEDIA"), say("REPORT_QUEUE_DRAINED"), say("FLUSH_MEDIA")) == []
    assert call.app(say("GET_STATUS")) == [call.status(0, paused=True)]
    assert call.ticks(5) == [call.idle] * 5
    assert call.app(say("CONTINUE_MEDIA")) == []
    assert call.ticks(3) == [[call.event("QUEUE_DRAINED"), *call.idle], call.idle, call.idle]


@pytest.mark.parametrize("generation", ALL)
def test_d31_a_flush_ends_buffering(generation: Generation) -> None:
    call = Call(generation)
    say = call.say
    assert call.app(say("START_MEDIA_BUFFERING"), 1650, say("FLUSH_MEDIA"), 100, 200) == []
    assert call.app(say("GET_STATUS"), say("STOP_MEDIA_BUFFERING", "late")) == [call.status(1)]
    assert call.ticks(3) == [["core 160"], [call.completed("late"), *call.idle], call.idle]
    assert call.played == call.sent[1750:1910]


@pytest.mark.parametrize("generation", ALL)
def test_d32_a_second_start_keeps_the_unfinished_frame(generation: Generation) -> None:
    call = Call(generation)
    assert call.app(call.say("START_MEDIA_BUFFERING"), 400, call.say("START_MEDIA_BUFFERING"), 80) == []
    assert call.ticks(4) == [["core 160"]] * 3 + [call.idle]
    assert call.played == call.sent


def test_the_cases_are_complete() -> None:
    files = Path(__file__).parent.glob("test_asterisk_driver*.py")
    found = {int(n) for file in files for n in re.findall(r"^def test_d(\d\d)_", file.read_text(), re.MULTILINE)}
    # D06 is an HTTP server's: see the tests of the shell.
    assert found == set(range(1, 59)) - {6}
