"""Both ends of a Sinch call at once, by the same rules as Asterisk's, without what Sinch does not have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.sinch import DIALECT, SinchProfile, Spelling
from callstream_core.limits import PlayoutSettings
from callstream_core.machine import State
from tests.core.test_pair import PAIR_SETTINGS, TwoEnds


class SinchEnds(TwoEnds):
    """Answers first; no digits, no pause, no direction, no queue level; the close is the hang-up."""

    profile: Any
    max_queue = 2_500_000 // 160
    hang_up_word = e.SessionClosed

    @initialize(
        spelling=st.sampled_from(Spelling),
        rate=st.sampled_from([8000, 11025, 44100]),
        send_ahead=st.sampled_from([None, 0.1, 1.0]),
        delay=st.sampled_from([0.0, 0.003, 0.05, 0.3]),
        start=st.sampled_from([0.0, 12345.678]),
    )
    def start(self, spelling: Spelling, rate: int, send_ahead: float | None, delay: float, start: float) -> None:
        # Nobody's patience ends here: the rules do not know about that.
        self.profile = SinchProfile(rate=rate, spelling=spelling, silence_timeout=None)
        app = AppSession(DIALECT, self.profile, settings=PlayoutSettings(send_ahead=send_ahead), now=start)
        self.begin(app, delay, start)
        self.pair.say(c.Answer())
        self.pair.run(delay)

    def pause_or_resume(self) -> None:
        """Sinch has no pause."""

    def set_direction(self) -> None:
        """Sinch has no direction."""

    @precondition(lambda self: self.is_open())
    @rule(times=st.integers(1, 3))
    def ask(self, times: int) -> None:
        for _ in range(times):
            self.pair.say(c.ReportDrained())

    @precondition(lambda self: hasattr(self, "pair") and self.pair.platform.state is State.OPEN)
    @rule(size=st.sampled_from([1, 25, 80, 120]))
    def caller_speaks(self, size: int) -> None:
        data = len(self.caller_audio).to_bytes(2) + bytes(2 * size)
        self.pair.say_event(e.AudioReceived(data))
        self.caller_audio.append(data)

    def may_complain(self) -> bool:
        return False


@pytest.mark.slow
def test_two_ends_of_sinch_whatever_they_do() -> None:
    run_state_machine_as_test(SinchEnds, settings=PAIR_SETTINGS)
