"""Whatever an application says and whatever befalls its call: the simulated jambonz comes to an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import encode_ack, encode_order
from callstream_core.jambonz.phone_call import PlatformState
from callstream_core.jambonz.requestor import LinkState
from tests.jambonz import strategies
from tests.jambonz.sim import Sim

HAPPENINGS = st.sampled_from(
    (
        h.FarEndRang(),
        h.FarEndRang(183),
        h.FarEndAnswered(),
        h.FarEndRefused(),
        h.FarEndRefused(487),
        h.FarEndHungUp({"a": "b"}),
        h.FarEndPromoted(),
        h.KeyPressed("1"),
        h.KeyPressed("#", is_callee=True),
        h.CallerSpoke("x"),
        h.CallerSpoke("x", 0.5, is_final=False),
        h.CallerSpoke("y", is_callee=True),
        h.VerbEnded(),
        h.SpeechConnected(),
        h.SpeechRefused(),
        h.SpeechInterrupted(),
        h.LlmSaid({"type": "x"}),
        h.LlmCalledTool("t", "n"),
        h.HttpAnswered(),
        h.CallerHungUp(),
    )
)
STEPS = st.one_of(
    st.tuples(st.just("happen"), HAPPENINGS),
    st.tuples(st.just("order"), strategies.orders),
    st.tuples(st.just("ack"), st.none() | strategies.stacks),
    st.tuples(st.just("wait"), st.sampled_from((0.01, 0.3, 1.0, 6.0))),
    st.tuples(st.just("close"), st.sampled_from((1000, 1005, 4000, None))),
    st.tuples(st.just("opens"), st.booleans()),
)
OPTIONS = st.sampled_from(
    (
        {},
        {"participants": []},
        {"is_outbound": True},
        {"parent": {"call_sid": "p"}},
        {"loses_first_ack": True},
        {"has_status_hook": False},
    )
)


def is_talking(sim: Sim) -> bool:
    """Tell whether the application has a socket to say something on."""
    spoken = (LinkState.OPEN, LinkState.RESUMING, LinkState.MUTE)
    return sim.platform.call.links[-1].state in spoken and sim.platform.state is not PlatformState.CLOSED


def act(sim: Sim, kind: str, what: Any, asked: list[tuple[int, str]]) -> None:
    """Do one step, if it is possible."""
    link = len(sim.platform.call.links) - 1
    if kind == "wait":
        sim.wait(what)
    elif kind == "opens":
        sim.opens = what
    elif kind == "happen" and sim.platform.state is not PlatformState.CLOSED:
        sim.happen(what)
    elif kind == "close" and is_talking(sim):
        sim.close(what, link)
    elif kind == "order" and is_talking(sim):
        sim.say(encode_order(what), link)
    elif kind == "ack" and asked and is_talking(sim):
        where, msgid = asked.pop()
        sim.say(encode_ack(o.Ack(msgid, what)), where)


@given(steps=st.lists(STEPS, max_size=25), opens=st.booleans(), options=OPTIONS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_call_comes_to_an_end(steps: list[tuple[str, Any]], opens: bool, options: dict[str, Any]) -> None:
    sim = Sim(opens=opens, **options)
    heard = 0
    asked: list[tuple[int, str]] = []
    for kind, what in steps:
        try:
            act(sim, kind, what, asked)
        except LocalProtocolError:
            continue
        questions = [(link, m["msgid"]) for link, m in sim.messages[heard:] if w.NOTICES[m["type"]].needs_ack]
        heard = len(sim.messages)
        asked += questions
    sim.opens = True
    if sim.platform.state is not PlatformState.CLOSED:
        sim.happen(h.CallerHungUp())
    sim.wait(120)
    assert sim.platform.state is PlatformState.CLOSED
    assert sim.platform.next_timeout() is None
    assert not sim.platform.call.runner.far.is_up
    [closed] = sim.did(w.ControlClosed)
    assert sim.outputs[-1] is closed
    with pytest.raises(LocalProtocolError):
        sim.happen(h.KeyPressed("1"))
