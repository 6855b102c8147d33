"""What the engines do for traits that a dialect may have, where no dialect so far has them together."""

from __future__ import annotations

import attrs
import pytest

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.audio import linear
from callstream_core.dialect import Capabilities, Dialect, PlayoutTraits
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.dialects.sinch.codec import SinchCodec
from callstream_core.errors import Unsupported
from callstream_core.machine import State, conversation
from callstream_core.outputs import CloseLink, FramePlayed, Transmit
from callstream_core.playout import Playout

FORMAT = linear(8000)


class ListeningCodec(SinchCodec):
    """Announces a call on which nothing can be played, and rejects it without a word."""

    more = Capabilities(heartbeat=7.0, is_raw=True)

    @property
    def capabilities(self) -> Capabilities:
        return self.more

    def decode_event(self, message: str | bytes) -> list[e.Event]:
        [event] = super().decode_event(message)
        assert isinstance(event, e.SessionOpened)
        return [attrs.evolve(event, reply_format=None, capabilities=self.more)]

    def encode_command(self, command: c.Command) -> list[str | bytes]:
        return [] if isinstance(command, c.Reject) else list(super().encode_command(command))


class UselessCodec(ListeningCodec):
    more = Capabilities(unusable="nobody can hear this")


def listening(codec: type[SinchCodec], *, needs_answer: bool) -> tuple[AppSession, list[object]]:
    dialect = Dialect(
        name="toy",
        table=conversation(events=[e.AudioReceived], commands=[c.KeepAlive], needs_answer=needs_answer),
        codec=codec,
        profile=SinchProfile,
        recognizes=lambda _: False,
    )
    app = AppSession(dialect)
    return app, list(app.receive('{"command":"connect"}', 0.0))


def test_a_call_that_is_only_listened_to_is_kept_alive_from_the_opening_on() -> None:
    app, _ = listening(ListeningCodec, needs_answer=False)
    assert app.next_timeout() == 7.0
    # Early is a no-op, late is once.
    assert app.handle_timeout(6.9) == []
    assert app.handle_timeout(8.0) == [Transmit('{"command":"heartbeat"}')]
    assert app.next_timeout() == 15.0
    assert app.send(c.KeepAlive(), 9.0) == [Transmit('{"command":"heartbeat"}')]
    assert app.handle_timeout(15.0) == []
    assert app.next_timeout() == 16.0
    app.send(c.HangUp(), 15.5)
    assert app.next_timeout() is None


@pytest.mark.parametrize("needs_answer", [False, True])
def test_an_unusable_call_is_closed_where_there_is_no_word_for_a_rejection(needs_answer: bool) -> None:
    app, outputs = listening(UselessCodec, needs_answer=needs_answer)
    reason = "nobody can hear this"
    assert outputs[1:3] == [e.SessionEnding(reason), CloseLink(1000)]
    assert isinstance(end := outputs[3], e.SessionClosed)
    assert (end.reason, app.state) == (reason, State.CLOSED)


def test_asterisk_needs_no_sign_of_life() -> None:
    app = AppSession(dialects.get("asterisk"))
    app.receive(
        "MEDIA_START connection_id:c channel:W/c/0x1 channel_id:1.0 format:ulaw optimal_frame_size:160 ptime:20", 0.0
    )
    with pytest.raises(Unsupported, match=r"asterisk cannot do KeepAlive$"):
        app.send(c.KeepAlive(), 1.0)
    assert app.next_timeout() is None


def test_dropping_the_oldest_audio_says_what_was_to_be_said_behind_it() -> None:
    playout = Playout(PlayoutTraits(format=FORMAT, period=0.02, max_size=640))
    playout.start(0.0)
    playout.add(bytes(320))
    playout.add_notice(e.MarkReached("a"))
    playout.add(b"\x01" * 320)
    playout.add_notice(e.MarkReached("b"))
    assert playout.add(b"\x02" * 640) == [
        e.MarkReached("a"),
        e.PeerMisbehaved("overflow: the oldest 640 bytes of audio were dropped"),
    ]
    assert playout.queue_length == 2
    assert playout.tick(0.02) == [e.MarkReached("b"), FramePlayed(data=b"\x02" * 320, at=0.02)]
