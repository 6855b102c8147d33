"""The reply stream, where its parts meet: what is accepted while playout stands still."""

from __future__ import annotations

from callstream_core import AppSession, PlayoutSettings, dialects
from callstream_core import commands as c
from callstream_core.outputs import Transmit

START = "MEDIA_START connection_id:c channel:W/c/0x1 channel_id:1.0 format:ulaw optimal_frame_size:160 ptime:20"


def sizes(outputs: list[object]) -> list[int]:
    return [len(output.message) for output in outputs if isinstance(output, Transmit)]


def test_audio_beyond_the_send_ahead_waits_for_the_end_of_a_pause() -> None:
    app = AppSession(dialects.get("asterisk"), settings=PlayoutSettings(send_ahead=1.0, status_interval=None))
    app.receive(START, 0.0)
    app.send(c.PausePlayout(), 0.0)
    assert sizes([*app.send(c.SendAudio(bytes(12_000)), 0.0)]) == [8000]
    assert app.pending == 4000
    # Nothing is played meanwhile, so that no room comes with time.
    assert app.next_timeout() is None
    assert sizes([*app.send(c.SendAudio(bytes(160)), 5.0)]) == []
    [resume] = app.send(c.ResumePlayout(), 9.0)
    assert resume == Transmit("CONTINUE_MEDIA")
    due = app.next_timeout()
    assert due is not None
    assert 9.0 < due < 10.0
    assert sum(sizes([*app.handle_timeout(due)])) > 0


def test_an_empty_queue_is_no_step_back() -> None:
    app = AppSession(dialects.get("asterisk"), settings=PlayoutSettings(status_interval=None))
    app.receive(START, 0.0)
    app.send(c.SendAudio(bytes(8000)), 0.0)
    app.send(c.ReportDrained(), 0.0)
    # More is said before the queue has run empty, and played by the time that we hear of it.
    app.send(c.SendAudio(bytes(8000)), 0.9)
    app.receive("QUEUE_DRAINED", 1.9)
    assert app.heard(1.9) == 1.9
    assert app.heard(2.5) == 2.0
