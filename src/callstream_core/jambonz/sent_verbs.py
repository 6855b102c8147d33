"""The verbs that went out: whose hook is it, and was that verb interrupted?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import attrs

from callstream_core.jambonz.limits import ControlLimits
from callstream_core.jambonz.values import Hook, Verb
from callstream_core.jambonz.words import HookCalled, VerbProgressed


class _Remembered:
    """Verbs by name, the oldest first, each with its share of the message that brought it."""

    __slots__ = ("_size", "_sizes", "verbs")

    def __init__(self) -> None:
        self.verbs: dict[str, Verb] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0

    def add(self, name: str, verb: Verb, size: int) -> None:
        self.drop(name)
        self.verbs[name] = verb
        self._sizes[name] = size
        self._size += size

    def drop(self, name: str) -> None:
        if self.verbs.pop(name, None) is not None:
            self._size -= self._sizes.pop(name)

    def take_all(self, others: _Remembered) -> None:
        for name, verb in others.verbs.items():
            self.add(name, verb, others._sizes[name])
        others.clear()

    def clear(self) -> None:
        self.verbs.clear()
        self._sizes.clear()
        self._size = 0

    def keep(self, limits: ControlLimits) -> None:
        """Forget the oldest, as far as the limits want it."""
        while len(self.verbs) > limits.max_verbs or self._size > limits.max_verbs_text:
            self.drop(next(iter(self.verbs)))

    @property
    def hooks(self) -> set[str]:
        """The URLs of their action hooks."""
        found = (getattr(verb, "action_hook", None) for verb in self.verbs.values())
        return {hook.url if isinstance(hook, Hook) else hook for hook in found if isinstance(hook, str | Hook)}


class SentVerbs:
    """Verbs by id, those of the stack and those that a redirect has interrupted."""

    __slots__ = ("_count", "_current", "_interrupted", "_limits", "running")

    def __init__(self, limits: ControlLimits) -> None:
        self.running: str | None = None
        """The id of the verb that runs, as far as `verb:status` tells."""
        self._limits = limits
        self._current = _Remembered()
        self._interrupted = _Remembered()
        self._count = 0

    def append(self, verbs: Sequence[Verb], size: int) -> None:
        """Note verbs that went behind the others, in a message of this size."""
        for verb in verbs:
            self._count += 1
            # Two verbs of one id, or none, are told apart by their order alone.
            self._current.add(verb.id or f"#{self._count}", verb, size // len(verbs))
        self._current.keep(self._limits)

    def replace(self, verbs: Sequence[Verb], size: int) -> None:
        """Note verbs that took the place of the rest of the stack, when a verb had ended."""
        self._current.clear()
        self.append(verbs, size)

    def interrupt(self, verbs: Sequence[Verb], size: int) -> None:
        """Note verbs that took the place of all others, the running one too."""
        self._interrupted.take_all(self._current)
        self._interrupted.keep(self._limits)
        self.append(verbs, size)

    def is_interrupted(self, event: HookCalled) -> bool:
        """Tell whether a hook is that of a verb that a redirect has interrupted."""
        name = event.verb_id
        if name is not None:
            return name in self._interrupted.verbs and name not in self._current.verbs
        return event.hook in self._interrupted.hooks and event.hook not in self._current.hooks

    def find(self, name: str) -> Verb | None:
        """Return the verb of an id."""
        return self._current.verbs.get(name) or self._interrupted.verbs.get(name)

    def follow(self, event: VerbProgressed) -> None:
        """Learn from a status which verb runs."""
        name = event.verb_id
        if event.event == "starting":
            self.running = name if name is not None and self.find(name) else None
            if name in self._current.verbs:
                # One verb runs at a time: whatever was interrupted has wound up.
                self._interrupted.clear()
        elif event.event == "finished" and name is not None:
            if name == self.running:
                self.running = None
            self._current.drop(name)
            self._interrupted.drop(name)


def named(verbs: Iterable[Verb], count: int) -> tuple[Verb, ...]:
    """Return `verbs`, each with an id; `count` verbs were named before."""
    found = []
    for number, verb in enumerate(verbs, count + 1):
        # A raw verb is somebody else's, and may not take one.
        takes_id = isinstance(verb, Verb) and verb.id is None and bool(verb.word)
        found.append(attrs.evolve(cast(Any, verb), id=f"v{number}") if takes_id else verb)
    return tuple(found)
