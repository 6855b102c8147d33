"""Scripts of simulated jambonz calls: what they may say, and when what they say is due."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.running import Phase, Running
from callstream_trio.script import BadScript, Reading, SocketDropped, key_times, parse_script, read_script


def actions(**step: Any) -> list[tuple[float, object]]:
    [found] = parse_script({"step": [step]}).steps
    return list(found.actions)


@pytest.mark.parametrize(
    ("step", "happens"),
    [
        ({"press": "1,2#"}, [(0.0, h.KeyPressed("1")), (1.5, h.KeyPressed("2")), (2.0, h.KeyPressed("#"))]),
        ({"speak": "yes"}, [(0.0, h.CallerSpoke("yes", 1.0, True))]),
        ({"speak": "ye", "confidence": 0.3, "final": False}, [(0.0, h.CallerSpoke("ye", 0.3, False))]),
        ({"callee": "rings"}, [(0.0, h.FarEndRang(180))]),
        ({"callee": "rings", "status": 183}, [(0.0, h.FarEndRang(183))]),
        ({"callee": "answers"}, [(0.0, h.FarEndAnswered())]),
        ({"callee": "refuses", "status": 603}, [(0.0, h.FarEndRefused(603))]),
        ({"callee": "hangs up"}, [(0.0, h.FarEndHungUp())]),
        ({"result": {"a": 1}}, [(0.0, h.VerbEnded({"a": 1}))]),
        ({"event": {"a": 1}}, [(0.0, h.LlmSaid({"a": 1}))]),
        ({"tool": "t"}, [(0.0, h.LlmCalledTool("tool-1", "t", {}))]),
        ({"tool": "t", "id": "x", "args": {"a": 1}}, [(0.0, h.LlmCalledTool("x", "t", {"a": 1}))]),
        ({"drop": True}, [(0.0, SocketDropped())]),
        ({"hang_up": True}, [(0.0, h.CallerHungUp())]),
    ],
)
def test_what_may_happen(step: dict[str, Any], happens: list[tuple[float, object]]) -> None:
    assert actions(**step) == happens


def test_a_script_may_describe_the_call() -> None:
    call = {
        "from": "1",
        "to": "2",
        "outbound": True,
        "status_hook": False,
        "sip_headers": {"X-A": "b"},
        "env_vars": {"k": [1]},
        "clip_duration": 1,
        "character_duration": 0.5,
    }
    assert parse_script({"call": call, "step": [{"callee": "answers"}]}).profile == {
        "caller": "1",
        "called": "2",
        "is_outbound": True,
        "has_status_hook": False,
        "sip_headers": {"X-A": "b"},
        "env_vars": {"k": [1]},
        "clip_duration": 1.0,
        "character_duration": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[step]]\npress = x\n", "is not valid TOML: Invalid value (at line 2"),
        ("steps = []", "the script has an unknown key 'steps'; did you mean 'step'?"),
        ("call = 1", "call is a table: write [call]"),
        ("step = 1", "step is a list of tables: write [[step]]"),
        ("step = [1]", "step is a list of tables: write [[step]]"),
        ("[call]\ncaller = '1'", "call has an unknown key 'caller'"),
        ("[call]\nfrom = 1", "call: from is a text, not 1"),
        ("[call]\noutbound = 'yes'", "call: outbound is true or false, not 'yes'"),
        ("[call]\noutbound = true", "call: outbound, and nobody answers; add a step with callee = 'answers'"),
        ("[call]\nsip_headers = { A = 1 }", "call: sip_headers.A is a text, not 1"),
        ("[[step]]", "step 1 says nothing; write exactly one of press, speak"),
        ("[[step]]\npress = '1'\n[[step]]\npress = '1'\nspeak = 'x'", "step 2 says press and speak; write exactly one"),
        ("[[step]]\npres = '1'", "step 1 has an unknown key 'pres'; did you mean 'press'?"),
        ("[[step]]\npress = '1'\nstatus = 486", "step 1 (press) has an unknown key 'status'"),
        ("[[step]]\npress = 'x'", "step 1: press = 'x': a telephone has the keys"),
        ("[[step]]\npress = ','", "step 1: press = ',': a telephone has the keys"),
        ("[[step]]\npress = ''", "step 1: press is a text, not ''"),
        ("[[step]]\nspeak = 'x'\nconfidence = 'high'", "step 1: confidence is a number from 0"),
        ("[[step]]\ncallee = 'sleeps'", "step 1: callee = 'sleeps' is nothing a callee does"),
        ("[[step]]\ncallee = []", "step 1: callee = [] is nothing a callee does"),
        ("[[step]]\ncallee = 'answers'\nstatus = 200", "step 1: callee = 'answers' has no status"),
        ("[[step]]\ncallee = 'refuses'\nstatus = 17", "step 1: status is a SIP status, such as 486, not 17"),
        ("[[step]]\nresult = 'x'", "step 1: result is a table, such as"),
        ("[[step]]\ndrop = false", "step 1: drop = true is all there is"),
        ("[[step]]\nhang_up = 1", "step 1: hang_up = true is all there is"),
        ("[[step]]\nhang_up = true\nafter = 'soon'", "step 1: after is a number of seconds, such as 0.5, not 'soon'"),
        ("[[step]]\nhang_up = true\nat = -1", "step 1: at is a number of seconds, such as 0.5, not -1"),
        ("[[step]]\nhang_up = true\nat = nan", "step 1: at is a number of seconds"),
        ("[[step]]\nhang_up = true\nat = 1\nafter = 1", "step 1 has at, which stands for itself; leave after out"),
        ("[[step]]\nhang_up = true\nat = 1\non = 'say'", "step 1 has at, which stands for itself; leave on out"),
        ("[[step]]\nhang_up = true\non = 'gathr'", "step 1: on = 'gathr' is no verb that takes time; did you mean"),
        ("[[step]]\nhang_up = true\non = 'tag'", "step 1: on = 'tag' is no verb that takes time"),
        ("[[step]]\nhang_up = true\n" * 1001, "there are 1001 steps; 1000 are the most"),
        ("#" * 1024 * 1025, "is larger than 1024 KiB; shorten it"),
    ],
)
def test_mistakes_are_told_by_step_and_field(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "call.toml"
    path.write_text(text)
    with pytest.raises(BadScript) as caught:
        read_script(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


def test_the_script_of_the_documentation(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "dialects" / "jambonz.md"
    [text] = re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "call.toml"
    path.write_text(text)
    script = read_script(path)
    assert len(script.steps) == 4
    assert script.profile == {"caller": "15550100"}


def test_a_file_that_is_not_there_or_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadScript, match="cannot be read: No such file"):
        read_script(tmp_path / "missing.toml")
    (tmp_path / "call.toml").write_bytes(b"\xff")
    with pytest.raises(BadScript, match="is not valid TOML"):
        read_script(tmp_path / "call.toml")


def test_when_keys_are_pressed() -> None:
    assert key_times("1,2", 1.0) == [(1.0, "1"), (2.5, "2")]


# When


def reading(*steps: dict[str, Any]) -> Reading:
    return Reading(parse_script({"step": list(steps)}))


def look(read: Reading, now: float, running: Running | None = None, *, is_answered: bool = False) -> list[object]:
    read.look(running, now, is_answered=is_answered)
    taken = read.take(now)
    read.look(running, now, is_answered=is_answered)
    return list(taken)


def run_of(verb: v.Verb) -> Running:
    return Running(verb, 0.0)


ONE, TWO = h.KeyPressed("1"), h.KeyPressed("2")


def test_nothing_happens_before_the_call_begins() -> None:
    read = reading({"press": "1"})
    assert look(read, 5.0) == []
    assert read.next_due is None
    assert read.unfinished == "step 1 waits"


def test_steps_happen_one_after_the_other() -> None:
    read = reading({"after": 1, "press": "1,1"}, {"after": 2, "press": "2"})
    read.begin(10.0)
    read.begin(99.0)
    assert look(read, 10.0) == []
    assert read.next_due == 11.0
    assert look(read, 11.0) == [ONE]
    assert (read.next_due, read.unfinished) == (12.5, "something was to happen 2.5 s after its beginning")
    assert look(read, 12.5) == [ONE]
    assert read.next_due == 14.5
    assert look(read, 14.5) == [TWO]
    assert read.next_due is None
    assert not read.unfinished


def test_a_step_waits_for_a_run_of_a_verb_that_no_step_has_waited_for() -> None:
    read = reading({"on": "gather", "press": "1"}, {"on": "gather", "after": 1, "press": "2"})
    read.begin(0.0)
    first, second = run_of(v.Gather()), run_of(v.Gather())
    assert look(read, 1.0) == []
    assert look(read, 1.0, run_of(v.Say(text="x"))) == []
    assert look(read, 2.0, first) == [ONE]
    assert look(read, 3.0, first) == []
    assert read.unfinished == "step 2 waits for gather"
    assert look(read, 4.0, second) == []
    assert read.next_due == 5.0
    assert look(read, 5.0, None) == [TWO]


def test_a_verb_whose_hook_waits_is_over() -> None:
    read = reading({"on": "gather", "press": "1"})
    read.begin(0.0)
    run = run_of(v.Gather())
    run.phase = Phase.HOOK
    assert look(read, 1.0, run) == []


def test_a_verb_has_both_its_names() -> None:
    for name in ("listen", "stream"):
        read = reading({"on": name, "press": "1"})
        read.begin(0.0)
        assert look(read, 1.0, run_of(v.Stream(url="/"))) == [ONE]


def test_a_step_may_wait_for_the_answer() -> None:
    read = reading({"on": "answered", "press": "1"}, {"on": "answered", "press": "2"})
    read.begin(0.0)
    assert look(read, 1.0) == []
    assert look(read, 2.0, is_answered=True) == [ONE, TWO]


def test_a_step_with_a_time_of_its_own_waits_for_nobody() -> None:
    read = reading({"on": "gather", "press": "1"}, {"at": 2, "press": "2"})
    read.begin(10.0)
    assert read.next_due == 12.0
    assert look(read, 12.0) == [TWO]
    assert read.unfinished == "step 1 waits for gather"
