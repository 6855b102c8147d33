"""Both ends of a jambonz stream at once: whatever is said, marks, clears and the goodbye stay in order."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.jambonz import DIALECT, JambonzProfile
from callstream_core.errors import LocalProtocolError
from callstream_core.machine import State
from callstream_core.platform_session import PlatformSession
from tests.pair import Pair

OTHERS: dict[str, c.Command] = {
    "pause": c.PausePlayout(),
    "resume": c.ResumePlayout(),
    "forget": c.ForgetMarks(),
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("speak"), st.sampled_from([1, 20, 100, 170, 500, 1500])),
        st.tuples(st.just("wait"), st.sampled_from([1, 20, 130, 700])),
        st.tuples(st.sampled_from(["mark", "end", "clear", "pause", "resume", "forget"]), st.just(0)),
    ),
    max_size=25,
)


TURN = 30000


def words(start: int, count: int) -> bytes:
    """Return samples of which no two nearby are alike, and none is silence."""
    return b"".join((1 + (start + n) % TURN).to_bytes(2, "little") for n in range(count))


@given(
    steps=STEPS,
    rate=st.sampled_from([8000, 16000]),
    delay=st.sampled_from([0.0, 0.03]),
    channel_rate=st.sampled_from([8000, 16000]),
)
@settings(max_examples=60, deadline=None)
def test_two_ends_of_a_stream(steps: list[tuple[str, int]], rate: int, delay: float, channel_rate: int) -> None:
    profile = JambonzProfile(sample_rate=rate, channel_rate=channel_rate)
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT, profile), delay=delay)
    pair.open()
    said = clears = 0
    marks: list[str] = []
    last = b""
    for kind, amount in steps:
        try:
            if kind == "speak":
                data = words(said, rate * amount // 1000)
                pair.say(c.SendAudio(data))
                said += len(data) // 2
                last += data
            elif kind == "wait":
                pair.run(amount / 1000)
            elif kind in ("mark", "end"):
                pair.say(c.PlaceMark(str(said)) if kind == "mark" else c.EndUtterance(str(said)))
                marks.append(str(said))
            elif kind == "clear":
                pair.say(c.ClearPlayout())
                clears += 1
                last = b""
                # What is cleared may hide the numbers' turn: begin a new one, which shows.
                said += -said % TURN
            else:
                pair.say(OTHERS[kind])
        except LocalProtocolError:
            assert kind in ("mark", "end")
    pair.say(c.HangUp(c.When.AFTER_PLAYOUT))
    assert pair.run_until(lambda: pair.platform.state is State.CLOSED, pair.now + 60)
    pair.run(1)
    answered = [mark.name for mark in pair.app_heard(e.MarkReached) if isinstance(mark, e.MarkReached)]
    assert answered == marks
    assert len(pair.app_heard(e.PlayoutCleared)) == clears
    assert not pair.app_heard(e.PeerMisbehaved)
    assert not pair.platform_heard(e.PeerMisbehaved)
    played = b"".join(frame.data for frame in pair.played)
    heard = [played[at : at + 2] for at in range(0, len(played), 2) if played[at : at + 2] != b"\0\0"]
    numbers = [int.from_bytes(sample, "little") for sample in heard]
    assert all(after > before or after == 1 for before, after in itertools.pairwise(numbers)), "in order"
    assert b"".join(heard).endswith(last), "the goodbye is heard whole"
