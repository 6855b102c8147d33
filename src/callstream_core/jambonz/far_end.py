"""The dialled party of a `dial` verb."""

from __future__ import annotations

from typing import Any

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.profile import Leg
from callstream_core.jambonz.running import Call
from callstream_core.jambonz.values import Hook, Object


class FarEnd:
    """The leg that a `dial` makes, if one runs."""

    def __init__(self, call: Call) -> None:
        self.leg: Leg | None = None
        self.confirms: str | None = None
        """The question whose ack the bridge waits for."""
        self._call = call
        self._verb: v.Dial | None = None
        self._count = 0
        self._has_left = False
        self._is_joined = False

    @property
    def is_up(self) -> bool:
        """Whether the party is on the line, or rings."""
        return self.leg is not None and self.leg.is_up and not self._has_left

    @property
    def is_joined(self) -> bool:
        """Whether the party talks to the caller."""
        return self.is_up and self._is_joined

    def dial(self, verb: v.Dial) -> None:
        """Call the first target."""
        self._count += 1
        self._verb = verb
        self._has_left = self._is_joined = False
        owner = self._call.leg
        target = verb.target[0] if verb.target else None
        self.leg = Leg(
            sid=f"{owner.sid}-b{self._count}",
            direction="outbound",
            caller=verb.caller_id or owner.caller,
            called=(target and (target.number or target.sip_uri or target.name)) or "",
            # The border tells its own id with its first response.
            sbc_callid=None,
            call_id=f"{owner.call_id}-b{self._count}",
            parent=owner.sid,
            caller_id=verb.caller_id or owner.caller,
            customer_data=verb.tag,
        )
        self._call.tell_status(self.leg)

    def ring(self, rang: h.FarEndRang) -> None:
        """Note that it rings."""
        if self.leg is not None and self.is_up:
            self._meet_border(self.leg)
            self.leg.move("ringing" if rang.status == 180 else "early-media", rang.status)
            self._call.tell_status(self.leg)

    def answer(self, now: float) -> None:
        """Note that it answers; join the parties unless a hook has to confirm it."""
        if self.leg is None or not self.is_up or self._verb is None:
            return
        self._meet_border(self.leg)
        self.leg.move("in-progress", 200)
        self.leg.answered_at = now
        self._call.tell_status(self.leg)
        hook = self._verb.confirm_hook
        url = hook.url if isinstance(hook, Hook) else hook
        if url:
            self.confirms = self._call.ask(w.TargetAnswered, self.leg.data(self._call.profile), url)
        else:
            self.bridge(now)

    def bridge(self, now: float) -> None:
        """Join the parties."""
        self._is_joined = True
        if self._call.leg.answered_at is None:
            self._call.answer(now)

    def leave(self) -> None:
        """Give up the leg, which goes on as a call of its own."""
        self.confirms = None
        self._has_left = True

    def _meet_border(self, leg: Leg) -> None:
        leg.sbc_callid = f"{self._call.leg.sbc_callid}-b{self._count}"

    def refuse(self, refused: h.FarEndRefused) -> None:
        """Note that it does not want to talk, while it is up."""
        assert self.leg is not None
        self.confirms = None
        is_busy = refused.status in (486, 600)
        status = "no-answer" if refused.status == 487 else "busy" if is_busy else "failed"
        self.leg.move(status, refused.status, refused.reason)
        self._call.tell_status(self.leg)

    def hang_up(self, now: float, headers: Any = None) -> None:
        """End its leg, if it is up."""
        if self.leg is not None and self.is_up:
            self.confirms = None
            self.leg.end(now, headers)
            self._call.tell_status(self.leg)

    def result(self) -> Object:
        """Return what the hook reports."""
        assert self.leg is not None
        found = {
            "dial_call_status": self.leg.status,
            "dial_sip_status": self.leg.sip_status,
            "dial_call_sid": self.leg.sid,
            "dial_sbc_callid": self.leg.sbc_callid,
        }
        return {key: value for key, value in found.items() if value is not None}
