"""Every number that bounds a control session, with its reason."""

from __future__ import annotations

import attrs

from callstream_core.jambonz.codec import stack_json
from callstream_core.jambonz.values import Verb
from callstream_core.jambonz.verbs import Pause


@attrs.frozen(kw_only=True)
class ControlLimits:
    """The bounds of one control socket. Seconds, characters; counts say of what."""

    max_text: int = 1024 * 1024
    """Characters of one message from jambonz. An offer carries a whole INVITE, model events carry transcripts."""
    max_misbehaviour: int = 100
    """Broken messages jambonz may send before the session closes with 1002."""
    max_debts: int = 64
    """Messages that may wait for their ack at once; the oldest is acked without verbs when one more comes."""
    max_owed_text: int = 1024 * 1024
    """Characters of these messages; the oldest are acked without verbs when more come."""
    max_settled: int = 256
    """Acked messages remembered, to tell a second ack from one for a message that never was."""
    max_held: int = 256
    """Commands that may wait for jambonz to begin to listen."""
    max_held_text: int = 256 * 1024
    """Characters of these commands."""
    max_verbs: int = 1024
    """Verbs remembered, to know their hooks again."""
    max_verbs_text: int = 256 * 1024
    """Characters of these verbs, as they were sent."""
    max_legs: int = 64
    """Other legs of the call whose state is remembered."""
    max_pending_tokens: int = 64 * 1024
    """Characters of text that may wait to be spoken; more is refused. Over an hour of speech."""
    max_pending_pieces: int = 8192
    """Pieces of it."""
    opening_timeout: float = 10.0
    """Seconds jambonz may take for its first message; it sends it at once."""
    ringing_timeout: float = 300.0
    """Seconds a call that was ordered by REST may ring before it is offered; statuses tell of it meanwhile."""
    offer_timeout: float = 3.0
    """Seconds the application may take for the ack of an offer. jambonz rejects the call after 5."""
    hook_timeout: float = 3.0
    """Seconds it may take for the ack of a hook. jambonz goes on without it after 5, and stands still till then."""
    first_command_delay: float = 0.1
    """Seconds from the first ack to the first command, where no message comes before. jambonz begins to listen for
    commands some milliseconds after it has used the ack, and loses what comes earlier without a trace."""
    token_timeout: float = 5.0
    """Seconds jambonz may take to answer tokens; it does so at once, or never will."""
    close_timeout: float = 10.0
    """Seconds jambonz may take to close once the call is over: it waits 5 for the ack of a last hook."""
    max_connections: int = 5
    """Sockets that jambonz opens for one call by itself; `#rc=` in the hook's URL changes it."""


@attrs.frozen(kw_only=True)
class ControlSettings:
    """How an application's end behaves by itself."""

    holding_verbs: tuple[Verb, ...] = attrs.field(default=(Pause(length=1),))
    """Acks an offer that nobody has answered in time: the call goes on ringing, and waits for a redirect."""
    names_verbs: bool = True
    """Give an id to each verb that has none, so that its hook can be told from others'."""

    @holding_verbs.validator
    def _check_holding_verbs(self, _attribute: object, verbs: tuple[Verb, ...]) -> None:
        if not stack_json(verbs):
            raise ValueError("holding_verbs should not be empty: jambonz rejects a call without verbs")
