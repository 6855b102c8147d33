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


def measure_all(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure everything; the JSON that `write` takes."""
    everybody = servers.names()
    paces = {"rounds": rounds}

    def run(chosen: Sequence[str], loads: Sequence[Load]) -> dict[str, Any]:
        with progress(len(chosen) * len(loads) * rounds) as step:
            results, missing = compare(chosen, loads, **paces, step=step)
        return {"measured": [result.as_json() for result in results], "missing": missing}

    def loads(work: str, sizes: Sequence[int], **more: Any) -> list[Load]:
        return [Load(work=work, calls=calls, seconds=seconds, **more) for calls in sizes]

    found, missing = capacities(everybody, seconds=seconds, rounds=rounds)
    return {
        "machine": machine.describe(),
        "rounds": rounds,
        "capacity": {"capacities": found, "missing": missing},
        "echo": run(everybody, loads("echo", (200,))),
        "saturated": run(everybody, loads("saturated", (50,))),
        "pacing": run(("callstream", "picows-uvloop", "c-epoll"), loads("duplex", _SIZES)),
        "stalled": run(("callstream",), [each for ms in (50, 100, 200) for each in loads("stalled", (200,), stall=ms)]),
        "bargein": run(("callstream",), loads("bargein", (200,))),
        "memory": {"bytes_per_call": memory.run(calls=500)},
        "frame": frame.run(),
    }


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
    plots.capacities(found["capacity"]["capacities"], images / "capacity.png")
    plots.cost_by_server(found["echo"]["measured"], images / "cost.png")
    pacing = found["pacing"]["measured"]
    plots.survival([r for r in pacing if r["calls"] == 200], images / "lateness.png")


def _tables(found: dict[str, Any]) -> dict[str, str]:
    host = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found["machine"].items())
    return {
        "machine": f"{host}; medians of {found['rounds']} rounds.",
        "capacity": _capacity_table(found["capacity"]),
        "echo": _load_table(found["echo"], ("cpu", "core", "p50", "p99")),
        "saturated": _load_table(found["saturated"], ("cpu",)),
        "pacing": _load_table(found["pacing"], ("core", "p50", "p99", "p99.9", "max")),
        "stalled": _stall_table(found["stalled"]["measured"]),
        "bargein": _bargein_table(found["bargein"]["measured"]),
        "memory": f"{found['memory']['bytes_per_call'] / 1024:.1f} KiB per idle call.",
        "frame": _rows(
            ("work", "median µs", "least", "most"),
            [(name, *(f"{t[key]:.2f}" for key in ("median", "least", "most"))) for name, t in found["frame"].items()],
        ),
    }


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
    return _rows(head, rows)


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
