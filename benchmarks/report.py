"""Everything that the page on performance shows, from one run."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import capacity, frame, machine, memory, plots, servers
from benchmarks.load import Load, compare, generating, watched_round
from benchmarks.machine import CannotMeasure
from benchmarks.show import progress

_SIZES = (1, 50, 200, 500, 1000)


def capacities(
    chosen: Sequence[str], *, seconds: float, rounds: int, quick: bool = False, is_quiet: bool = False
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Search every server's capacity, in turns; return medians with their spread."""
    found: dict[str, list[capacity.Capacity]] = {}
    missing: dict[str, str] = {}
    with progress(len(chosen) * rounds * 8, quiet=is_quiet) as step:
        for _ in range(1 if quick else rounds):
            for server in chosen:
                if server in missing:
                    continue
                try:
                    if quick:
                        each = capacity.search(server, start=20, seconds=0.5, precision=1.0, most=20, step=step)
                    else:
                        each = capacity.search(server, seconds=seconds, step=step)
                    found.setdefault(server, []).append(each)
                except CannotMeasure as error:
                    missing[server] = str(error)
    return [_summary(server, all_rounds) for server, all_rounds in found.items()], missing


def _summary(server: str, rounds: list[capacity.Capacity]) -> dict[str, Any]:
    calls = [each.calls for each in rounds]
    last = [step for each in rounds for step in each.steps if step.load.calls == each.calls]
    return {
        "server": server,
        "calls": statistics.median_low(calls),
        "least": min(calls),
        "most": max(calls),
        "cpu": statistics.median(step.cpu for step in last) if last else 0.0,
        "generator": max((step.generator for step in last), default=0.0),
        "is_generator_bound": any(each.is_generator_bound for each in rounds),
        "steps": [
            {"calls": step.load.calls, "p99": step.latency.percentile(0.99), "lost": step.lost}
            for each in rounds
            for step in each.steps
        ],
    }


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


def measure_all(*, rounds: int, seconds: float, save: Callable[[dict[str, Any]], None]) -> None:
    """Measure everything, the longest last; give what there is to `save` after each part, as `write` takes it."""
    everybody = servers.names()
    found: dict[str, Any] = {"machine": machine.describe(), "rounds": rounds}

    def run(chosen: Sequence[str], loads: Sequence[Load]) -> dict[str, Any]:
        with progress(len(chosen) * len(loads) * rounds) as step:
            results, missing = compare(chosen, loads, rounds=rounds, step=step)
        return {"measured": [result.as_json() for result in results], "missing": missing}

    def loads(work: str, sizes: Sequence[int], **more: Any) -> list[Load]:
        return [Load(work=work, calls=calls, seconds=seconds, **more) for calls in sizes]

    def capacity_part() -> dict[str, Any]:
        measured, missing = capacities(everybody, seconds=seconds, rounds=rounds)
        return {"capacities": measured, "missing": missing}

    stalls = [each for ms in (50, 100, 200) for each in loads("stalled", (200,), stall=ms)]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "frame": frame.run,
        "memory": lambda: {"bytes_per_call": memory.run(calls=500)},
        "bargein": lambda: run(("callstream",), loads("bargein", (200,))),
        "echo": lambda: run(everybody, loads("echo", (200,))),
        "saturated": lambda: run(everybody, loads("saturated", (50,))),
        "pacing": lambda: run(("callstream", "picows-uvloop", "c-epoll"), loads("duplex", _SIZES)),
        "stalled": lambda: run(("callstream",), stalls),
        "capacity": capacity_part,
    }
    for name, measure_part in parts.items():
        found[name] = measure_part()
        save(found)


# The page


def write(found: dict[str, Any], docs: Path) -> None:
    """Replace the tables of the page between their markers, and the pictures."""
    page = docs / "performance.md"
    text = page.read_text()
    for name, table in _tables(found).items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marked.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)  # type: ignore[misc]
    page.write_text(text)
    images = docs / "images"
    images.mkdir(exist_ok=True)
    if "capacity" in found:
        plots.capacities(found["capacity"]["capacities"], images / "capacity.png")
    if "echo" in found:
        plots.cost_by_server(found["echo"]["measured"], images / "cost.png")
    if "pacing" in found:
        plots.survival([r for r in found["pacing"]["measured"] if r["calls"] == 200], images / "lateness.png")


