"""How long the garbage collector holds live calls up: where the heap was frozen after start, and where it was not."""

from __future__ import annotations

import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.load import Load, generating, watched_round
from benchmarks.servers import command_for

HABITS = {"frozen after start": "1", "never frozen": ""}
"""What a server does about its heap, and what `BENCHMARK_FREEZE` says for it."""
_FULL = 2
"""The generation that a collection of everything is said to be of."""


def run(
    chosen: tuple[str, ...],
    load: Load,
    *,
    rounds: int,
    step: Callable[[str], None] = lambda _: None,
    recall: Callable[[str, Callable[[], Any]], Any] = lambda _, make: make(),
) -> list[dict[str, Any]]:
    """Measure every server with either habit, in turns."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for server in chosen:
            for habit in HABITS:
                step(f"{server}, {habit}, {load}")
                key = f"pauses, {server}, {habit}, {load}, {load.seconds} s"
                each = recall(key, partial(_round, server, habit, load))
                found.setdefault((server, habit), []).append(each)
    return [
        {"server": server, "habit": habit, "calls": load.calls, **_summary(each)}
        for (server, habit), each in found.items()
    ]


def _round(server: str, habit: str, load: Load) -> dict[str, Any]:
    port = machine.free_port()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "pauses.json"
        environment = {"BENCHMARK_FREEZE": HABITS[habit], "BENCHMARK_PAUSES": str(file)}
        with (
            machine.running(command_for(server, load.work, port), core=0, port=port, env=environment) as process,
            generating(load, port) as generator,
        ):
            start = time.monotonic()
            ends: list[float] = []

            def ask() -> None:
                ends.append(time.monotonic())
                process.process.send_signal(signal.SIGUSR1)

            result = watched_round(server, load, process, generator, at_end=ask)
            written = _wait_for(file)
    inside = [(generation, ms) for at, generation, ms in written["pauses"] if start <= at < ends[0]]
    return {
        "pauses": sorted(ms for _, ms in inside),
        "full": sum(generation == _FULL for generation, _ in inside),
        "collect_all": written["pauses"][-1][2],
        "objects": written["objects"],
        "seconds": ends[0] - start,
        "p99": result.latency.percentile(0.99),
        "lost": result.lost,
    }


def _wait_for(file: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while not file.exists():
        if time.monotonic() > deadline:
            raise machine.CannotMeasure("the server did not tell of its collections in time: overloaded")
        time.sleep(0.05)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def median(figure: Callable[[dict[str, Any]], float]) -> float:
        return round(statistics.median(map(figure, rounds)), 4)

    def percentile(pauses: list[float], share: float) -> float:
        return pauses[min(int(len(pauses) * share), len(pauses) - 1)] if pauses else 0.0

    return {
        "rounds": len(rounds),
        "per_second": median(lambda r: len(r["pauses"]) / r["seconds"]),
        "full": sum(r["full"] for r in rounds),
        "pause_p50": median(lambda r: percentile(r["pauses"], 0.5)),
        "pause_p99": median(lambda r: percentile(r["pauses"], 0.99)),
        "pause_max": max(percentile(r["pauses"], 1.0) for r in rounds),
        "share": median(lambda r: sum(r["pauses"]) / 1e3 / r["seconds"]),
        "collect_all": median(lambda r: r["collect_all"]),
        "objects": median(lambda r: r["objects"]),
        "p99": median(lambda r: r["p99"]),
        "lost": sum(r["lost"] for r in rounds),
    }
