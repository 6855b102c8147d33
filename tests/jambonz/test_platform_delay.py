"""The simulated jambonz: what it plays while the application takes its time (`actionHookDelayAction`)."""

from __future__ import annotations

from typing import Any

import pytest

from callstream_core.jambonz import happenings as h
from tests.jambonz.sim import ANSWER, Sim, pause, running

GATHER = {"verb": "gather", "id": "g", "input": ["digits"], "numDigits": 1, "actionHook": "/g"}
END = ["finished hangup", "close 1000"]
HUM = {"verb": "play", "id": "hum", "url": "hum.wav"}


def config(**delay: Any) -> dict[str, Any]:
    return {"verb": "config", "actionHookDelayAction": delay}


def idle(**delay: Any) -> Sim:
    """Return a call that has nothing to do."""
    sim = running(ANSWER, config(**delay))
    sim.heard()
    return sim


def test_an_idle_call_hears_the_action_once() -> None:
    sim = idle(noResponseTimeout=2, actions=[HUM])
    assert sim.wait(1.9) == []
    assert sim.wait(0.2) == ["start-playback hum"]
    assert sim.wait(60) == []


def test_it_is_repeated_as_often_as_is_asked_for_in_turns() -> None:
    sim = idle(noResponseTimeout=2, retries=3, actions=[HUM, {"verb": "say", "id": "sorry", "text": "x" * 10}])
    sim.wait(60)
    heard = [(at, text) for at, text in sim.log if "playback" in text]
    # 2 s from the start or from the end of the one before; a file takes 0.3 s, ten letters 0.6 s.
    assert heard == [(2.02, "start-playback hum"), (4.32, "start-playback sorry"), (6.92, "start-playback hum")]


def test_verbs_end_it() -> None:
    sim = idle(noResponseTimeout=2, actions=[HUM | {"loop": "forever"}])
    sim.wait(2.1)
    sim.heard()
    assert sim.order("redirect", [pause(1, "n")]) == ["kill-playback hum", "starting n"]
    sim.wait(1.9)
    assert sim.heard() == []
    assert sim.wait(1.2) == ["start-playback hum"], "the call is idle again"


def test_a_redirect_without_verbs_ends_it_too() -> None:
    sim = idle(noResponseTimeout=2, actions=[HUM])
    sim.order("redirect", {"call_hook": "/n"})
    sim.heard()
    assert "start-playback hum" not in sim.wait(4)


def test_a_redirect_with_nothing_begins_it_anew() -> None:
    sim = idle(noResponseTimeout=2, actions=[HUM])
    sim.wait(1.5)
    sim.order("redirect", [])
    assert sim.wait(1.9) == []
    assert sim.wait(0.2) == ["start-playback hum"]


def test_it_gives_up_and_hangs_up() -> None:
    sim = idle(noResponseTimeout=2, noResponseGiveUpTimeout=5, actions=[HUM | {"loop": "forever"}])
    assert sim.wait(5.1) == ["start-playback hum", "kill-playback hum", "cs completed", "close 1000"]


def test_it_gives_up_with_verbs() -> None:
    bye = [{"verb": "say", "id": "bye", "text": "x"}, {"verb": "hangup"}]
    sim = idle(noResponseTimeout=9, actions=[HUM], noResponseGiveUpTimeout=5, giveUpActions=bye)
    assert sim.wait(5.01) == ["starting bye", "start-playback bye"]
    assert sim.wait(1) == ["stop-playback bye", "finished bye", "starting hangup", "cs completed", *END]


def test_between_a_hook_of_a_gather_and_new_verbs() -> None:
    sim = running(ANSWER, config(noResponseTimeout=1, actions=[HUM]), GATHER)
    sim.heard()
    sim.happen(h.KeyPressed("1"))
    assert sim.wait(1.1) == ["start-playback hum"]
    assert sim.ack([pause(1, "n")]) == ["finished g", "kill-playback hum", "starting n"]


def test_a_gather_may_have_its_own() -> None:
    sim = running(ANSWER, GATHER | {"actionHookDelayAction": {"noResponseTimeout": 1, "actions": [HUM]}})
    sim.happen(h.KeyPressed("1"))
    sim.heard()
    assert sim.wait(1.1) == ["start-playback hum"]
    sim.ack()
    sim.order("redirect", [pause(0, "n")])
    sim.heard()
    assert sim.wait(9) == ["finished n"], "it holds for that gather alone"


def test_it_gives_up_once() -> None:
    sim = idle(noResponseTimeout=9, actions=[HUM], noResponseGiveUpTimeout=1, giveUpActions=[pause(0, "p")])
    assert sim.wait(60) == ["starting p", "finished p"]


def test_it_may_be_turned_off() -> None:
    assert idle(enabled=False, noResponseTimeout=1, actions=[HUM]).wait(9) == []
    sim = idle(noResponseTimeout=5, actions=[HUM])
    sim.wait(1)
    assert sim.order("config", {"actionHookDelayAction": {"enabled": False}}) == []
    assert sim.wait(9) == []


def test_without_a_timeout_it_plays_at_once_and_only_once() -> None:
    sim = idle(retries=5, actions=[HUM])
    sim.wait(0.1)
    assert sim.log[-1] == (0.021, "start-playback hum")
    assert sim.wait(60) == []


def test_what_is_said_is_said_to_its_end() -> None:
    sim = idle(noResponseTimeout=1, actions=[{"verb": "say", "id": "sorry", "text": "x" * 100}])
    sim.wait(2)
    assert sim.order("redirect", [pause(1, "n")]) == ["starting n"]


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        ([], "actions should be say or play, and there should be some"),
        ([HUM, {"verb": "pause", "length": 1}], "actions should be say or play, and there should be some"),
        ([{"verb": "sing"}], "invalid instruction: sing"),
    ],
)
def test_actions_that_cannot_be_played_are_none(actions: list[Any], complaint: str) -> None:
    sim = idle(noResponseTimeout=1, actions=actions)
    assert sim.wait(9) == []
    assert f"actionHookDelayAction: {complaint}" in [output.text for output in sim.did(h.Logged)]


def test_nothing_is_played_to_a_call_that_rings_or_is_over() -> None:
    sim = running(config(noResponseTimeout=1, actions=[HUM]))
    assert "start-playback hum" not in sim.wait(9)
    sim = idle(noResponseTimeout=1, actions=[HUM | {"loop": "forever"}])
    sim.wait(2)
    assert sim.hang_up() == ["cs completed", "kill-playback hum", "close 1000"]
