"""How many duplex calls one core carries: 50 frames/s in and 50 paced frames/s out each, p99 lateness within 5 ms."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from benchmarks.load import Load, Round, measure
from benchmarks.machine import CannotMeasure

MAX_LATENESS = 5.0
"""Milliseconds that 99 of 100 frames must keep."""
MAX_CALLS = 4000


@attrs.frozen(kw_only=True)
class Capacity:
    """The answer for one server: the most calls that were carried, and every step on the way."""

    server: str
    calls: int
    steps: list[Round]

    @property
    def is_generator_bound(self) -> bool:
        """Whether the generator, and not the server, may have been the end of it."""
        return any(step.generator > 0.9 for step in self.steps if not carries(step))


def carries(found: Round) -> bool:
    """Tell whether a server bore this load."""
    return found.lost == 0 and found.latency.percentile(0.99) <= MAX_LATENESS


def search(
    server: str,
    *,
    start: int = 200,
    seconds: float = 4.0,
    precision: float = 0.06,
    most: int = MAX_CALLS,
    step: Callable[[str], None] = lambda _: None,
) -> Capacity:
    """Double the calls until they are too many, then halve the rest. A failed step is tried again: noise passes."""
    steps: list[Round] = []

    def holds(calls: int) -> bool:
        for _ in range(2):
            step(f"{server}, {calls} calls")
            try:
                steps.append(measure(server, Load(work="duplex", calls=calls, seconds=seconds, warmup=1.5)))
            except CannotMeasure:
                # Too busy to take so many calls at all; a library that is missing fails at the first step.
                if not steps:
                    raise
                return False
            if carries(steps[-1]):
                return True
        return False

    good, bad = 0, start
    while bad <= most and holds(bad):
        good, bad = bad, bad * 2
    if good > most // 2:
        return Capacity(server=server, calls=good, steps=steps)
    while bad - good > max(precision * bad, 4):
        middle = (good + bad) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return Capacity(server=server, calls=good, steps=steps)
