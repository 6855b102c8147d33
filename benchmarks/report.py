"""The page on performance: its tables and pictures, from what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.machine import CannotMeasure

Part = dict[str, Any]


def write(found: dict[str, Any], docs: Path) -> None:
    """Replace the tables of the page between their markers, and the pictures."""
    page = docs / "performance.md"
    text = page.read_text()
    for name, table in _tables(found).items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, places = marked.subn(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)  # type: ignore[misc]
        if not places:
            raise CannotMeasure(f"no place for a table in {page}: add lines <!-- {name} --> and <!-- end -->")
    page.write_text(text)
    images = docs / "images"
    images.mkdir(exist_ok=True)
    if "capacity" in found:
        plots.picture([plots.capacities], found["capacity"]["capacities"], images / "capacity.png")
    if "echo" in found:
        plots.picture([plots.cost_by_server], found["echo"]["measured"], images / "cost.png")
    if "pacing" in found:
        plots.picture([plots.survival, plots.calls_against_p99], found["pacing"]["measured"], images / "lateness.png")


def recovery(r: Part) -> float:
    """Return how many milliseconds frames were still late after a stall was over."""
    return max(float(r["longest_episode"]["median"]) - float(r["stall"]), 0.0)


def calls_of(r: Part) -> str:
    """Return a capacity; where the server was not the end of it, it is at least that."""
    return f"≥ {r['calls']}" if r["is_bound_by_generator"] else str(r["calls"])


def _tables(found: dict[str, Any]) -> dict[str, str]:
    host = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found["machine"].items())
    forms: dict[str, Callable[[Part], str]] = {
        "capacity": _capacity_table,
        "echo": lambda part: _load_table(part, ("cpu", "core", "p50", "p99")),
        "tls": lambda part: _load_table(part, ("cpu", "core", "p50", "p99")),
        "saturated": lambda part: _load_table(part, ("cpu",)),
        "sizes": _size_tables,
        "pacing": lambda part: _load_table(part, ("core", "p50", "p99", "p99.9", "p99.99", "max")),
        "stalled": lambda part: _stall_table(part["measured"]),
        "bargein": lambda part: _bargein_table(part["measured"]),
        "pauses": lambda part: _pause_table(part["pauses"]),
        "memory": lambda part: f"{part['bytes_per_call'] / 1024:.1f} KiB per idle call.",
        "frame": _frame_table,
    }
    tables = {
        name: f"{form(found[name])}{_in_rounds(found['rounds'].get(name))}"
        for name, form in forms.items()
        if name in found
    }
    return tables | {"machine": f"{host}."}


def _in_rounds(rounds: int | None) -> str:
    if rounds is None:
        return ""
    return "\n\nOne round." if rounds == 1 else f"\n\nMedians of {rounds} rounds."


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def _not_measured(part: Part) -> str:
    """Return a line for each server that could not be measured: one missing is not hidden."""
    return "".join(f"\n\n{name}: not measured: {' '.join(why.split())}" for name, why in part["missing"].items())


def _frame_table(part: Part) -> str:
    rows = [(name, *(f"{times[key]:.2f}" for key in ("median", "least", "most"))) for name, times in part.items()]
    return _rows(("work", "median µs", "least", "most"), rows)


def _capacity_table(part: Part) -> str:
    ours = next((r["calls"] for r in part["capacities"] if r["server"] == "callstream"), 0)
    rows: list[tuple[object, ...]] = []
    for r in sorted(part["capacities"], key=lambda r: -int(r["calls"])):
        spread = f"{calls_of(r)} ({r['least']}..{r['most']})"
        ratio = f"{ours / r['calls']:.2f}" if r["calls"] else "-"
        rows.append(
            (r["server"], spread, ratio, f"{r['cpu']:.1f}", f"{r['generator'] * 100:.0f} / {r['slip_p99']:.2f}")
        )
    head = ("server", "calls per core", "callstream is … times that", "CPU µs per frame", _GENERATOR)
    note = "\n\n≥: the generator, or the end of the search, was the limit; the server carries more."
    note *= any(r["is_bound_by_generator"] for r in part["capacities"])
    return f"{_rows(head, rows)}{note}{_not_measured(part)}\n\n![Duplex calls per core, by server](images/capacity.png)"


_GENERATOR = "generator % / its p99 slip ms"
_FORMS: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu": ("CPU µs per frame", lambda x: f"{x:.1f}"),
    "core": ("core %", lambda x: f"{x * 100:.0f}"),
}


def _load_table(part: Part, keys: Sequence[str]) -> str:
    heads = [_FORMS[key][0] if key in _FORMS else f"{key} ms" for key in keys]
    rows = [
        [r["server"], str(r["calls"]), *(_spread(r, key) for key in keys), str(r["lost"]), _generator(r)]
        for r in part["measured"]
    ]
    return _rows(("server", "calls", *heads, "lost", _GENERATOR), rows) + _not_measured(part)


def _spread(r: Part, key: str) -> str:
    form = _FORMS[key][1] if key in _FORMS else lambda x: f"{x:.2f}"
    return f"{form(r[key]['median'])} ({form(r[key]['least'])}..{form(r[key]['most'])})"


def _generator(r: Part) -> str:
    """Return how busy and late the generator was; with a mark where what was measured may be its own."""
    return f"{r['generator']['median'] * 100:.0f} / {r['slip_p99']['median']:.2f}" + " !" * bool(r["doubtful"])


def _size_tables(part: Part) -> str:
    """Return one table: a row for each server and size; paced, and saturated, and both over TLS."""
    kinds = [("echo", False), ("echo", True), ("saturated", False), ("saturated", True)]
    found = {(r["server"], r["calls"], r["work"], r["is_tls"]): r for r in part["measured"]}
    rows: list[tuple[object, ...]] = []
    for server, calls in dict.fromkeys((r["server"], r["calls"]) for r in part["measured"]):
        mine = [found.get((server, calls, *kind)) for kind in kinds]
        costs = [_spread(r, "cpu") if r else "-" for r in mine]
        late = [_spread(r, "p99") + " !" * bool(r["doubtful"]) if r else "-" for r in mine[:2]]
        rows.append((server, calls, *costs, *late))
    head = ("CPU µs: paced", "paced, TLS", "saturated", "saturated, TLS", "p99 ms: paced", "paced, TLS")
    return _rows(("server", "calls", *head), rows) + _not_measured(part)


def _stall_table(measured: list[Part]) -> str:
    rows = [(r["stall"], r["calls"], r["lost"], r["late"], f"{recovery(r):.1f}") for r in measured]
    return _rows(("stall ms, once a second", "calls", "lost", "frames over 5 ms late", "recovery ms"), rows)


def _bargein_table(measured: list[Part]) -> str:
    rows = []
    for r in measured:
        for name, key in (("the clear on the wire", ""), ("the last audio byte", "tail_")):
            numbers = [f"{r[key + share]['median']:.2f}" for share in ("p50", "p99", "max")]
            rows.append((r["calls"], name, *numbers, r["frames"], r["lost"]))
    return _rows(("calls", "from `clear()` to", "p50 ms", "p99", "max", "clears", "lost"), rows)


def _pause_table(measured: list[Part]) -> str:
    rows = []
    for r in measured:
        times = [f"{r[key]:.2f}" for key in ("pause_p50", "pause_p99", "pause_max")]
        often = (f"{r['per_second']:.1f}", r["full"])
        rows.append((r["habit"], r["calls"], *often, *times, f"{r['share'] * 100:.2f}", f"{r['collect_all']:.1f}"))
    head = ("collections a second", "full ones", "p50 ms", "p99 ms", "max ms", "% of the time", "one of everything, ms")
    return _rows(("heap", "live calls", *head), rows)
