"""What an application's end knows of a call, beyond one socket."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from callstream_core.jambonz.values import Object
from callstream_core.jambonz.words import CallStatus, Question, SessionReconnected


@attrs.frozen(kw_only=True)
class CallMemory:
    """Keep this of a lost socket, by `call_sid`, and give it to the session of the next one."""

    call_sid: str | None = None
    connections: int = 1
    """Sockets that jambonz has opened for this call."""
    status: CallStatus | None = None
    """The call's own state; once it is final it stays."""
    is_answered: bool | None = None
    """None where nothing was told."""
    legs: Mapping[str, CallStatus] = attrs.field(factory=dict)
    """The state of other legs, by their `call_sid`."""
    offer: Object = attrs.field(factory=dict)
    """The data that announced the call."""
    verbs: int = 0
    """Verbs that were sent; the next one's id counts on."""

    def begin(self, event: Question) -> CallMemory:
        """Return what is known once a socket's first question was heard."""
        return attrs.evolve(
            self,
            call_sid=event.call_sid or event.leg,
            status=event.call_status,
            is_answered=True if event.call_status is CallStatus.IN_PROGRESS else None,
            offer=event.data,
            # There was at least one socket before one that reconnects.
            connections=2 if isinstance(event, SessionReconnected) else 1,
        )

    def resumed(self, call_sid: str | None) -> CallMemory:
        """Return what is known once another socket has opened for the call, which it may have named."""
        return attrs.evolve(self, call_sid=self.call_sid or call_sid, connections=self.connections + 1)

    def follow(self, leg: str | None, status: CallStatus, max_legs: int) -> CallMemory:
        """Return what is known after a leg's state was told."""
        if leg is not None and leg != self.call_sid:
            legs = {name: state for name, state in self.legs.items() if name != leg} | {leg: status}
            while len(legs) > max_legs:
                del legs[next(iter(legs))]
            return attrs.evolve(self, legs=legs)
        if self.status is not None and self.status.is_final:
            # `trying` may come after `no-answer`, where the caller was gone before the first ack.
            return self
        is_answered = self.is_answered or status is CallStatus.IN_PROGRESS
        return attrs.evolve(self, status=status, is_answered=is_answered)
