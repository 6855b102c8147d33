"""Whatever is wrong with a command is said by name, before anything leaves."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

import attrs
import pytest

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.codec import decode_order, encode_order
from tests.jambonz.app import hook, running

GOOD: tuple[Any, ...] = (
    o.Redirect([v.Answer()]),
    o.RedirectByHook(call_hook="/x"),
    o.RedirectParent([v.Answer()]),
    o.SetCallStatus(o.LastStatus.COMPLETED),
    o.Configure(v.Config()),
    o.PlaceCall({"a": 1}),
    o.DubNow(v.Dub(action="addTrack", track="t")),
    o.Record(action=o.RecordingAction.START),
    o.SetMute(True),
    o.SetConferenceMute(True),
    o.SetConferenceHold(True),
    o.ActOnParticipant(o.ParticipantAction.KICK),
    o.PauseListening(True),
    o.PauseTranscription(True),
    o.Whisper([v.Say(text="x")]),
    o.SendSipRequest(method="INFO"),
    o.SendKeys("1"),
    o.BoostAudio(3),
    o.SetMediaPath(o.MediaPath.FULL),
    o.AnswerTool("t", {}),
    o.UpdateLlm({"a": 1}),
    o.SendTokens(1, "x"),
    o.FlushTokens(),
    o.ClearTokens(),
)
JUNK: tuple[Any, ...] = (None, 0, 5, -1, 1.5, True, "", "junk", [], ["x"], [b"x"], {}, {"a": object()}, object(), b"x")
# What stands in the message for a field that holds JSON of its own.
WIRE = {"body": "data", "headers": "headers", "data": "data"}


def fields_of(order: Any) -> list[tuple[Any, str]]:
    return [(order, field.name) for field in attrs.fields(cast(Any, type(order)))]


def test_every_command_is_here() -> None:
    assert {type(order) for order in GOOD} | {o.RawCommand} == set(o.Order.__args__)


@pytest.mark.parametrize(("order", "name"), [pair for order in GOOD for pair in fields_of(order)])
def test_every_wrong_value_is_named(order: Any, name: str) -> None:
    for value in JUNK:
        complaint = complaint_of(attrs.evolve(order, **{name: value}))
        assert complaint is None or name in complaint or f".{WIRE.get(name)}" in complaint


def complaint_of(order: Any) -> str | None:
    """Return what is wrong with a command; jambonz would act on one with which nothing is."""
    try:
        message = encode_order(order)
    except LocalProtocolError as error:
        return str(error)
    assert isinstance(decode_order(message), type(order))
    return None


def test_every_mapping_will_do() -> None:
    body = {"to": {"type": "phone"}}
    assert decode_order(encode_order(o.PlaceCall(MappingProxyType(body)))) == o.PlaceCall(body)


def test_what_is_not_json_is_found() -> None:
    with pytest.raises(LocalProtocolError, match=r"^llm:update\.data\.a\.1\.b is not JSON"):
        encode_order(o.UpdateLlm({"a": [1, {"b": object()}]}))
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(LocalProtocolError, match=r"^llm:update\.data\.a\.a\.a\.a\.a\.a\.a is not JSON"):
        encode_order(o.UpdateLlm(deep))


@pytest.mark.parametrize("value", [None, 5, [], {}, object(), b"x"])
def test_wrong_acks(value: Any) -> None:
    session = running()
    session.receive(hook("h"), 1)
    with pytest.raises(LocalProtocolError, match="cannot be acked: there is none that wants it"):
        session.send(o.Ack(value), 1)
    if value is not None and value != []:
        with pytest.raises(LocalProtocolError, match="verbs should"):
            session.send(o.Ack("h", value), 1)
    assert [question.msgid for question in session.owed] == ["h"]


@pytest.mark.parametrize("code", ["1000", None, 1.5, 999, 5000, 1005, 1006])
def test_wrong_close_codes(code: Any) -> None:
    session = running()
    with pytest.raises(LocalProtocolError, match="code should be a close code"):
        session.send(o.Disconnect(code), 1)
