"""An application on jambonz's audio socket, case by case."""

from __future__ import annotations

import json

import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects import jambonz
from callstream_core.dialects.jambonz import DIALECT, JambonzProfile
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_core.machine import State
from callstream_core.outputs import Transmit
from callstream_core.platform_session import PlatformSession
from tests.dialects.jambonz_ends import App, voice
from tests.pair import Pair


def test_a34_the_first_message_is_read() -> None:
    text = (
        '{"sampleRate":16000,"mixType":"stereo","callSid":"c-1","from":"4790000001","callId":"a84b@pbx",'
        '"sipStatus":200,"customerData":{"tier":"gold"},"purpose":"stt"}'
    )
    app = App(metadata=text)
    opened, caller, callee = app.opened
    assert isinstance(opened, e.SessionOpened)
    assert (opened.call_id, opened.profile, dict(opened.ids)) == (
        "c-1",
        "stereo",
        {"callSid": "c-1", "callId": "a84b@pbx"},
    )
    assert opened.variables == {"from": "4790000001", "purpose": "stt"}
    assert opened.extras["customerData"] == {"tier": "gold"}
    assert (opened.caller_format.rate, opened.caller_format.channels) == (16000, 2)
    assert opened.reply_format is not None
    assert opened.reply_format.channels == 1
    assert [track.track for track in (caller, callee) if isinstance(track, e.TrackStarted)] == ["caller", "callee"]


def test_a34_stereo_comes_as_two_tracks() -> None:
    app = App(metadata='{"sampleRate":8000,"mixType":"stereo"}')
    assert app.hear(b"LlRrMmS") == [e.AudioReceived(b"Ll", "caller"), e.AudioReceived(b"Rr", "callee")]
    assert app.hear(b"s") == [e.AudioReceived(b"Mm", "caller"), e.AudioReceived(b"Ss", "callee")]
    assert app.hear(b"x") == []


@pytest.mark.parametrize(
    ("metadata", "rate"),
    [
        ("not json", 8000),
        ('{"sampleRate":16000,"mixType":"mono","x":"a "quote""}', 16000),
        ('{"sampleRate":7000,"mixType":"quadro"}', 8000),
        ("{}", 8000),
    ],
)
def test_a34_broken_metadata_is_put_up_with(metadata: str, rate: int) -> None:
    app = App(metadata=metadata)
    opened, *rest = app.opened
    assert isinstance(opened, e.SessionOpened)
    assert opened.caller_format.rate == rate
    assert all(isinstance(event, e.Tolerated) for event in rest)
    assert app.session.state is State.OPEN


@pytest.mark.parametrize(("told", "rate"), [(16000, 16000), (0, None), ("x", 8000)])
def test_a34_metadata_may_tell_the_reply_rate(told: object, rate: int | None) -> None:
    metadata = json.dumps({"sampleRate": 8000, "mixType": "mono", jambonz.REPLY_RATE: told})
    opened = App(metadata=metadata).opened[0]
    assert isinstance(opened, e.SessionOpened)
    assert (opened.reply_format.rate if opened.reply_format else None) == rate
    opened = App(JambonzProfile(reply_rate=24000), metadata).opened[0]
    assert isinstance(opened, e.SessionOpened)
    assert opened.reply_format is not None
    assert opened.reply_format.rate == 24000


def test_a35_either_subprotocol_is_spoken() -> None:
    assert DIALECT.subprotocols == ("audio.jambonz.org", "audio.drachtio.org")


def test_a36_any_even_size_is_heard() -> None:
    app = App()
    for size in (320, 640, 8320):
        assert app.hear(bytes(size)) == [e.AudioReceived(bytes(size))]
    assert app.hear(b"abc") == [e.AudioReceived(b"ab")]
    assert app.hear(b"d") == [e.AudioReceived(b"cd")]
    assert app.hear(b"") == [e.Tolerated("end_of_audio", "no more audio will come")]


@pytest.mark.parametrize(("said", "silence"), [(0.1, 0.08), (0.02, 0.14), (0.8, 0.08)])
def test_a37_an_utterance_is_filled_up(said: float, silence: float) -> None:
    app = App()
    app.say(c.SendAudio(voice(said)))
    assert app.say(c.EndUtterance()) == [bytes(round(silence * 16000))]
    assert app.say(c.EndUtterance()) == [], "once"
    app.say(c.SendAudio(voice(0.02)))
    assert app.say(c.EndUtterance()) == [bytes(1280)]


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize("channel_rate", [8000, 16000])
@pytest.mark.parametrize("said", [0.02, 0.1, 0.17, 0.5])
def test_a37_all_of_an_utterance_is_heard(rate: int, channel_rate: int, said: float) -> None:
    profile = JambonzProfile(sample_rate=rate, channel_rate=channel_rate)
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT, profile))
    pair.open()
    for _ in range(2):
        pair.played.clear()
        pair.say(c.SendAudio(voice(said, rate)))
        pair.say(c.EndUtterance("end"))
        pair.run(1.5)
        assert b"".join(frame.data for frame in pair.played).count(voice(said, rate)) == 1
    assert pair.app_heard(e.MarkReached) == [e.MarkReached("end")] * 2


