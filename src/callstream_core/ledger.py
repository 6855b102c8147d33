"""What was accepted, sent, heard and cleared, and how sure we are."""

from __future__ import annotations

import attrs

_MAX_BOUNDARIES = 64


@attrs.define(kw_only=True)
class Clearing:
    """One clear: what it hit. `position` starts as an estimate; the platform may correct it."""

    rate: float
    position: int
    """Where playout stood in the stream."""
    acknowledged: int
    """How far the platform itself had told us."""
    sent: int
    pending: int
    boundaries: tuple[int, ...]
    """Stream positions at which an utterance began; the first is where the stream stood at the clear before."""

    @property
    def heard(self) -> float:
        """Seconds of the current utterance that were played."""
        return (self.position - max(b for b in self.boundaries if b <= self.position)) / self.rate

    @property
    def discarded(self) -> float:
        """Seconds that were not."""
        return (self.sent - self.position + self.pending) / self.rate


class Ledger:
    """Counts one call's reply audio in units: bytes where the platform cuts frames, packets where we do.

    The whole playout model is one number, `dry_at`: the moment at which everything sent will have been played.
    At any `now` before it, `(dry_at - now) * rate` units are still unheard. What the platform reports corrects it.
    """

    __slots__ = (
        "_boundaries",
        "_held",
        "_skipped",
        "_utterance",
        "accepted",
        "acknowledged",
        "cleared",
        "debt",
        "dry_at",
        "rate",
        "sent",
        "sent_at",
    )

    def __init__(self, rate: float) -> None:
        self.rate = rate
        """Units per second."""
        self.accepted = 0
        """Units taken from the application."""
        self.sent = 0
        """Units transmitted: the stream position that all other positions refer to."""
        self.sent_at = float("-inf")
        """When that was last."""
        self.cleared = 0
        """Units that were dropped before they were heard."""
        self.acknowledged = 0
        """The stream position up to which the platform itself has told us the outcome."""
        self.dry_at = float("-inf")
        self.debt = 0.0
        """Seconds by which the platform has fallen behind its own clock since it last ran dry (lost ticks)."""
        self._held: float | None = None
        self._skipped = 0
        self._utterance = 0
        self._boundaries: list[int] = []

    @property
    def is_held(self) -> bool:
        """True while playout stands still."""
        return self._held is not None

    @property
    def is_settled(self) -> bool:
        """True when the platform has told the outcome of everything sent."""
        return self.acknowledged == self.sent

    def send(self, units: int, now: float) -> None:
        """Record a transmission."""
        self.sent += units
        self.sent_at = now
        seconds = units / self.rate
        if self._held is not None:
            self._held += seconds
        elif now >= self.dry_at:
            self.dry_at = now + seconds
        else:
            self.dry_at += seconds

    def catch_up(self, units: int, sent_at: float, dry_at: float) -> None:
        """Record transmissions that happened meanwhile, while playout ran on."""
        self.sent += units
        self.sent_at = sent_at
        self.dry_at = dry_at

    def backlog(self, now: float) -> float:
        """Return the seconds of sent audio that are not heard yet, as far as we know."""
        if self._held is not None:
            return self._held
        return max(self.dry_at - now, 0.0)

    def unheard(self, now: float) -> int:
        """Return the same in units."""
        return round(self.backlog(now) * self.rate)

    def position(self, now: float) -> int:
        """Return the stream position that is being heard."""
        return max(self.sent - self.unheard(now), self.acknowledged)

    def time_of(self, position: int) -> float | None:
        """Return when `position` will be heard; None while playout stands still."""
        if self._held is not None:
            return None
        return self.dry_at - (self.sent - position) / self.rate

    def hold(self, now: float) -> None:
        """Stop the playout clock."""
        if self._held is None:
            self._held = self.backlog(now)

    def release(self, now: float) -> None:
        """Let the playout clock run on."""
        if self._held is not None:
            self.dry_at = now + self._held
            self._held = None

    def acknowledge(self, position: int, now: float) -> None:
        """Correct the clock: the platform has played exactly up to `position`. What it cannot mean is no news."""
        if not self.acknowledged <= position <= self.sent:
            return
        self.acknowledged = position
        backlog = (self.sent - position) / self.rate
        slip = backlog - self.backlog(now)
        if self._held is not None:
            self._held = backlog
        else:
            self.dry_at = now + backlog
        self.debt = max(self.debt + slip, 0.0) if backlog > 0 else 0.0

    def passed(self, position: int, now: float) -> None:
        """Correct the clock: the platform has played up to `position`, and may have played on since."""
        if (self.sent - position) / self.rate < self.backlog(now):
            self.acknowledge(position, now)
        else:
            self.acknowledged = max(self.acknowledged, position)

    def heard_to(self, position: int) -> int:
        """Return the units that were played when playout stood at `position`."""
        return position - self._skipped

    def end_utterance(self, pending: int) -> None:
        """Remember that an utterance ends behind the `pending` units that are not sent yet."""
        boundaries = self._boundaries
        end = self.sent + pending
        if end == (boundaries[-1] if boundaries else self._utterance):
            return
        while boundaries and boundaries[0] <= self.acknowledged:
            self._utterance = boundaries.pop(0)
        boundaries.append(end)
        if len(boundaries) > _MAX_BOUNDARIES:
            boundaries.pop(0)

    def clear(self, pending: int, position: int, now: float) -> Clearing:
        """Forget everything behind `position`, and `pending` units that were never sent."""
        position = max(position, self.acknowledged)
        end = self.sent + pending
        clearing = Clearing(
            rate=self.rate,
            position=position,
            acknowledged=self.acknowledged,
            sent=self.sent,
            pending=pending,
            # Where nothing follows, no utterance has begun: the last one is still what the caller has in his ear.
            boundaries=(self._utterance, *(b for b in self._boundaries if b < end)),
        )
        self._boundaries.clear()
        self._utterance = self.acknowledged = self.sent
        self.dry_at = now
        self._held = None
        self.debt = 0.0
        self.cleared += pending + self.sent - position
        self._skipped += self.sent - position
        return clearing

    def settle(self, clearing: Clearing, position: int) -> None:
        """Correct a clear: the platform's playout stood at `position`, as far as that makes sense."""
        position = min(max(position, clearing.acknowledged), clearing.sent)
        self.cleared += clearing.position - position
        self._skipped += clearing.position - position
        clearing.position = position
