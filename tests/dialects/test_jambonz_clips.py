"""jambonz's media server, clip by clip."""

from __future__ import annotations

import pytest

from tests.dialects.jambonz_ends import Call, clips, voice


def test_a21_queued_clips_end_one_after_the_other() -> None:
    call = clips()
    call.clip(voice(0.1), id="a", queuePlay=True)
    call.clip(voice(0.1), id="b", queuePlay=True)
    call.wait(1)
    assert call.done == ["a", "b"]
    assert call.said[1] == (
        0.1,
        '{"type":"playDone","data":{"id":"a","playbackSeconds":"0","playbackMilliseconds":"100",'
        '"playbackLastOffsetPos":"800"}}',
    )


@pytest.mark.parametrize(("interrupts", "ended_at"), [(True, 0.2), (False, 1.0)])
def test_a22_a_clip_that_is_not_queued_comes_before_the_others(interrupts: bool, ended_at: float) -> None:
    call = clips(interrupts=interrupts)
    call.clip(voice(1), id="a")
    call.clip(voice(1), id="b", queuePlay=True)
    call.wait(0.2)
    call.clip(voice(0.1), id="x")
    call.wait(3)
    assert call.done == ["a", "x"]
    assert call.said[1][0] == pytest.approx(ended_at)


def test_a23_kill_ends_the_clip() -> None:
    call = clips()
    call.app({"type": "killAudio"})
    call.clip(voice(1), id="x")
    call.wait(0.15)
    call.app({"type": "killAudio"})
    assert call.done == ["x"]
    assert '"playbackMilliseconds":"150"' in call.said[-1][1]


def test_clips_of_every_kind() -> None:
    call = clips(clip_duration=0.04)
    header = b"RIFF" + bytes(20) + (16000).to_bytes(4, "little") + bytes(16)
    call.clip(header + voice(0.1), audioContentType="wav", sampleRate=None)
    call.clip(b"", audioContentType="mp3", id="never")
    call.clip(voice(0.1), sampleRate="16000", id="odd")
    call.clip(voice(0.1), queuePlay=True, id="b")
    call.wait(1)
    assert call.done == ["", "odd", "b"]
    assert call.notes == ["a clip of kind 'mp3' is not played, and nothing is said of it"]


def test_a_clip_may_be_longer_than_its_audio() -> None:
    call = clips(clip_duration=0.3)
    call.clip(voice(0.1), id="a")
    call.wait(1)
    assert call.done == ["a"]
    assert call.heard == pytest.approx(0.1)
    assert call.said[-1][0] == pytest.approx(0.3)


def test_the_media_server_takes_large_texts_and_any_pong() -> None:
    call = Call()
    assert call.profile.rules.max_message > 1_100_000
    assert call.session.receive_pong(0.0) == []


def test_twelve_clips_are_too_many() -> None:
    call = clips()
    for n in range(13):
        call.clip(voice(0.02), id=str(n), queuePlay=True)
    call.wait(2)
    assert call.done == [str(n) for n in range(12)]
