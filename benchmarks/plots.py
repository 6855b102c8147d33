"""Pictures of results, with matplotlib (extra `plot`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.histogram import Histogram
from benchmarks.machine import CannotMeasure

Rows = list[dict[str, Any]]
Panel = Callable[[Any, Rows], None]
_USUAL_SIZE = 200
_BAR = 0.36
"""Inches of a bar's height."""


def _pyplot() -> Any:
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise CannotMeasure("plots need matplotlib: pip install 'callstream[plot]'") from None


def check() -> None:
    """Raise `CannotMeasure` now rather than after a long run."""
    _pyplot()


def draw(rows: Rows, path: Path) -> None:
    """Draw everything that these results can show, one panel below the other."""
    if not rows:
        raise CannotMeasure("nothing was measured that could be drawn")
    if "latency" not in rows[0]:
        panels: list[Panel] = [capacities]
    else:
        panels = [survival]
        if len({r["calls"] for r in rows}) > 1:
            panels.append(calls_against_p99)
        if len({r["server"] for r in rows}) > 1:
            panels.append(cost_by_server)
    picture(panels, rows, path)


def picture(panels: list[Panel], rows: Rows, path: Path) -> None:
    """Draw panels into one file."""
    heights = [4.0 if panel in (survival, calls_against_p99) else 1.0 + _BAR * len(_one_size(rows)) for panel in panels]
    figure, all_axes = _pyplot().subplots(
        len(panels), squeeze=False, figsize=(7, sum(heights)), height_ratios=heights, layout="constrained"
    )
    for panel, axes in zip(panels, all_axes[:, 0], strict=True):
        panel(axes, rows)
        axes.grid(True, alpha=0.3, which="both")
    figure.savefig(path, dpi=80)
    _pyplot().close(figure)


def _label(r: dict[str, Any]) -> str:
    kinds = [r["work"]] * (r["work"] != "duplex") + ["TLS"] * r["is_tls"] + [f"+{r['stall']} ms"] * bool(r["stall"])
    return ", ".join([r["server"], *kinds])


def _one_size(rows: Rows) -> Rows:
    """Return the results of the size that is nearest to the usual one."""
    nearest = min({r["calls"] for r in rows}, key=lambda calls: abs(calls - _USUAL_SIZE), default=0)
    return [r for r in rows if r["calls"] == nearest] if "latency" in rows[0] else rows


def _unstalled(rows: Rows) -> Rows:
    return [r for r in rows if not r["stall"]]


def survival(axes: Any, rows: Rows) -> None:
    """Draw which share of frames is later than how much."""
    for number, r in enumerate(_one_size(rows)):
        ms, beyond = Histogram.of(r["latency"]).survival()
        # There are ten colours.
        axes.step(ms, beyond, where="post", label=_label(r), linestyle=("-", "--", ":", "-.")[number // 10 % 4])
    calls = _one_size(rows)[0]["calls"]
    axes.set(xscale="log", yscale="log", xlabel=f"later than, ms ({calls} calls)", ylabel="share of frames")
    axes.legend(fontsize=7)


def calls_against_p99(axes: Any, rows: Rows) -> None:
    """Draw the p99 lateness by the number of calls."""
    rows = _unstalled(rows)
    for label in dict.fromkeys(map(_label, rows)):
        mine = sorted((r for r in rows if _label(r) == label), key=lambda r: int(r["calls"]))
        low, middle, high = ([r["p99"][key] for r in mine] for key in ("least", "median", "most"))
        calls = [r["calls"] for r in mine]
        axes.plot(calls, middle, marker="o", label=label)
        axes.fill_between(calls, low, high, alpha=0.15)
    sizes = sorted({r["calls"] for r in rows})
    axes.set(xscale="log", yscale="log", xlabel="calls", ylabel="p99 lateness, ms")
    axes.set_xticks(sizes, map(str, sizes))
    axes.set_xticks([], minor=True)
    axes.axhline(5, color="grey", linestyle=":")
    axes.legend(fontsize=7)


def cost_by_server(axes: Any, rows: Rows) -> None:
    """Draw the processor time of a frame by server."""
    rows = sorted(_unstalled(_one_size(rows)), key=lambda r: -float(r["cpu"]["median"]))
    _bars(axes, list(map(_label, rows)), [r["cpu"]["median"] for r in rows], "%.1f")
    axes.set(xlabel=f"processor time per frame, µs ({rows[0]['calls']} calls)")


def capacities(axes: Any, rows: Rows) -> None:
    """Draw the calls per core by server."""
    rows = sorted(rows, key=lambda r: int(r["calls"]))
    _bars(axes, [r["server"] for r in rows], [r["calls"] for r in rows], "%.0f")
    axes.set(xlabel="duplex calls per core, p99 ≤ 5 ms")


def _bars(axes: Any, names: list[str], values: list[float], form: str) -> None:
    colours = ["tab:orange" if name.startswith("callstream") else "tab:blue" for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, fmt=form, padding=3, fontsize=8)
    axes.margins(x=0.1)
