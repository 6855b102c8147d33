"""What bounds a call's memory, and what is counted of it."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class CallLimits:
    """The bounds of what waits for a handler."""

    max_events: int = 1024
    """Events that a handler may leave unread; the oldest is dropped and counted."""
    max_unread_text: int = 1024 * 1024
    """Characters of jambonz's messages that a handler may leave unread; the oldest is dropped and counted."""
    max_unread_audio: float = 2.0
    """Seconds of caller audio that a handler may leave unread; the oldest is dropped and counted."""
    max_ahead: float = 1.0
    """Seconds of audio that `play` leaves waiting in the session when it returns."""


@attrs.define
class CallStats:
    """What happened on a call so far."""

    events_dropped: int = 0
    audio_dropped: int = 0
    """Pieces of caller audio that no one read in time."""
    dropped_by_track: dict[str, int] = attrs.field(factory=dict)
    """The same for each party, where they have tracks of their own."""
    sink_refused: int = 0
    """Replies of a sink that the session would not take."""
    messages_received: int = 0
    messages_sent: int = 0
    tolerated: dict[str, int] = attrs.field(factory=dict)
    """Every tolerance that the session needed, by name."""


class CallEnded(Exception):
    """The call is over; what was asked cannot be done any more. Leaving a handler with it is a normal end."""
