"""jambonz's media server, case by case."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.jambonz import DIALECT, MixType
from callstream_core.machine import State
from tests.dialects.jambonz_ends import Call, clips, voice


def test_a1_one_subprotocol_is_offered() -> None:
    assert DIALECT.offered == ("audio.jambonz.org",)
    assert DIALECT.sends_origin


def test_a4_metadata_comes_first_flat_and_in_camel_case() -> None:
    call = Call(sample_rate=16000, mix_type=MixType.STEREO, metadata={"purpose": "stt", "to": "800"})
    [(_, text)] = call.said
    found = json.loads(text)
    assert list(found)[:3] == ["sampleRate", "mixType", "callSid"]
    assert (found["sampleRate"], found["mixType"], found["purpose"], found["sipStatus"]) == (
        16000,
        "stereo",
        "stt",
        200,
    )
    assert found["to"] == "800", "metadata is stronger"


@pytest.mark.parametrize("size", [20000])
def test_a4_metadata_is_cut(size: int) -> None:
    call = Call(metadata={"long": "ä" * size})
    assert len(call.said[0][1].encode()) <= 8192
    opened, tolerated = AppSession(DIALECT, now=0.0).receive(call.said[0][1], 0.0)
    assert isinstance(opened, e.SessionOpened)
    assert isinstance(tolerated, e.Tolerated)


@pytest.mark.parametrize(
    ("rate", "mix", "size"),
    [
        *((rate, MixType.MONO, size) for rate, size in ((8000, 320), (16000, 640), (24000, 960), (48000, 1920))),
        (64000, MixType.MONO, 2560),
        (8000, MixType.MIXED, 320),
        (8000, MixType.STEREO, 640),
        (16000, MixType.STEREO, 1280),
    ],
)
def test_a5_frames(rate: int, mix: MixType, size: int) -> None:
    call = Call(sample_rate=rate, mix_type=mix)
    assert call.profile.audio.frame_size == size
    mono = bytes(rate // 50 * 2)
    for track in call.profile.tracks:
        call.say(e.AudioReceived(mono, track))
    assert list(map(len, call.sent)) == [size]


def test_a6_a_slow_handshake_makes_one_big_message() -> None:
    call = Call(kept=0.5)
    call.say(*[e.AudioReceived(bytes(320))] * 3)
    assert list(map(len, call.sent)) == [8320, 320, 320]


def test_a7_a_pause_leaves_a_gap_and_no_burst() -> None:
    call = Call()
    call.session.direction = e.Direction.OUT
    call.say(*[e.AudioReceived(bytes(320))] * 35, e.DigitReceived("5", 0.2))
    call.session.direction = e.Direction.BOTH
    call.say(e.AudioReceived(bytes(320)))
    assert list(map(len, call.sent)) == [320]
    assert call.said[-1][1] == '{"event":"dtmf","dtmf":"5","duration":"1600"}'


def test_a8_a_tenth_of_a_second_is_never_heard() -> None:
    call = Call()
    call.app(voice(0.1))
    call.wait(3)
    assert call.heard == 0


def test_a9_of_200_ms_192_are_heard() -> None:
    call = Call()
    call.app(voice(0.2))
    call.wait(3)
    assert call.heard == pytest.approx(0.192)


def test_a10_tails_wait_for_more() -> None:
    call = Call()
    heard = []
    for seconds in (0.17, 0.06, 0.03):
        call.app(voice(seconds))
        call.wait(1)
        heard.append(call.heard)
    assert heard == pytest.approx([0.17, 0.17, 0.26])


def test_a11_real_time_starts_late_and_ends_early() -> None:
    call = Call()
    for _ in range(50):
        call.app(voice(0.02))
        call.wait(0.02)
    call.wait(3)
    assert call.heard == pytest.approx(0.96)
    assert call.played[0].at == pytest.approx(0.16, abs=0.021)


def test_a12_a_burst_is_heard_whole() -> None:
    call = Call()
    call.app(*[voice(0.02)] * 100)
    call.wait(3)
    assert call.heard == pytest.approx(2.0)


def test_a13_a_sample_may_be_split() -> None:
    call = Call()
    audio = b"".join(n.to_bytes(2, "little") for n in range(3200))
    assert call.session.playout.add(b"") == []
    call.app(audio[:1], audio[1:1001], audio[1001:])
    call.wait(2)
    played = b"".join(frame.data for frame in call.played)
    assert played == audio[: len(played)]
    assert len(played) > 6000


def test_a14_marks_between_audio() -> None:
    call = Call()
    call.mark("one")
    call.app(voice(0.5))
    call.mark("two")
    call.app(voice(0.5))
    call.mark("three")
    call.wait(3)
    assert [name for _, name, _ in call.marks] == ["one", "two", "three"]
    assert [at for at, _, _ in call.marks] == pytest.approx([0.02, 0.52, 0.98])
    assert call.said[1][1] == '{"type": "mark", "data": {"name":"one", "event": "playout"}}'


def test_a15_marks_without_audio_come_tick_by_tick() -> None:
    call = Call()
    call.mark("a", "b", "c")
    call.wait(1)
    assert [at for at, _, _ in call.marks] == pytest.approx([0.02, 0.04, 0.06])


def test_a16_thirty_marks_are_the_most() -> None:
    call = Call()
    call.mark(*(f"m{n}" for n in range(40)))
    call.app(voice(1))
    call.wait(2)
    assert [name for _, name, _ in call.marks] == [f"m{n}" for n in range(30)]


def test_a17_kill_clears_marks_and_sound() -> None:
    call = Call()
    call.mark("k1")
    call.app(voice(0.6))
    call.mark("k2")
    call.app(voice(0.6))
    call.mark("k3")
    call.wait(0.4)
    call.app({"type": "killAudio"})
    heard = call.heard
    call.wait(2)
    assert [(name, event) for _, name, event in call.marks] == [("k1", "playout"), ("k2", "cleared"), ("k3", "cleared")]
    assert call.heard == heard == pytest.approx(0.4, abs=0.021)


def test_a18_clear_marks_says_nothing() -> None:
    call = Call()
    call.mark("c1")
    call.app(voice(0.6))
    call.mark("c2")
    call.app(voice(0.6))
    call.wait(0.2)
    call.app({"type": "clearMarks"})
    call.wait(1.3)
    call.mark("c3")
    call.app(voice(0.3))
    call.wait(1)
    assert [name for _, name, _ in call.marks] == ["c1", "c3"]
    assert call.heard > 1.3


@pytest.mark.parametrize("mistakes", [False, True])
def test_a19_minus_one_is_taken_for_a_mark(mistakes: bool) -> None:
    call = Call(mistakes_minus_one=mistakes)
    call.app(voice(0.05) + b"\xff\xff" + voice(0.95))
    call.mark("end")
    call.app(voice(0.2))
    call.wait(3)
    [(at, _, _)] = call.marks
    assert at == pytest.approx(0.06 if mistakes else 1.02, abs=0.021)


def test_a19_swallowed_marks_after_a_kill() -> None:
    call = Call(swallows_marks=True)
    call.mark("k1")
    call.app(voice(0.6))
    call.mark("k2")
    call.app(voice(0.6))
    call.wait(0.4)
    call.app({"type": "killAudio"})
    for name in ("l1", "l2"):
        call.mark(name)
        call.app(voice(0.2))
    call.wait(2)
    assert [name for _, name, event in call.marks if event == "playout"] == ["k1", "l1"], "one late, the last never"


def test_a19_forgotten_names_leave_marks_in_the_stream() -> None:
    call = Call(swallows_marks=True)
    call.mark("a")
    call.app(voice(0.4))
    call.session.playout._attached.clear()  # type: ignore[attr-defined]
    call.wait(1)
    assert call.marks == []


def test_a19_resampling_loses_marks() -> None:
    call = Call(sample_rate=16000, loses_marks=True)
    for name in ("a", "b", "c"):
        call.mark(name)
        call.app(voice(0.4, 16000))
    call.wait(3)
    assert [name for _, name, _ in call.marks] == ["a"]


def test_a20_a_clip_is_ignored_in_a_stream() -> None:
    call = Call()
    call.clip(voice(0.1), id="x")
    call.session._hear_clip(c.PlayClip(data=b""), 0.0, [])
    call.wait(1)
    assert call.done == []
    assert "ignored" in call.notes[0]


def test_a24_a_mark_has_no_place_among_clips() -> None:
    call = clips()
    call.mark("never")
    call.session.playout.add_notice(e.MarkReached("never"))
    call.app({"type": "clearMarks"})
    call.wait(1)
    assert call.marks == []


def test_a25_audio_has_no_effect_among_clips() -> None:
    call = clips()
    call.app(voice(0.3))
    assert call.session.playout.add(b"12") == [
        e.PeerMisbehaved("2 bytes of audio have no effect: this call plays clips")
    ]
    call.wait(1)
    assert call.heard == 0
    assert call.notes == ["4800 bytes of audio have no effect: this call plays clips"]


def test_a26_disconnect_ends_the_verb() -> None:
    call = Call()
    call.app({"type": "disconnect"})
    assert call.closes == [1000]


def test_a27_an_error_leaves_the_socket_open() -> None:
    call = Call()
    call.app({"type": "error", "data": {"message": "boom"}}, {"type": "error", "data": {"e": 1}}, {"type": "error"})
    call.say(e.AudioReceived(bytes(320)))
    assert call.closes == []
    assert len(call.sent) == 1
    assert [note[:30] for note in call.notes] == [
        "the application failed: boom",
        'the application failed: {"e":1',
        "the application failed: {}",
    ]


@pytest.mark.parametrize(("code", "answer"), [(1000, [1000]), (4001, [4001]), (1005, [1000]), (None, [None])])
def test_a28_a_close_ends_the_verb(code: int | None, answer: list[int | None]) -> None:
    call = Call()
    call.cut(code)
    assert call.closes == ([] if code is None else answer)
    assert call.session.state is State.CLOSED


def test_a30_the_last_key_ends_the_verb() -> None:
    call = Call(finish_on_key="#")
    call.say(e.DigitReceived("1", 0.12), e.DigitReceived("#", 0.12))
    assert call.said[-1][1] == '{"event":"dtmf","dtmf":"#","duration":"960"}'
    assert call.closes == [1000]


def test_keys_are_told_only_where_that_is_asked_for() -> None:
    call = Call(pass_dtmf=False)
    call.say(e.DigitReceived("1"))
    assert len(call.said) == 1


def test_a31_the_verb_ends_when_its_time_is_up() -> None:
    call = Call(max_length=1.0)
    call.wait(0.9)
    assert call.closes == []
    call.wait(0.2)
    assert call.closes == [1000]


def test_a32_the_caller_hangs_up() -> None:
    call = Call()
    call.say(e.MessageIgnored('{"bye":true}'), e.SessionEnding())
    assert call.said[-1][1] == '{"bye":true}'
    assert call.closes == [1000]


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        '{"foo":1}',
        '{"type":"json","data":{"a":1}}',
        '{"type":"whatever"}',
        '{"type":["x"]}',
        '{"type":"mark"}',
    ],
)
def test_a33_what_is_unknown_has_no_effect(message: str) -> None:
    call = Call()
    call.app(message, b"")
    call.wait(1)
    assert (len(call.said), call.closes, len(call.notes)) == (1, [], 1)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"audioContentType": "raw"},
        {"audioContent": "A", "audioContentType": "raw"},
        {"audioContent": "ä", "audioContentType": "raw"},
    ],
)
def test_a33_a_broken_clip_has_no_effect(data: dict[str, Any]) -> None:
    call = clips()
    call.app({"type": "playAudio", "data": data})
    assert call.closes == []
    assert len(call.notes) == 1


def test_a_clip_without_its_type_ends_the_process() -> None:
    crashing, other = clips(), clips(crashes_without_type=False)
    for call in (crashing, other):
        call.app({"type": "playAudio", "data": {"audioContent": "AAAA", "sampleRate": 8000}})
    assert crashing.closes == [None]
    assert crashing.session.state is State.CLOSED
    assert other.closes == []


def test_clips_are_ignored_where_they_are_not_enabled() -> None:
    call = clips(takes_clips=False)
    call.clip(voice(0.1), id="x")
    call.wait(1)
    assert call.done == []
