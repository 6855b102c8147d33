"""What goes wrong, sorted by whose mistake it is.

Mistakes of our own caller raise. Mistakes of the peer never do: they are outputs (`PeerMisbehaved`).
"""

from __future__ import annotations


class LocalProtocolError(Exception):
    """Our caller asked for something that cannot be done now; the session is unchanged."""


class Unsupported(LocalProtocolError):
    """This platform cannot do it at all; the message says what to do instead."""


class PendingAudioFull(LocalProtocolError):
    """The session holds as much unsent audio as `Limits.max_pending_audio` allows: send again later.

    This is back-pressure, not loss: nothing of the refused audio was taken.
    """


class Malformed(Exception):
    """A codec could not read a peer's message. Stays inside the core; engines turn it into outputs."""

    is_answered = False
    """Whether the platform tells the application so."""
    is_fatal = False
    """Whether the platform's process dies of it, and the connection with it."""
