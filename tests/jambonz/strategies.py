"""Any verb, any event, any command."""

from __future__ import annotations

from typing import Any, cast

import attrs
from hypothesis import strategies as st

from callstream_core.jambonz import orders as o
from callstream_core.jambonz import table
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.validate import read_stack

names = st.text("abz09-é", min_size=1, max_size=6)
objects = st.dictionaries(names, st.integers(0, 9) | names, max_size=2)
_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "s": names,
    "n": st.integers(0, 9) | st.sampled_from((0.5, 1.25)),
    "b": st.booleans(),
    "o": objects,
    "a": st.lists(names, max_size=2),
    "h": names | st.fixed_dictionaries({"url": names}, optional={"method": names, "username": names, "x": names}),
}


def _value(known: table.Property, depth: int) -> st.SearchStrategy[Any]:
    if known.values:
        return st.sampled_from(known.values)
    if known.part:
        one = properties(known.part, depth - 1)
        return st.lists(one, max_size=2) if known.is_many else one
    return st.one_of([_KINDS[kind] for kind in known.kind.split("/")])


def _deferred(known: table.Property, depth: int) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: _value(known, depth))


def properties(name: str, depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Return properties that the validator passes."""
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for known in table.properties_of(name).values():
        is_impossible = known.name == "roots" or (known.kind == "a" and bool(known.values))
        if known.is_required:
            required[known.name] = _deferred(known, depth)
        elif not is_impossible and (depth > 0 or known.part is None):
            optional[known.name] = _deferred(known, depth)
    chosen = st.sets(st.sampled_from(sorted(optional)), max_size=4) if optional else st.just(set())
    return chosen.flatmap(lambda keys: st.fixed_dictionaries(required | {key: optional[key] for key in sorted(keys)}))


usable = sorted(set(table.verb_names()) - table.NOT_EXECUTED - table.INTERNAL)
verb_json = st.sampled_from([*usable, "stream"]).flatmap(
    lambda name: properties("listen" if name == "stream" else name).map(lambda found: {"verb": name, **found})
)
verbs: st.SearchStrategy[v.Verb] = verb_json.map(lambda found: read_stack([found])[0])
stacks = st.lists(verbs, max_size=3).map(tuple)
sids = st.none() | names

orders: st.SearchStrategy[o.Order] = st.one_of(
    st.builds(o.Redirect, stacks, st.booleans()),
    st.builds(o.RedirectByHook, call_hook=names, child_call_hook=st.none() | names),
    st.builds(o.RedirectParent, stacks),
    st.builds(o.SetCallStatus, st.sampled_from(o.LastStatus), sids),
    st.builds(o.Configure, verbs.filter(lambda verb: isinstance(verb, v.Config)) | st.just(v.Config()), sids).filter(
        lambda order: isinstance(order.config, v.Config)
    ),
    st.builds(o.PlaceCall, objects),
    st.builds(o.DubNow, st.just(v.Dub(action="addTrack", track="t")), sids),
    st.builds(
        o.Record,
        action=st.sampled_from(o.RecordingAction),
        recording_id=sids,
        siprec_server_url=sids | st.lists(names, min_size=1),
        headers=st.none() | objects,
        type=st.sampled_from((None, "siprec", "cloud")),
        silence=st.none() | st.booleans(),
        call_sid=sids,
    ),
    st.builds(o.SetMute, st.booleans(), sids),
    st.builds(o.SetConferenceMute, st.booleans(), sids),
    st.builds(o.SetConferenceHold, st.booleans(), sids, sids),
    st.builds(o.ActOnParticipant, st.sampled_from(o.ParticipantAction), sids, sids, sids),
    st.builds(o.PauseListening, st.booleans(), st.booleans(), sids),
    st.builds(o.PauseTranscription, st.booleans(), sids),
    st.builds(o.Whisper, st.just((v.Say(text="x"), v.Play(url="y"))), sids),
    st.builds(
        o.SendSipRequest, method=names, content_type=sids, content=sids, headers=st.none() | objects, call_sid=sids
    ),
    st.builds(o.SendKeys, st.sampled_from("0123456789*#ABCD"), st.none() | st.integers(1, 999), sids),
    st.builds(o.BoostAudio, st.sampled_from((1, -3.5, "+3dB")), sids),
    st.builds(o.SetMediaPath, st.sampled_from(o.MediaPath), sids),
    st.builds(o.AnswerTool, names, st.none() | objects),
    st.builds(o.UpdateLlm, objects),
    st.builds(o.SendTokens, names | st.integers(1, 99), names),
    st.just(o.FlushTokens()),
    st.just(o.ClearTokens()),
    st.builds(
        o.RawCommand,
        name=st.just("agent:update"),
        data=objects | names | st.integers(1, 9),
        call_sid=sids,
        queue=st.none() | st.booleans(),
        tool_call_id=sids,
    ),
)
acks = st.builds(
    o.Ack,
    names,
    st.none() | stacks | st.just(o.Unusable("invalid instruction: sing", [{"verb": "sing"}])),
)

_REQUIRED: dict[str, dict[str, Any]] = {
    "call:status": {"call_status": "trying"},
    "verb:status": {"event": "starting"},
    "jambonz:error": {"msg": "x"},
    "llm:tool-call": {"tool_call_id": "t", "name": "n"},
    "agent:tool-call": {"tool_call_id": "t", "name": "n"},
    "tts:tokens-result": {"id": 1, "status": "ok"},
    "tts:streaming-event": {"event_type": "stream_open"},
}


def _notice(kind: type[w.Notice]) -> st.SearchStrategy[w.Notice]:
    data = objects.map(lambda found: {**found, **_REQUIRED.get(kind.word, {})})
    is_hooked = any(field.name == "hook" for field in attrs.fields(cast(Any, kind)))
    hooked = {"hook": names} if is_hooked else {}
    return st.builds(kind, msgid=names, call_sid=sids, data=data, trace=sids, **hooked)


notices: st.SearchStrategy[w.Notice] = st.one_of([_notice(kind) for kind in w.NOTICES.values()])