def test_a38_minus_one_is_lowered() -> None:
    app = App()
    minus_one, lower = b"\xff\xff" * 160, b"\xfe\xff" * 160
    assert app.say(c.SendAudio(minus_one)) == [lower], "a mark may come while it waits to be played"
    app.say(c.PlaceMark("a"))
    assert app.say(c.SendAudio(minus_one)) == [lower]
    assert app.say(c.SendAudio(minus_one * 3)) == [lower * 3]
    apart = b"\x80\xff\xff\x00" * 80
    assert app.say(c.SendAudio(apart)) == [apart], "no sample is -1"
    low_alone = b"\xff\x00" * 160
    assert app.say(c.SendAudio(low_alone)) == [low_alone]
    late = app.say(c.SendAudio(minus_one * 100))
    assert b"\xff\xff" not in b"".join(late)


def test_a38_a_mark_behind_minus_one_is_not_early() -> None:
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT, JambonzProfile(mistakes_minus_one=True)))
    pair.open()
    pair.say(c.SendAudio(voice(0.05) + b"\xff\xff" * 400 + voice(0.5)))
    pair.say(c.EndUtterance("end"))
    pair.run(0.5)
    assert not pair.app_heard(e.MarkReached)
    pair.run(0.6)
    assert pair.app_heard(e.MarkReached) == [e.MarkReached("end")]


def test_a39_the_thirty_first_mark_is_refused() -> None:
    app = App()
    for n in range(30):
        assert app.say(c.PlaceMark(str(n))) == [f'{{"type":"mark","data":{{"name":"{n}"}}}}']
    with pytest.raises(LocalProtocolError, match="30 marks are open"):
        app.say(c.PlaceMark("30"))
    app.say(c.SendAudio(voice(0.2)))
    said = app.say(c.HangUp(c.When.AFTER_PLAYOUT))
    assert [type(message) for message in said] == [bytes], "no mark of our own, either"
    assert '{"type":"disconnect"}' in [o.message for o in app.session.handle_timeout(2.9) if isinstance(o, Transmit)], (
        "the goodbye is timed"
    )


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "line\nbreak", "nul\0", "\ud800"])
def test_a39_names_that_would_come_back_broken_are_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="no quotes, backslashes or controls"):
        App().say(c.PlaceMark(name))


def test_a40_marks_keys_and_clips_become_events() -> None:
    app = App()
    app.say(c.SendAudio(voice(0.2)))
    app.say(c.PlaceMark("a"))
    assert app.hear('{"type": "mark", "data": {"name":"a", "event": "cleared"}}') == [
        e.MarkReached("a", e.MarkOutcome.CLEARED)
    ]
    assert app.hear('{"event":"dtmf","dtmf":"7","duration":"1600"}') == [e.DigitReceived("7", 0.2)]
    done = (
        '{"type":"playDone","data":{"id":"c1","playbackSeconds":"0","playbackMilliseconds":"100",'
        '"playbackLastOffsetPos":"800"}}'
    )
    assert app.hear(done) == [e.ClipPlayed(name="c1", duration=0.1, last_sample=800)]
    assert app.hear('{"bye":true}') == [e.MessageIgnored('{"bye":true}')]


# One playout model


def test_a_clear_reaches_what_is_held_back() -> None:
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT))
    pair.open()
    pair.say(c.SendAudio(voice(0.3) + b"\x07\x00" * 160 * 3))
    pair.say(c.PlaceMark("a"))
    pair.run(0.1)
    out = pair.say(c.ClearPlayout())
    assert [o.message for o in out if isinstance(o, Transmit)] == [
        '{"type":"killAudio"}',
        bytes(1280),
        '{"type":"killAudio"}',
    ]
    assert out[-2:-1] == [e.MarkReached("a", e.MarkOutcome.CLEARED)]
    pair.played.clear()
    pair.say(c.PlaceMark("a"))
    pair.say(c.SendAudio(b"\x01\x00" * 1600))
    pair.say(c.EndUtterance())
    pair.run(2)
    played = b"".join(frame.data for frame in pair.played)
    assert b"\x07\x00" not in played
    assert played.count(b"\x01\x00" * 1600) == 1
    assert pair.app_heard(e.MarkReached)[1:] == [e.MarkReached("a")], "the cleared one is not taken for the new one"
    assert pair.app.counters["late_marks"] == 1


