"""Pictures of results, with matplotlib (extra `plot`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.histogram import Histogram
from benchmarks.machine import CannotMeasure


def _pyplot() -> Any:
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise CannotMeasure("plots need matplotlib: pip install 'callstream[plot]'") from None


def draw(measured: list[dict[str, Any]], path: Path) -> None:
    """Draw what the results are about: capacities, one load for many servers, or many loads."""
    if measured and "latency" not in measured[0]:
        capacities(measured, path)
    elif len({r["calls"] for r in measured}) > 1:
        calls_against_p99(measured, path)
    elif len({r["server"] for r in measured}) > 1:
        cost_by_server(measured, path)
    else:
        survival(measured, path)


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(True, alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    _pyplot().close(figure)


def survival(measured: list[dict[str, Any]], path: Path) -> None:
    """Draw which share of frames is later than how much."""
    figure, axes = _pyplot().subplots(figsize=(7, 4))
    for r in measured:
        ms, beyond = Histogram.of(r["latency"]).survival()
        label = f"{r['server']}, {r['calls']} calls" + (f", stalls of {r['stall']} ms" if r["stall"] else "")
        axes.step(ms, beyond, where="post", label=label)
    axes.set(xscale="log", yscale="log", xlabel="later than, ms", ylabel="share of frames")
    axes.legend(fontsize=8)
    _save(figure, axes, path)


def calls_against_p99(measured: list[dict[str, Any]], path: Path) -> None:
    """Draw the p99 lateness by the number of calls."""
    figure, axes = _pyplot().subplots(figsize=(7, 4))
    for server in dict.fromkeys(r["server"] for r in measured):
        mine = [r for r in measured if r["server"] == server]
        axes.plot([r["calls"] for r in mine], [r["p99"]["median"] for r in mine], marker="o", label=server)
    axes.set(xscale="log", yscale="log", xlabel="calls", ylabel="p99 lateness, ms")
    axes.axhline(5, color="grey", linestyle=":")
    axes.legend(fontsize=8)
    _save(figure, axes, path)


def cost_by_server(measured: list[dict[str, Any]], path: Path) -> None:
    """Draw the processor time of a frame by server."""
    rows = sorted(measured, key=lambda r: -float(r["cpu"]["median"]))
    _bars([r["server"] for r in rows], [r["cpu"]["median"] for r in rows], "processor time per frame, µs", path)


def capacities(found: list[dict[str, Any]], path: Path) -> None:
    """Draw the calls per core by server."""
    rows = sorted(found, key=lambda r: int(r["calls"]))
    _bars([r["server"] for r in rows], [r["calls"] for r in rows], "duplex calls per core, p99 ≤ 5 ms", path)


def _bars(names: list[str], values: list[float], label: str, path: Path) -> None:
    figure, axes = _pyplot().subplots(figsize=(7, 0.6 + 0.36 * len(names)))
    colours = ["tab:orange" if name == "callstream" else "tab:blue" for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.set(xlabel=label)
    _save(figure, axes, path)
