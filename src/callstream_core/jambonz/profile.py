"""One simulated jambonz: its application's settings, the call, and how long things take."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import attrs

from callstream_core.jambonz.codec import MAX_MESSAGE
from callstream_core.jambonz.values import Object, Verb

_DEFAULTS = {
    "synthesizer": {"vendor": "google", "language": "en-US", "voice": "en-US-Wavenet-C"},
    "recognizer": {"vendor": "google", "language": "en-US"},
}


@attrs.frozen(kw_only=True)
class JambonzProfile:
    """What a simulated jambonz is told; names and addresses are for show."""

    url: str = "ws://127.0.0.1:8787/jambonz"
    """The application's hook; `#rc=` and `#rp=` in it set the retries."""
    username: str | None = None
    password: str | None = None
    has_status_hook: bool = True
    """Without one, no `call:status` is ever sent."""
    is_outbound: bool = False
    """A call that was ordered by REST: the socket tells its progress before it is offered."""
    parent: Object | None = None
    """What is told of the parent, where this call is a dialled leg that has become a call of its own."""
    first_verbs: tuple[Verb, ...] = ()
    """The verbs that such a leg runs once its application knows of it."""
    participants: Sequence[Object] | None = None
    """Who talks, where the call is only there to be recorded (SIPREC): few verbs are allowed then."""
    caller: str = "15550001"
    called: str = "15550002"
    caller_name: str = ""
    call_sid: str = "call-0001"
    account_sid: str = "acct-0001"
    application_sid: str = "app-0001"
    trace_id: str = "0123456789abcdef0123456789abcdef"
    call_id: str = "sipcall-1@callstream"
    sbc_callid: str = "sbc-1@callstream"
    sip_address: str = "10.0.0.5:5060"
    originating_ip: str = "192.0.2.9"
    originating_trunk: str = "trunk"
    sip_headers: Mapping[str, str] = attrs.field(factory=dict)
    env_vars: Object | None = None
    defaults: Object = attrs.field(default=_DEFAULTS)
    reject_status: int = 480
    clip_duration: float = 0.3
    """Seconds that a file plays, unless `clips` knows better."""
    clips: Mapping[str, float] = attrs.field(factory=dict)
    character_duration: float = 0.06
    """Seconds that one character of speech takes."""
    attach_delay: float = 0.02
    """Seconds from the first ack to the first verb. Commands that come before are lost."""
    ack_timeout: float = 5.0
    handshake_timeout: float = 1.5
    max_message: int = MAX_MESSAGE
    max_stack: int = 10_000
    """Verbs that may wait; a redirect that would queue more is passed over. Like the bounds that follow, it is ours:
    the engine has none."""
    max_stack_size: int = 1024 * 1024
    """Bytes of the messages that queued them."""
    max_waiting: int = 1000
    """Messages that may wait for a socket; the oldest is dropped when one more comes."""
    max_waiting_size: int = 1024 * 1024
    """Bytes of these messages."""
    max_asked: int = 64
    """Questions that may wait for their ack; the oldest is given up when one more comes."""
    loses_first_ack: bool = False
    """As the engine does: a socket that is lost before the first ack is dialled again, the ack of the reconnect
    counts as the missing one, and then nothing is ever said on it. Else the call is rejected."""

    @property
    def target(self) -> str:
        """The URL that is dialled."""
        return self.url.partition("#")[0] + ("" if self.parent is None else "/adulting")

    @property
    def max_connections(self) -> int:
        """Tries for the first socket beyond the first, and sockets that are opened without need."""
        found = self._option("rc", "5")
        return min(max(int(found), 1), 5) if found.isdigit() else 5

    @property
    def retried(self) -> frozenset[str]:
        """The kinds of refusal after which the first socket is tried again."""
        found = frozenset(self._option("rp", "ct").split(","))
        return found | {"ct", "rt", "4xx", "5xx"} if "all" in found else found

    def for_call(self, number: int) -> JambonzProfile:
        """Return the profile of one of many calls, with ids of its own."""
        return attrs.evolve(
            self,
            call_sid=f"{self.call_sid.rpartition('-')[0]}-{number + 1:04}",
            call_id=f"sipcall-{number + 1}@callstream",
            sbc_callid=f"sbc-{number + 1}@callstream",
        )

    def _option(self, name: str, default: str) -> str:
        return parse_qs(self.url.partition("#")[2]).get(name, [default])[0]

    @property
    def headers(self) -> dict[str, str]:
        """The request headers that matter to an application."""
        found = {"User-Agent": "jambonz"}
        if self.username is not None and self.password is not None:
            token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            found["Authorization"] = f"Basic {token}"
        return found


_UP = frozenset({"trying", "ringing", "early-media", "in-progress"})
_SIP_REASONS = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 487: "Request Terminated"}


