"""How many duplex calls one core carries: 50 frames/s in and 50 paced frames/s out each, p99 lateness within 5 ms."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from benchmarks.load import MAX_GENERATOR, Load, Round
from benchmarks.machine import CannotMeasure

MAX_LATENESS = 5.0
"""Milliseconds that 99 of 100 frames must keep."""
MAX_CALLS = 4000
_FAILURES = 2
"""How often a server fails at a size before it counts: noise passes."""
_TRIES = 4
"""How often a size is tried at most, where the generator spoils it."""

Verdict = Literal["carried", "late", "lost", "refused", "doubtful"]
Measure = Callable[[str, Load], Round]


@attrs.frozen(kw_only=True)
class Step:
    """One try at one size."""

    calls: int
    verdict: Verdict
    p99: float = 0.0
    lost: int = 0
    cpu: float = 0.0
    generator: float = 0.0
    slip: float = 0.0
    """Milliseconds that the generator itself was late, at p99."""
    why: str = ""
    """Refused: what kept it from being measured."""


@attrs.frozen(kw_only=True)
class Capacity:
    """The answer for one server: the most calls that were carried, and every step on the way."""

    server: str
    calls: int
    steps: list[Step]

    @property
    def is_bound_by_generator(self) -> bool:
        """Whether the generator, and not the server, may have been the end of it: then it carries more."""
        failed = [step.calls for step in self.steps if step.calls > self.calls]
        return not failed or any(s.verdict == "doubtful" for s in self.steps if s.calls == min(failed))


def judge(found: Round) -> Verdict:
    """Tell whether a server bore this load; what the generator may have spoiled does not count against it."""
    p99, slip = found.latency.percentile(0.99), found.slip.percentile(0.99)
    if found.lost == 0 and p99 <= MAX_LATENESS:
        return "carried"
    if found.generator > MAX_GENERATOR:
        return "doubtful"
    if found.lost:
        return "lost"
    return "late" if p99 - slip > MAX_LATENESS else "doubtful"


def _try(server: str, load: Load, measure: Measure) -> Step:
    try:
        found = measure(server, load)
    except CannotMeasure as error:
        return Step(calls=load.calls, verdict="refused", why=str(error))
    return Step(
        calls=load.calls,
        verdict=judge(found),
        p99=found.latency.percentile(0.99),
        lost=found.lost,
        cpu=found.cpu,
        generator=found.generator,
        slip=found.slip.percentile(0.99),
    )


def search(
    server: str,
    measure: Measure,
    *,
    start: int = 200,
    seconds: float = 4.0,
    precision: float = 0.06,
    most: int = MAX_CALLS,
    step: Callable[[str], None] = lambda _: None,
) -> Capacity:
    """Double the calls until they are too many, then halve the rest."""
    steps: list[Step] = []

    def holds(calls: int) -> bool:
        failures = 0
        for _ in range(_TRIES):
            step(f"{server}, {calls} calls")
            steps.append(
                _try(server, Load(work="duplex", calls=calls, seconds=seconds, warmup=min(seconds, 1.5)), measure)
            )
            if steps[-1].verdict == "carried":
                return True
            failures += steps[-1].verdict != "doubtful"
            if failures == _FAILURES:
                break
        return False

    good, bad = 0, min(start, most)
    while holds(bad):
        good, bad = bad, min(bad * 2, most)
        if good == most:
            return Capacity(server=server, calls=good, steps=steps)
    while bad - good > max(precision * bad, 4):
        middle = (good + bad) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return Capacity(server=server, calls=good, steps=steps)


def capacities(
    chosen: Sequence[str],
    measure: Measure,
    *,
    seconds: float,
    rounds: int,
    step: Callable[[str], None] = lambda _: None,
    **limits: Any,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Search every server's capacity, in turns; return medians with their spread, and why others have none."""
    found: dict[str, list[Capacity]] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for server in chosen:
            if server not in missing:
                each = search(server, measure, seconds=seconds, step=step, **limits)
                if all(step.verdict == "refused" for step in each.steps):
                    # Not even a few calls: something is missing.
                    missing[server] = each.steps[-1].why
                else:
                    found.setdefault(server, []).append(each)
    return [_summary(server, all_rounds) for server, all_rounds in found.items()], missing


def _summary(server: str, rounds: list[Capacity]) -> dict[str, Any]:
    calls = [each.calls for each in rounds]
    last = [step for each in rounds for step in each.steps if step.calls == each.calls and step.verdict == "carried"]
    return {
        "server": server,
        "calls": statistics.median_low(calls),
        "least": min(calls),
        "most": max(calls),
        "rounds": len(rounds),
        "cpu": statistics.median(step.cpu for step in last) if last else 0.0,
        "generator": max((step.generator for step in last), default=0.0),
        "slip_p99": max((step.slip for step in last), default=0.0),
        "is_bound_by_generator": any(each.is_bound_by_generator for each in rounds),
        "steps": [attrs.asdict(step) for each in rounds for step in each.steps],
    }
