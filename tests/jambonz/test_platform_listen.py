"""The simulated jambonz's `listen`, as the control socket tells of it."""

from __future__ import annotations

from callstream_core.jambonz import happenings as h
from tests.jambonz.sim import ANSWER, pause, running

LISTEN = {"verb": "listen", "id": "l", "url": "ws://app/audio", "actionHook": "/listened"}


def test_a29_a_refused_connection_ends_the_verb() -> None:
    sim = running(ANSWER, LISTEN, pause(9, "n"))
    sim.heard()
    assert sim.happen(h.VerbEnded()) == ["hook /listened"]
    assert "dial_call_duration" not in sim.question["data"], "it was never connected"
    assert sim.ack() == ["finished l", "starting n"]


def test_a_stream_that_was_connected_tells_how_long() -> None:
    sim = running(ANSWER, LISTEN, pause(9, "n"))
    sim.wait(2)
    sim.happen(h.VerbEnded({"dial_call_duration": 2}))
    assert sim.question["data"]["dial_call_duration"] == 2
