"""Words to messages and back, and what is refused on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callstream_core.errors import LocalProtocolError, Malformed
from callstream_core.jambonz import codec, table, values
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.control_platform import ControlPlatform
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.parts import HookDelay, Target
from callstream_core.jambonz.validate import check_stack, read_stack
from tests.jambonz import strategies
from tests.jambonz.app import offered, running
from tests.jambonz.sim import ANSWER, pause
from tests.jambonz.sim import running as sim_running

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(strategies.verb_json)
def test_any_verb_is_the_same_json_after_it_was_typed(found: dict[str, Any]) -> None:
    (verb,) = read_stack([found])
    assert codec.stack_json((verb,)) == [found]


@pytest.mark.parametrize("name", table.verb_names())
def test_classes_and_table_agree(name: str) -> None:
    cls = values._classes[name]
    assert {wire for wire, _ in values._wires[cls]} == set(table.properties_of(name))
    assert cls.__doc__


def test_parts_and_table_agree() -> None:
    parts = {name: cls for name, cls in values._classes.items() if table.is_part(name)}
    wires = {name: {wire for wire, _ in values._wires[cls]} for name, cls in parts.items()}
    assert wires
    assert wires == {name: set(table.properties_of(name)) for name in parts}


@quick
@given(strategies.notices)
def test_any_event_comes_back(event: w.Notice) -> None:
    assert codec.decode_event(codec.encode_event(event)) == event


@quick
@given(strategies.orders)
def test_any_command_comes_back(order: o.Order) -> None:
    assert codec.decode_order(codec.encode_order(order)) == order


@quick
@given(strategies.acks)
def test_any_ack_comes_back(ack: o.Ack) -> None:
    assert codec.decode_order(codec.encode_ack(ack)) == ack


def test_what_is_seldom_said() -> None:
    event = w.HookCalled(msgid="h", hook="/x", data={}, trace="a-b-1")
    assert json.loads(codec.encode_event(event))["b3"] == "a-b-1"
    ack = o.Ack("m", o.Unusable("invalid instruction: sing", [{"verb": "sing"}]))
    assert json.loads(codec.encode_ack(ack)) == {"type": "ack", "msgid": "m", "data": [{"verb": "sing"}]}
    order = o.PlaceCall({"to": "1"})
    said = codec.encode_order(order)
    assert json.loads(said) == {"type": "command", "command": "dial", "data": {"to": "1"}}
    assert codec.decode_order(said) == order


ANY = [
    codec.encode_event(w.HookCalled(msgid="h", hook="/x", data={"call_status": "completed"})),
    codec.encode_event(w.SessionOffered(msgid="n", call_sid="c-1")),
    codec.encode_event(w.TokensAnswered(msgid="h", data={"id": 1, "status": "ok"})),
    codec.encode_ack(o.Ack("m000000000000000000001", (v.Play(url="x"),))),
    codec.encode_order(o.Redirect((v.Pause(length=1),))),
    codec.encode_order(o.SendTokens(1, "x")),
    codec.encode_order(o.Whisper((v.Say(text="x"),), "c")),
]
damaged = st.builds(
    lambda a, b, cut, begin: a[:cut] + b[begin:],
    st.sampled_from(ANY),
    st.sampled_from(ANY),
    st.integers(0, 60),
    st.integers(0, 60),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
members = st.sampled_from(
    ("type", "msgid", "call_sid", "hook", "data", "command", "callSid", "queueCommand", "tool_call_id", "b3")
)
types = st.sampled_from([*w.NOTICES, "ack", "command"])
commands = st.sampled_from(
    [
        *("redirect", "call:status", "config", "dub", "dial", "record", "mute:status", "conf:hold-status", "whisper"),
        *("conf:participant-action", "stream:status", "sip:request", "dtmf", "boostAudioSignal", "media:path"),
        *("llm:tool-output", "llm:update", "tts:tokens", "tts:clear"),
    ]
)
crooked = st.builds(
    lambda found, kind, name: json.dumps({**found, "type": kind, "command": name}),
    st.dictionaries(members, json_values),
    types,
    commands,
)
hostile = st.text(max_size=20) | st.binary(max_size=20) | damaged | crooked


@quick
@given(st.lists(hostile, max_size=8))
def test_hostile_messages_never_raise(messages: list[str | bytes]) -> None:
    for session in (ControlSession(now=0), offered(), running()):
        for at, message in enumerate(messages):
            session.receive(message, at)
            session.handle_timeout(at + 0.5)
    for platform in (ControlPlatform(), sim_running(ANSWER, pause(2)).platform):
        if platform.next_timeout() is None:
            platform.begin(0)
            platform.link_opened(0)
        for at, message in enumerate(messages):
            platform.receive(message, at + 1)
            platform.handle_timeout(at + 1.5)


REFUSED: list[tuple[Any, str]] = [
    ({}, "malformed jambonz payload: must be array"),
    ([1], "malformed jambonz payload: must be array of objects"),
    ([{}], "malformed jambonz payload: missing verb property"),
    ([{"a": {}, "b": {}}], "malformed jambonz payload: missing verb property"),
    ([{"say": 1}], "invalid instruction: say"),
    ([{"verb": 7}], "invalid instruction: 7"),
    ([{"verb": "sing"}], "invalid instruction: sing"),
    ([{"synthesizer": {"vendor": "x"}}], "invalid jambonz verb 'synthesizer'"),
    ([{"pipeline": {"llm": {"vendor": "x", "llmOptions": {}}}}], "invalid jambonz verb 'pipeline'"),
    ([{"verb": "say", "nope": 1}], "say: unknown property nope"),
    ([{"verb": "pause", "length": "1"}], "pause: property length has invalid data type"),
    ([{"verb": "pause", "length": True}], "pause: property length has invalid data type"),
    ([{"verb": "say", "text": 1}], "say: property text has invalid data type, must be one of string,array"),
    ([{"verb": "gather", "actionHook": 1}], "has invalid data type, must be one of object,string"),
    ([{"verb": "gather", "input": "digits"}], "gather: property input is not an array"),
    ([{"verb": "gather", "recognizer": []}], "gather: property recognizer has invalid data type"),
    ([{"verb": "dial", "target": {}}], "dial: property target is not iterable"),
    ([{"verb": "dial", "target": [{"type": "pigeon"}]}], "target: invalid value pigeon must be one of phone,sip"),
    ([{"verb": "dial"}], "dial: missing value for target"),
    ([{"verb": "dub"}], "dub: missing value for action,track"),
    (
        [{"verb": "llm", "vendor": "x", "llmOptions": {}, "mcpServers": [{"url": "x", "roots": [{}]}]}],
        "invalid instruction: root",
    ),
]


@pytest.mark.parametrize(("data", "reason"), REFUSED)
def test_the_validator_speaks_as_jambonz_does(data: Any, reason: str) -> None:
    with pytest.raises(Malformed, match=reason.replace("(", r"\(")):
        check_stack(data)


def test_both_forms_aliases_and_what_javascript_lets_pass() -> None:
    assert read_stack([{"say": {"text": "a"}}, {"verb": "say", "text": "a", "_": 1}]) == (v.Say(text="a"),) * 2
    assert read_stack([{"stream": {"url": "x"}}]) == (v.Stream(url="x"),)
    assert read_stack([{"s2s": {"vendor": "x", "llmOptions": {}}}])[0] == v.Llm(vendor="x", llm_options={})
    assert read_stack([{"verb": "google_s2s", "llmOptions": []}])[0] == v.Llm(vendor="google", llm_options=())  # type: ignore[arg-type]
    assert read_stack([{"openai_s2s": {"vendor": "x", "llmOptions": {}}}])[0] == v.Llm(vendor="x", llm_options={})
    # Null is an object, and so is an array.
    assert read_stack([{"verb": "hangup", "headers": None}]) == (v.Hangup(),)
    assert read_stack([{"verb": "gather", "actionHook": {"path": "x"}}])[0] == v.Gather(action_hook={"path": "x"})  # type: ignore[arg-type]
    assert read_stack([{"verb": "gather", "actionHook": None}]) == (v.Gather(),)


def test_unknown_properties_only_when_asked_for() -> None:
    with pytest.raises(TypeError, match="nope"):
        v.Say(text="x", nope=1)  # type: ignore[call-arg]
    verb = v.Gather(say=v.Say(text="x", more={"newer": 1}), more={"newest": 2})
    assert codec.stack_json((verb,)) == [{"verb": "gather", "say": {"text": "x", "newer": 1}, "newest": 2}]
    raw = v.RawVerb(name="agent", id="a", properties={"llm": {}}, more={"b": 1})
    assert codec.stack_json((raw,)) == [{"verb": "agent", "id": "a", "llm": {}, "b": 1}]


def test_verbs_inside_verbs() -> None:
    delay = v.Config(action_hook_delay_action=_delay())
    (found,) = codec.stack_json((delay,))
    assert found["actionHookDelayAction"]["actions"] == [{"verb": "say", "text": "wait"}]
    dial = v.Dial(target=[_target()], dub=[v.Dub(action="addTrack", track="t")], headers={"X": "y"})
    (found,) = codec.stack_json((dial,))
    assert found["dub"] == [{"action": "addTrack", "track": "t"}]
    assert found["target"] == [{"type": "phone", "number": "1"}]


def _delay() -> Any:

    return HookDelay(enabled=True, actions=[v.Say(text="wait")])


def _target() -> Any:

    return Target(type="phone", number="1")


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (o.Redirect("say"), "verbs should be a sequence of verbs, not str"),
        (o.Redirect((5,)), "verbs should hold verbs, not int"),
        (o.Redirect(5), "verbs should be a sequence of verbs, not int"),
        (o.Redirect((v.Pipeline(llm=v.Llm(vendor="x", llm_options={})),)), "invalid jambonz verb 'pipeline'"),
        (o.Redirect((v.RestDial(call_hook="x", from_="1", to=_target()),)), "takes no such verb"),
        (o.Redirect((v.Tag(data={"x": object()}),)), r"redirect\.data\.0\.\S+ is not JSON"),
        (o.Redirect((v.Tag(data={"x": float("nan")}),)), r"redirect\.data\.0\.\S+ is not JSON"),
        (o.Redirect((v.Tag(data={"x": "\ud800"}),)), r"redirect\.data\.0\.\S+ is not JSON"),
        (o.RedirectByHook(), "call_hook or child_call_hook is needed"),
        (o.SetCallStatus("completed"), "status should be LastStatus"),  # type: ignore[arg-type]
        (o.Configure(v.Say(text="x")), "config should be Config"),  # type: ignore[arg-type]
        (o.Configure(v.Config(reset=1)), "config: property reset"),  # type: ignore[arg-type]
        (o.Record(action=o.RecordingAction.START, type="tape"), "type should be siprec or cloud"),
        (o.SetMute("mute"), "is_muted should be bool"),  # type: ignore[arg-type]
        (o.SetMute(True, ""), "call_sid should be str"),
        (o.Whisper((v.Pause(length=1),)), "should be say or play"),
        (o.Whisper(()), "should be say or play"),
        (o.SendKeys("12"), "digit should be one of"),
        (o.SendKeys("1", True), "duration should be int"),
        (o.BoostAudio(0), "gain should not be the number 0"),
        (o.SendTokens("", "x"), "id should be str or int"),
        (o.SendTokens(1, ""), "tokens should be str"),
        (o.AnswerTool("", {}), "tool_call_id should be str"),
    ],
)
def test_mistakes_are_named(order: Any, complaint: str) -> None:
    with pytest.raises(LocalProtocolError, match=complaint):
        running().send(order, 1)


def test_a_wrong_thing_is_no_command() -> None:
    with pytest.raises(LocalProtocolError, match="no command"):
        running().send(object(), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("redirect", [{"verb": "sing"}]),
        ("redirect", {}),
        ("redirect", {"call_hook": 7}),
        ("redirect", {"parent_call": 1}),
        ("redirect", "x"),
        ("call:status", "completed"),
        ("call:status", {"call_status": "busy"}),
        ("call:status", {"call_status": []}),
        ("config", {"nope": 1}),
        ("record", {"action": "x"}),
        ("mute:status", {"mute_status": "x"}),
        ("listen:status", "pause"),
        ("whisper", {"whisper": {"verb": "pause", "length": 1}}),
        ("sip:request", {"method": "INFO"}),
        ("sip:request", {"sip_request": {}}),
        ("dtmf", {"digit": "1"}),
        ("dtmf", {"dtmf": {"digit": ""}}),
        ("boostAudioSignal", [1]),
        ("llm:tool-output", {}),
        ("llm:update", "x"),
        ("tts:tokens", {"tokens": "x"}),
        ("tts:tokens", {"id": 1}),
        ("media:path", "x"),
        ("no:such", {}),
        (7, {}),
    ],
)
def test_forms_without_effect_stay_raw(name: Any, data: Any) -> None:
    order = codec.decode_order(json.dumps({"type": "command", "command": name, "data": data}))
    assert order == o.RawCommand(name=str(name), data=data)


def test_events_read_their_data() -> None:
    tool = w.ToolCalled(msgid="m", data={"tool_call_id": "t", "name": "n", "args": {"aB": 1}})
    assert (tool.tool_call_id, tool.name, tool.args) == ("t", "n", {"aB": 1})
    error = w.ErrorReported(msgid="m", data={"msg": "TTS error", "details": "x"})
    assert (error.text, error.is_ours) == ("TTS error: x", False)
    assert w.ErrorReported(msgid="m", data={"msg": "x"}).text == "x"
    told = w.CallStatusChanged(msgid="m", data={"call_status": "sleeping", "error": "e"})
    assert (told.call_status, told.error, told.leg) == (None, "e", None)
    assert w.CallStatusChanged(msgid="m").error is None
    answered = w.TokensAnswered(msgid="m", data={"id": 1, "status": "failed", "reason": "full"})
    assert (answered.id, answered.is_taken, answered.reason) == (1, False, "full")
    progressed = w.VerbProgressed(msgid="m", data={"event": "e", "verb": "play", "id": "p"})
    assert (progressed.event, progressed.verb, progressed.verb_id) == ("e", "play", "p")
    assert w.VerbProgressed(msgid="m", data={"event": "e", "name": 1}).verb is None
    assert w.VerbProgressed(msgid="m", data={"event": "e", "name": 1}).verb_id is None
    assert w.HookCalled(msgid="m", hook="/x", data={"verb_id": 1}).verb_id is None
    assert w.SpeechStreamChanged(msgid="m", data={"event_type": "x"}).event == "x"


def test_an_empty_msgid_is_none() -> None:
    with pytest.raises(Malformed, match="msgid is empty"):
        codec.decode_event('{"type":"call:status","msgid":"","data":{"call_status":"x"}}')


@pytest.mark.parametrize(
    ("key", "snake"),
    [
        ("callSid", "call_sid"),
        ("X-Bye", "x_bye"),
        ("turnDetection", "turn_detection"),
        ("call_sid", "call_sid"),
        ("X-CallSid", "x_callsid"),
        ("audioURL", "audio_u_r_l"),
        ("P-Asserted-Identity", "p_asserted_identity"),
        ("Two Words", "two_words"),
        ("URI", "uri"),
        ("a.b:c", "a_b_c"),
        ("--", ""),
        ("Two  Words", "two_words"),
        ("_9Lives_", "9lives"),
        ("", ""),
    ],
)
def test_keys_become_snake_case_as_the_engine_s_library_has_it(key: str, snake: str) -> None:
    assert values.snake_cased({key: [{key: 1}]}) == {snake: [{snake: 1}]}
