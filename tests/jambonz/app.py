"""Speak to an application's end as jambonz would."""

from __future__ import annotations

import json
from typing import Any

from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.control_state import ControlOutput
from callstream_core.jambonz.limits import ControlLimits, ControlSettings
from callstream_core.outputs import Transmit

CALL = {"call_sid": "c-1", "direction": "inbound", "call_status": "in-progress"}


def text(kind: str, data: Any = None, *, msgid: str = "m", hook: str | None = None, top: str | None = "c-1") -> str:
    """Return a message of jambonz."""
    found: dict[str, Any] = {"type": kind, "msgid": msgid}
    if top is not None:
        found["call_sid"] = top
    if hook is not None:
        found["hook"] = hook
    return json.dumps(found | {"data": {} if data is None else data})


def status(state: str, leg: str = "c-1", msgid: str = "s", **more: Any) -> str:
    """Return a call:status."""
    return text("call:status", {"call_sid": leg, "call_status": state, **more}, msgid=msgid)


def hook(msgid: str, url: str = "/played", **data: Any) -> str:
    """Return a verb:hook."""
    return text("verb:hook", CALL | data, msgid=msgid, hook=url)


OFFER = text("session:new", {"call_sid": "c-1", "direction": "inbound", "call_status": "trying"}, msgid="m0")


def offered(*, names: bool = False, limits: ControlLimits | None = None, **settings: Any) -> ControlSession:
    """Return a session that has an offer to ack."""
    session = ControlSession(limits=limits, settings=ControlSettings(names_verbs=names, **settings), now=0)
    session.receive(OFFER, 0)
    return session


def running(*verbs: v.Verb, names: bool = False, limits: ControlLimits | None = None) -> ControlSession:
    """Return a session whose call is answered and takes commands."""
    session = offered(names=names, limits=limits)
    session.send(o.Ack("m0", verbs or (v.Answer(),)), 0)
    session.receive(status("trying", msgid="s0"), 0.01)
    session.receive(status("in-progress", msgid="s1"), 0.02)
    return session


def sent(outputs: list[ControlOutput]) -> list[Any]:
    """Return what was transmitted."""
    return [json.loads(str(output.message)) for output in outputs if isinstance(output, Transmit)]


def rest(outputs: list[ControlOutput]) -> list[ControlOutput]:
    """Return what was not transmitted."""
    return [output for output in outputs if not isinstance(output, Transmit)]


def ack(msgid: str, *data: Any) -> dict[str, Any]:
    """Return the JSON of an ack."""
    return {"type": "ack", "msgid": msgid} | ({"data": list(data)} if data else {})
