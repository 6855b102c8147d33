"""What the simulated jambonz keeps of an application that floods it, or stays away, is bounded."""

from __future__ import annotations

from typing import Any

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import words as w
from tests.jambonz.sim import ANSWER, Sim, pause, play, running


def say(size: int, name: str) -> dict[str, object]:
    return {"verb": "say", "id": name, "text": "x" * size}


def test_large_verbs_are_not_queued_without_end() -> None:
    sim = running(ANSWER, pause(1, "a"), max_stack_size=1500)
    for name in "bcd":
        sim.order("redirect", [say(600, name)], queueCommand=True)
    assert [verb.id for verb in sim.platform.call.runner.stack] == ["b", "c"]
    sim.order("redirect", [say(2000, "e")])
    assert sim.platform.running is not None
    assert sim.platform.running.id == "e", "what replaces the stack is bounded by its message"
    sim.order("redirect", [say(600, "f")], queueCommand=True)
    assert [verb.id for verb in sim.platform.call.runner.stack] == ["f"], "an empty stack is counted anew"


def away(**options: Any) -> Sim:
    """Return a call whose application does not come back."""
    sim = running(ANSWER, play("p", None) | {"loop": 50}, **options)
    sim.close(4000)
    sim.opens = False
    sim.wait(0.5)
    sim.heard()
    return sim


def notices(sim: Sim, count: int, size: int = 10) -> None:
    for number in range(count):
        sim.happen(w.LlmReported(msgid="", data={"n": number, "x": "x" * size}, hook="/event"))


def heard_numbers(sim: Sim) -> list[int]:
    sim.opens = True
    sim._take(sim.platform.link_opened(sim.now))
    sim.ack()
    return [message["data"]["n"] for _, message in sim.messages if message["type"] == "llm:event"]


def test_messages_wait_for_a_socket_within_bounds() -> None:
    sim = away(max_waiting=3)
    notices(sim, 5)
    assert sim.platform.counters["dropped"] == 2
    assert h.Logged("llm:event: too much waits for a socket") in sim.outputs
    assert heard_numbers(sim) == [2, 3, 4]


def test_large_messages_wait_for_a_socket_within_bounds() -> None:
    sim = away(max_waiting_size=2000)
    notices(sim, 5, 600)
    assert sim.platform.counters["dropped"] == 3
    assert heard_numbers(sim) == [3, 4]
    notices(sim, 5, 600)
    assert sim.platform.counters["dropped"] == 3, "what was sent takes no room"


def test_a_hook_that_is_dropped_is_not_waited_for() -> None:
    sim = running(ANSWER, play("p"), pause(9, "n"), notifies=False, clips={"a.wav": 1.0}, max_waiting=1)
    sim.close(4000)
    sim.opens = False
    sim.wait(1.1)
    assert sim.platform.running is not None
    assert sim.platform.running.id == "p", "its hook waits for a socket"
    notices(sim, 1)
    assert sim.platform.running.id == "n"
    assert sim.platform.counters["dropped"] == 1


def test_questions_that_nobody_acks_are_given_up() -> None:
    sim = running(ANSWER, pause(9), max_asked=2, notifies=False)
    sim.heard()
    asked = []
    for number in range(3):
        sim.order("redirect", {"call_hook": f"/{number}"})
        asked.append(sim.question["msgid"])
    sim.ack([pause(1, "late")], msgid=asked[0])
    assert sim.platform.running is not None
    assert sim.platform.running.id is None, "it was given up"
    sim.ack([pause(1, "new")], msgid=asked[2])
    assert sim.platform.running.id == "new"
