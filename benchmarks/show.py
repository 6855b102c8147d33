"""How results are shown: tables that fit a screen, JSON, CSV, histograms for HdrHistogram's tools."""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import machine, plots
from benchmarks.histogram import Histogram

_FILE: click.Path = click.Path(path_type=Path, dir_okay=False)


@attrs.frozen(kw_only=True)
class Form:
    """Where results go, besides the screen."""

    json: bool = False
    csv: Path | None = None
    hdr: Path | None = None
    plot: Path | None = None


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have; it takes `form`."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
    @click.option("--csv", "csv_file", type=_FILE, help="Write a row per result to this file.")
    @functools.wraps(command)
    def run(as_json: bool, csv_file: Path | None, **arguments: Any) -> None:
        form = Form(json=as_json, csv=csv_file, hdr=arguments.pop("hdr", None), plot=arguments.pop("plot", None))
        command(form=form, **arguments)

    return run


def plot_option(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command draw its results."""
    return click.option(
        "--plot", type=_FILE, callback=_can_draw, help="Draw the results into this PNG (extra `plot`)."
    )(command)


def hdr_option(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command write its histograms."""
    directory = click.Path(path_type=Path, file_okay=False)
    return click.option("--hdr", type=directory, help="Histograms for HdrHistogram's tools go here.")(command)


def _can_draw(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        plots.check()
    return path


@contextmanager
def progress(total: int, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a bar on standard error; the block calls what it is given before each step."""
    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        done = 0

        def step(what: str) -> None:
            nonlocal done
            bar.update(task, description=what, completed=done)
            done += 1

        yield step


_COLUMNS = ("server", "calls", "CPU µs", "core %", "p50", "p99", "(spread)", "p99.9", "p99.99", "lost", "gen %", "slip")
_CAPTION = (
    "per frame in and out, medians; lateness in ms; slip: the generator's own, p99\n"
    "!: so busy or late a generator that lateness and losses may be its own"
)


def load_table(title: str, measured: list[dict[str, Any]]) -> Table:
    """Return the table of results under load."""
    table = Table(title=title, box=SIMPLE_HEAD, caption=_CAPTION, padding=(0, 1, 0, 0), pad_edge=False)
    for column in _COLUMNS:
        if column == "server":
            table.add_column(column, overflow="fold", min_width=17)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for r in measured:
        table.add_row(
            r["server"],
            str(r["calls"]),
            f"{r['cpu']['median']:.1f}",
            f"{r['core']['median'] * 100:.0f}",
            *(f"{r[name]['median']:.2f}" for name in ("p50", "p99")),
            f"{r['p99']['least']:.2f}..{r['p99']['most']:.2f}",
            *(f"{r[name]['median']:.2f}" for name in ("p99.9", "p99.99")),
            str(r["lost"]),
            f"{r['generator']['median'] * 100:.0f}",
            f"{r['slip_p99']['median']:.2f}" + "!" * bool(r["doubtful"]),
        )
    return table


def emit(form: Form, command: str, result: dict[str, Any], tables: list[Table], rows: list[dict[str, Any]]) -> None:
    """Show a result in every way that was asked for; `rows` are its figures, one by one."""
    found = machine.describe()
    if form.json:
        click.echo(json.dumps({"machine": found, "command": command, "result": result}))
    else:
        console = Console(width=None if Console().is_terminal else 106)
        for table in tables:
            console.print(table)
        for name, why in result.get("missing", {}).items():
            console.print(f"{name}: not measured: {why}", style="yellow", markup=False)
        console.print(", ".join(f"{key} {value}" for key, value in found.items()), style="dim", soft_wrap=True)
    if form.csv is not None:
        _write_csv(form.csv, rows)
    if form.hdr is not None:
        form.hdr.mkdir(parents=True, exist_ok=True)
        for r in rows:
            kinds = (r["server"], r["work"], r["calls"], r["stall"], "tls" * r["is_tls"])
            name = re.sub(r"[^\w.@-]+", "_", "-".join(str(kind) for kind in kinds if kind))
            (form.hdr / f"{name}.hgrm").write_text(Histogram.of(r["latency"]).hdr())
    if form.plot is not None:
        plots.draw(rows, form.plot)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    flat: list[dict[str, Any]] = []
    for row in rows:
        line: dict[str, Any] = {}
        for key, value in row.items():
            if isinstance(value, dict):
                line |= {f"{key}_{part}": number for part, number in value.items()}
            elif not isinstance(value, list):
                line[key] = value
        flat.append(line)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for line in flat for key in line)))
        writer.writeheader()
        writer.writerows(flat)
