"""Everything that the page on performance shows, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from benchmarks import capacity, frame, machine, memory, pauses, servers
from benchmarks.journal import Journal
from benchmarks.load import Load, compare, generating, watched_round
from benchmarks.show import progress

SIZES = (1, 50, 200, 500, 1000)
STALLS = (50, 100, 200)


def soak(load: Load, server: str = "callstream") -> dict[str, Any]:
    """Run one load for long; return what became of memory and frames."""
    port = machine.free_port()
    with (
        machine.running(servers.command_for(server, load.work, port), core=0, port=port) as process,
        generating(load, port) as generator,
    ):
        before = process.memory
        found = watched_round(server, load, process, generator)
        grown = process.memory - before
    return {
        "seconds": load.seconds,
        "calls": load.calls,
        "frames": found.frames,
        "lost": found.lost,
        "p99_ms": found.latency.percentile(0.99),
        "p99.99_ms": found.latency.percentile(0.9999),
        "grown_KiB": grown / 1024,
    }


@attrs.frozen(kw_only=True)
class _Run:
    """How the parts are measured."""

    servers: tuple[str, ...]
    rounds: int
    seconds: float
    journal: Journal

    @property
    def ours(self) -> tuple[str, ...]:
        return tuple(filter(servers.is_ours, self.servers))

    @property
    def few(self) -> tuple[str, ...]:
        """Those that are measured at every size."""
        return (*self.ours, *(name for name in ("picows-uvloop", "c-epoll") if name in self.servers))

    def load(self, work: str, calls: int, **more: Any) -> Load:
        return Load(work=work, calls=calls, seconds=self.seconds, **more)

    def compare(self, chosen: Sequence[str], loads: Sequence[Load]) -> dict[str, Any]:
        with progress(len(chosen) * len(loads) * self.rounds) as step:
            results, missing = compare(chosen, loads, rounds=self.rounds, step=step, measure=self.journal.measure)
        return {"measured": [result.as_json() for result in results], "missing": missing}


def _sizes(run: _Run) -> dict[str, Any]:
    return run.compare(
        tuple(name for name in run.few if name != "picows-uvloop"),
        [
            run.load(work, calls, is_tls=is_tls)
            for work in ("echo", "saturated")
            for is_tls in (False, True)
            for calls in SIZES
        ],
    )


def _capacity(run: _Run) -> dict[str, Any]:
    with progress(len(run.servers) * run.rounds * 12) as step:
        found, missing = capacity.capacities(
            run.servers, run.journal.measure, seconds=run.seconds, rounds=run.rounds, step=step
        )
    return {"capacities": found, "missing": missing}


def _pauses(run: _Run) -> dict[str, Any]:
    with progress(len(run.ours) * run.rounds * len(pauses.HABITS)) as step:
        found = pauses.run(run.ours, run.load("duplex", 1000), rounds=run.rounds, step=step, recall=run.journal.recall)
    return {"pauses": found}


def _memory(run: _Run) -> dict[str, Any]:
    return {"bytes_per_call": run.journal.recall("memory", lambda: memory.run(calls=500))}


_PARTS: dict[str, Callable[[_Run], dict[str, Any]]] = {
    "frame": lambda run: dict(run.journal.recall("frame", frame.run)),
    "memory": _memory,
    "bargein": lambda run: run.compare(run.ours, [run.load("bargein", 200)]),
    "pauses": _pauses,
    "echo": lambda run: run.compare(run.servers, [run.load("echo", 200)]),
    "tls": lambda run: run.compare(run.servers, [run.load("echo", 200, is_tls=True)]),
    "saturated": lambda run: run.compare(run.servers, [run.load("saturated", 50)]),
    "pacing": lambda run: run.compare(run.few, [run.load("duplex", calls) for calls in SIZES]),
    "stalled": lambda run: run.compare(run.ours, [run.load("stalled", 200, stall=stall) for stall in STALLS]),
    "capacity": _capacity,
    "sizes": _sizes,
}
NAMES = tuple(_PARTS)
IN_ONE_GO = ("frame", "memory")
"""Parts that repeat themselves as often as they need."""


def measure_part(
    name: str, chosen: tuple[str, ...], *, rounds: int, seconds: float, journal: Journal
) -> dict[str, Any]:
    """Measure one part, as the page takes it."""
    return _PARTS[name](_Run(servers=chosen, rounds=rounds, seconds=seconds, journal=journal))