def test_a_pause_holds_back_what_is_not_sent() -> None:
    app = App()
    app.say(c.SendAudio(voice(1.5)))
    assert app.say(c.PausePlayout()) == []
    assert app.say(c.SendAudio(voice(0.5))) == []
    assert app.session.handle_timeout(5.0) == []
    assert sum(map(len, app.say(c.ResumePlayout(), 5.0))) == 16000
    app.say(c.PausePlayout(), 9.0)
    assert app.say(c.ClearPlayout(), 9.0)[-1] == e.PlayoutCleared(heard=2.0, discarded=0.0, is_estimated=True)
    assert app.say(c.SendAudio(voice(0.02)), 9.0) == [voice(0.02)], "a clear ends the pause"


def test_forgotten_marks_are_answered() -> None:
    app = App()
    app.say(c.SendAudio(voice(1.5)))
    app.say(c.PlaceMark("waits"))
    assert app.say(c.ForgetMarks()) == ['{"type":"clearMarks"}', e.MarkReached("waits", e.MarkOutcome.CLEARED)]
    app.session.handle_timeout(2.0)
    app.say(c.PlaceMark("sent"), 3.0)
    assert app.say(c.ForgetMarks(), 3.0)[1:] == [e.MarkReached("sent", e.MarkOutcome.CLEARED)]
    assert app.say(c.ForgetMarks(), 3.0)[1:] == []
    assert app.hear('{"type": "mark", "data": {"name":"sent", "event": "cleared"}}', 3.0) == []
    assert app.session.counters["late_marks"] == 1


def test_a_report_waits_for_its_turn_and_survives_a_clear() -> None:
    app = App()
    app.say(c.SendAudio(voice(1.5)))
    app.say(c.ReportDrained())
    app.say(c.ClearPlayout())
    assert e.PlayoutDrained(is_estimated=True) in app.session.handle_timeout(0.5)


def test_a_goodbye_is_heard_to_its_end() -> None:
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT), delay=0.01)
    pair.open()
    pair.say(c.SendAudio(voice(0.5)))
    pair.say(c.HangUp(c.When.AFTER_PLAYOUT))
    assert pair.run_until(lambda: pair.platform.state is State.CLOSED, 5)
    assert sum(len(frame.data) for frame in pair.played) >= len(voice(0.5))
    assert pair.now == pytest.approx(pair.played[-1].at, abs=0.1)


# Clips, from the application


def test_clips_are_said_and_answered() -> None:
    profile = JambonzProfile(is_streaming=False)
    pair = Pair(AppSession(DIALECT, profile, now=0.0), PlatformSession(DIALECT, profile))
    pair.open()
    with pytest.raises(Unsupported, match="use PlayClip"):
        pair.say(c.SendAudio(voice(0.1)))
    pair.say(c.PlayClip(data=voice(0.1), rate=8000, name="a"))
    pair.say(c.PlayClip(data=voice(9), rate=8000, name="b", is_queued=False))
    pair.run(0.05)
    pair.say(c.ClearPlayout())
    pair.run(0.01)
    assert [done.name for done in pair.app_heard(e.ClipPlayed) if isinstance(done, e.ClipPlayed)] == ["a", "b"]
    pair.say(c.ReportFailure("boom"))
    pair.say(c.Answer())
    pair.say(c.HangUp())
    assert pair.run_until(lambda: pair.app.state is State.CLOSED, 5)


@pytest.mark.parametrize(
    "clip", [c.PlayClip(data=b"", kind="mp3"), c.PlayClip(data=b""), c.PlayClip(data=b"", rate=7000)]
)
def test_clips_that_would_not_be_played_are_refused(clip: c.PlayClip) -> None:
    with pytest.raises(LocalProtocolError, match=r"plays raw samples|one of the rates"):
        App(JambonzProfile(is_streaming=False)).say(clip)


def test_a_stream_takes_no_clips() -> None:
    with pytest.raises(Unsupported, match="where it plays a stream"):
        App().say(c.PlayClip(data=b"", rate=8000))
    assert PlatformSession(DIALECT).playout.add_clip(c.PlayClip(data=b"12"), 0.0)


@pytest.mark.parametrize("options", [{"sample_rate": 7000}, {"reply_rate": 0}, {"sample_rate": -8000}])
def test_a_profile_knows_its_rates(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="multiple of 8000"):
        JambonzProfile(**options)  # type: ignore[arg-type]
