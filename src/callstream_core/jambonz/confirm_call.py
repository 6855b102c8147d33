"""The verbs that a dialled party hears before it is joined to the caller (`dial:confirm`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import parts
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.profile import JambonzProfile, Leg
from callstream_core.jambonz.running import Call
from callstream_core.jambonz.values import Object, Verb
from callstream_core.jambonz.verb_runner import VerbRunner

# What verbs that replace the first ones may be: a slip of the engine's leaves `play` out.
REPLACEMENTS = frozenset({"config", "gather", "say", "tag"})


class ConfirmCall:
    """A dialled leg, as far as verbs care; it speaks by the caller's socket."""

    def __init__(self, caller: Call, leg: Leg) -> None:
        self.profile: JambonzProfile = caller.profile
        self.leg = leg
        self.is_done = False
        """Whether its verbs have run: the parties can be joined."""
        self.runner = VerbRunner(self)
        self._caller = caller
        self._notifies = False

    def begin(self, verbs: tuple[Verb, ...], now: float) -> None:
        """Run the first verbs, of all that run on an answered leg."""
        self.runner.append(verbs, now)
        self.runner.allowed = REPLACEMENTS

    @property
    def is_over(self) -> bool:
        """Whether the party has gone."""
        return not self.leg.is_up

    def put(self, output: h.PlatformOutput) -> None:
        """Hand out an output."""
        self._caller.put(output)

    def notify(self, data: Object) -> None:
        """Send a `verb:status`, if this leg's own `config` has turned them on."""
        if self._notifies:
            self._caller.ask(w.VerbProgressed, data)

    def ask(self, kind: type[w.Notice], data: Object, hook: str | None = None) -> str:
        """Send a message; return its msgid."""
        return self._caller.ask(kind, data, hook)

    def tell_status(self, leg: Leg, **extra: Any) -> None:
        """Send a `call:status`."""
        self._caller.tell_status(leg, **extra)

    def answer(self, now: float, is_early: bool = False) -> None:
        """Do nothing: it was the party that has answered."""

    def configure(self, config: v.Config) -> None:
        """Apply a `config`."""
        self._notifies = self._notifies or config.notify_events is True

    def redirect(self, url: str, now: float) -> str:
        """Ask a hook for a new stack; return the msgid of the question."""
        return self._caller.ask(w.SessionRedirected, self.leg.data(self.profile), url)

    def hang_up(self, now: float, headers: Mapping[str, Any] | None = None) -> None:
        """End the leg."""
        self.leg.end(now)
        self.leg.terminated_by = "jambonz"
        self._caller.tell_status(self.leg)

    def decline(self, status: int, reason: str, headers: Mapping[str, Any] | None) -> None:
        """Do nothing: it cannot be refused any more."""

    def starts(self) -> None:
        """Note that a verb starts."""

    def wait(self, now: float, delay: parts.HookDelay | None = None) -> None:
        """Note that a hook is asked for what comes next."""

    def rest(self, now: float) -> None:
        """Note that there are no more verbs."""
        self.is_done = True