@attrs.define(kw_only=True)
class Leg:
    """One party's leg of the call, as jambonz describes it in most messages."""

    sid: str
    direction: str
    caller: str
    called: str
    sbc_callid: str | None
    call_id: str
    parent: str | None = None
    caller_id: str | None = None
    status: str = "trying"
    sip_status: int = 100
    sip_reason: str = "Trying"
    answered_at: float | None = None
    terminated_by: str | None = None
    duration: int | None = None
    headers: Mapping[str, str] | None = None
    customer_data: Any = None

    def move(self, status: str, sip_status: int, reason: str | None = None) -> None:
        """Enter a state."""
        self.status, self.sip_status = status, sip_status
        self.sip_reason = _SIP_REASONS.get(sip_status, "") if reason is None else reason

    @property
    def is_up(self) -> bool:
        """Whether the party is on the line, or on its way there."""
        return self.status in _UP

    def end(self, now: float, headers: Mapping[str, str] | None = None) -> None:
        """Enter the last state, of a leg that is hung up."""
        if self.answered_at is None:
            self.move("no-answer", 487)
        else:
            self.move("completed", 200)
            self.duration = int(now - self.answered_at)
            self.headers = headers or None

    def data(self, profile: JambonzProfile) -> dict[str, Any]:
        """Return what messages tell of this leg."""
        found = {
            "call_sid": self.sid,
            "direction": self.direction,
            "from": self.caller,
            "to": self.called,
            "call_id": self.call_id,
            "sbc_callid": self.sbc_callid,
            "sip_status": self.sip_status,
            "sip_reason": self.sip_reason,
            "call_status": self.status,
            "caller_id": self.caller_id,
            "account_sid": profile.account_sid,
            "trace_id": profile.trace_id,
            "application_sid": profile.application_sid,
            "fs_sip_address": profile.sip_address,
            "parent_call_sid": self.parent,
            "originating_sip_ip": None if self.parent else profile.originating_ip,
            "originating_sip_trunk_name": None if self.parent else profile.originating_trunk,
            "call_termination_by": self.terminated_by,
            "duration": self.duration,
            "customerData": self.customer_data,
            "headers": self.headers,
        }
        return {key: value for key, value in found.items() if value is not None}


def caller_leg(profile: JambonzProfile) -> Leg:
    """Return the leg that owns the call."""
    return Leg(
        sid=profile.call_sid,
        direction="outbound" if profile.is_outbound or profile.parent is not None else "inbound",
        caller=profile.caller,
        called=profile.called,
        sbc_callid=profile.sbc_callid,
        call_id=profile.call_id,
        parent=None if profile.parent is None else profile.parent.get("call_sid"),
    )


def offer_data(profile: JambonzProfile, leg: Leg) -> dict[str, Any]:
    """Return the data of `session:new`. For an inbound call it is the raw call, unlike all other messages."""
    extra: dict[str, Any] = {"env_vars": profile.env_vars} if profile.env_vars is not None else {}
    if profile.participants is not None:
        extra["participants"] = list(profile.participants)
    if profile.is_outbound:
        return leg.data(profile) | {"defaults": profile.defaults} | extra
    headers = {"from": f"<sip:{profile.caller}@callstream>;tag=1", "call-id": profile.call_id, **profile.sip_headers}
    sip = {
        "headers": headers,
        "body": "",
        "method": "INVITE",
        "uri": f"sip:{profile.called}@{profile.sip_address.partition(':')[0]}",
        "payload": [],
    }
    return {
        "sip": sip,
        "direction": "inbound",
        "trace_id": profile.trace_id,
        "has_recording": False,
        "caller_name": profile.caller_name,
        "call_sid": profile.call_sid,
        "account_sid": profile.account_sid,
        "application_sid": profile.application_sid,
        "from": profile.caller,
        "to": profile.called,
        "call_id": profile.call_id,
        "sip_status": 100,
        "sip_reason": "Trying",
        "call_status": "trying",
        "sbc_callid": profile.sbc_callid,
        "originating_sip_ip": profile.originating_ip,
        "originating_sip_trunk_name": profile.originating_trunk,
        "local_sip_address": profile.sip_address,
        "service_provider_sid": "sp-0001",
        "defaults": profile.defaults,
        **extra,
    }


def promoted(profile: JambonzProfile, owner: Leg, leg: Leg, count: int, verbs: tuple[Verb, ...]) -> JambonzProfile:
    """Return the profile of a dialled leg's own call, the caller's `count`-th."""
    url, hash_, options = profile.url.partition("#")
    return attrs.evolve(
        profile,
        # The engine writes the suffix into what all of them share.
        url=url + "/adulting" * (count - 1) + hash_ + options,
        parent=owner.data(profile),
        first_verbs=verbs,
        is_outbound=False,
        caller=leg.caller,
        called=leg.called,
        call_sid=leg.sid,
        call_id=leg.call_id,
        sbc_callid=leg.sbc_callid or "",
    )