def _tables(found: dict[str, Any]) -> dict[str, str]:
    host = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found["machine"].items())
    forms: dict[str, Callable[[dict[str, Any]], str]] = {
        "capacity": _capacity_table,
        "echo": lambda part: _load_table(part, ("cpu", "core", "p50", "p99")),
        "saturated": lambda part: _load_table(part, ("cpu",)),
        "pacing": lambda part: _load_table(part, ("core", "p50", "p99", "p99.9", "max")),
        "stalled": lambda part: _stall_table(part["measured"]),
        "bargein": lambda part: _bargein_table(part["measured"]),
        "memory": lambda part: f"{part['bytes_per_call'] / 1024:.1f} KiB per idle call.",
        "frame": _frame_table,
    }
    tables = {name: form(found[name]) for name, form in forms.items() if name in found}
    return tables | {"machine": f"{host}; medians of {found['rounds']} rounds."}


def _frame_table(part: dict[str, Any]) -> str:
    rows = [(name, *(f"{times[key]:.2f}" for key in ("median", "least", "most"))) for name, times in part.items()]
    return _rows(("work", "median µs", "least", "most"), rows)


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def _capacity_table(part: dict[str, Any]) -> str:
    ours = next((r["calls"] for r in part["capacities"] if r["server"] == "callstream"), 0)
    rows: list[tuple[object, ...]] = []
    for r in sorted(part["capacities"], key=lambda r: -int(r["calls"])):
        spread = f"{r['calls']} ({r['least']}..{r['most']})"
        ratio = f"{ours / r['calls']:.2f}" if r["calls"] else "-"
        rows.append((r["server"], spread, ratio, f"{r['cpu']:.1f}", "yes" if r["is_generator_bound"] else "no"))
    rows += [(name, f"not measured: {why}", "", "", "") for name, why in part["missing"].items()]
    head = ("server", "calls per core", "callstream is … times that", "CPU µs per frame", "limited by the generator")
    return _rows(head, rows) + "\n\n![Duplex calls per core, by server](images/capacity.png)"


_FORMS: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu": ("CPU µs per frame", lambda x: f"{x:.1f}"),
    "core": ("core %", lambda x: f"{x * 100:.0f}"),
}


def _load_table(part: dict[str, Any], keys: Sequence[str]) -> str:
    heads = [_FORMS[key][0] if key in _FORMS else f"{key} ms" for key in keys]
    rows: list[list[str]] = []
    for r in part["measured"]:
        row = [r["server"], str(r["calls"])]
        for key in keys:
            form = _FORMS[key][1] if key in _FORMS else lambda x: f"{x:.2f}"
            row.append(f"{form(r[key]['median'])} ({form(r[key]['least'])}..{form(r[key]['most'])})")
        rows.append([*row, str(r["lost"]), f"{r['generator']['median'] * 100:.0f} / {r['slip_p99']['median']:.2f}"])
    rows += [[name, f"not measured: {why}"] for name, why in part["missing"].items()]
    return _rows(("server", "calls", *heads, "lost", "generator % / its p99 slip ms"), rows)


def _stall_table(measured: list[dict[str, Any]]) -> str:
    rows = []
    for r in measured:
        episode = r["longest_episode"]["median"]
        rows.append((r["stall"], r["calls"], r["lost"], r["late"], f"{max(episode - r['stall'], 0):.1f}"))
    return _rows(("stall ms, once a second", "calls", "lost", "frames over 5 ms late", "recovery ms"), rows)


def _bargein_table(measured: list[dict[str, Any]]) -> str:
    rows = []
    for r in measured:
        for name, key in (("the clear on the wire", ""), ("the last audio byte", "tail_")):
            numbers = [f"{r[key + share]['median']:.2f}" for share in ("p50", "p99", "max")]
            rows.append((r["calls"], name, *numbers, r["frames"], r["lost"]))
    return _rows(("calls", "from `clear()` to", "p50 ms", "p99", "max", "clears", "lost"), rows)
