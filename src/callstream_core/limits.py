"""Every number that bounds memory, time or patience, with its reason."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of one session. Seconds and bytes; counts say of what."""

    max_pending_audio: int = 4 * 1024 * 1024
    """Bytes of audio that may wait in the session; more is refused. Four minutes of slin, nine of ulaw."""
    max_pending_items: int = 8192
    """Pieces (chunks, packets, marks) that may wait in the session: many tiny pieces cost more than their bytes."""
    max_marks: int = 1024
    """Marks that may be unanswered at once."""
    max_inquiries: int = 64
    """Questions for the queue level (status requests, clears) that may be unanswered at once."""
    max_early_audio: int = 64 * 1024
    """Bytes of caller audio kept when it overtakes the opening message; more is dropped and counted."""
    max_early_messages: int = 256
    """Messages of such audio."""
    max_text: int = 64 * 1024
    """Characters of one control message from the peer. Asterisk's opening grows with its channel variables."""
    max_misbehaviour: int = 100
    """Broken messages a peer may send before the session closes the link with 1002."""
    opening_timeout: float = 10.0
    """Seconds a platform may take for its opening message."""
    decision_timeout: float | None = 5.0
    """Seconds an application may take to answer or reject a call that needs it; then the session rejects it.
    Platforms wait for ten, and report a timeout."""
    close_timeout: float = 5.0
    """Seconds a platform may take to close after we hung up, or after it said that the call has ended."""
    acknowledgement_slack: float = 2.0
    """Seconds past the estimated playout after which a mark is answered without the platform's word."""
    status_timeout: float = 0.5
    """Seconds a platform may take to tell its queue level before an estimate serves instead."""
    max_burst_packets: int = 64
    """Packets sent by one wake-up when the application owns the clock and woke late."""


@attrs.frozen(kw_only=True)
class PlayoutSettings:
    """How an application end runs a platform's playout queue."""

    send_ahead: float | None = 1.0
    """Seconds of audio sent ahead of playout; None fills the queue until the platform says stop."""
    status_interval: float | None = 5.0
    """Seconds between questions for the queue level while audio plays; None never asks by itself."""
    emulates: bool = True
    """Do ourselves what the platform cannot (marks and clear in passthrough), flagged as estimated; else refuse."""
