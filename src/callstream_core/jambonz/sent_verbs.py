"""The verbs that went out: whose hook is it, and was that verb interrupted?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import attrs

from callstream_core.jambonz.values import Hook, Verb
from callstream_core.jambonz.words import HookCalled, VerbProgressed


class SentVerbs:
    """Verbs by id, those of the stack and those that a redirect has interrupted."""

    __slots__ = ("_count", "_current", "_interrupted", "_max", "running")

    def __init__(self, max_verbs: int) -> None:
        self.running: str | None = None
        """The id of the verb that runs, as far as `verb:status` tells."""
        self._current: dict[str, Verb] = {}
        self._interrupted: dict[str, Verb] = {}
        self._count = 0
        self._max = max_verbs

    def append(self, verbs: Iterable[Verb]) -> None:
        """Note verbs that went behind the others."""
        for verb in verbs:
            self._count += 1
            # Two verbs of one id, or none, are told apart by their order alone.
            self._current[verb.id or f"#{self._count}"] = verb
        while len(self._current) > self._max:
            del self._current[next(iter(self._current))]

    def replace(self, verbs: Iterable[Verb]) -> None:
        """Note verbs that took the place of the rest of the stack, when a verb had ended."""
        self._current.clear()
        self.append(verbs)

    def interrupt(self, verbs: Iterable[Verb]) -> None:
        """Note verbs that took the place of all others, the running one too."""
        self._interrupted |= self._current
        while len(self._interrupted) > self._max:
            del self._interrupted[next(iter(self._interrupted))]
        self.replace(verbs)

    def is_interrupted(self, event: HookCalled) -> bool:
        """Tell whether a hook is that of a verb that a redirect has interrupted."""
        name = event.verb_id
        if name is not None:
            return name in self._interrupted and name not in self._current
        return event.hook in _hooks(self._interrupted.values()) and event.hook not in _hooks(self._current.values())

    def find(self, name: str) -> Verb | None:
        """Return the verb of an id."""
        return self._current.get(name) or self._interrupted.get(name)

    def follow(self, event: VerbProgressed) -> None:
        """Learn from a status which verb runs."""
        name = event.verb_id
        if event.event == "starting":
            self.running = name
            if name in self._current:
                # One verb runs at a time: whatever was interrupted has wound up.
                self._interrupted.clear()
        elif event.event == "finished":
            if name == self.running:
                self.running = None
            if name is not None:
                self._current.pop(name, None)
                self._interrupted.pop(name, None)


def named(verbs: Iterable[Verb], count: int) -> tuple[Verb, ...]:
    """Return `verbs`, each with an id; `count` verbs were named before."""
    found = []
    for number, verb in enumerate(verbs, count + 1):
        # A raw verb is somebody else's, and may not take one.
        takes_id = isinstance(verb, Verb) and verb.id is None and bool(verb.word)
        found.append(attrs.evolve(cast(Any, verb), id=f"v{number}") if takes_id else verb)
    return tuple(found)


def _hooks(verbs: Iterable[Verb]) -> set[str]:
    found = (getattr(verb, "action_hook", None) for verb in verbs)
    return {hook.url if isinstance(hook, Hook) else hook for hook in found if isinstance(hook, str | Hook)}
