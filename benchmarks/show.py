"""How results are shown: tables that fit a screen, JSON, CSV, histograms for HdrHistogram's tools."""

from __future__ import annotations

import csv
import json
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

from benchmarks import machine
from benchmarks.histogram import Histogram


@attrs.frozen(kw_only=True)
class Form:
    """Where results go, besides the screen."""

    json: bool = False
    csv: Path | None = None
    hdr: Path | None = None
    plot: Path | None = None


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have; it takes `form`."""

    def run(as_json: bool, csv_file: Path | None, hdr: Path | None, plot: Path | None, **arguments: Any) -> None:
        command(form=Form(json=as_json, csv=csv_file, hdr=hdr, plot=plot), **arguments)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--plot", type=file, help="Draw the results into this PNG (extra `plot`)."),
        click.option("--hdr", type=click.Path(path_type=Path, file_okay=False), help="HdrHistogram texts go here."),
        click.option("--csv", "csv_file", type=file, help="Write a row per result to this file."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
    ):
        run = option(run)
    return run


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


def load_table(title: str, measured: list[dict[str, Any]], missing: dict[str, str]) -> Table:
    """Return the table of results under load: medians of the rounds."""
    columns = ("server", "calls", "CPU µs", "core %", "p50", "p99", "p99.9", "p99.99", "lost", "gen %", "slip")
    table = Table(
        title=title, box=SIMPLE_HEAD, caption="per frame in and out; lateness in ms; slip: p99 of the generator's own"
    )
    for column in columns:
        if column == "server":
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for r in measured:
        late = [f"{r[name]['median']:.2f}" for name in ("p50", "p99", "p99.9", "p99.99")]
        table.add_row(
            r["server"] + (f" +{r['stall']}" if r["stall"] else ""),
            str(r["calls"]),
            f"{r['cpu']['median']:.1f}",
            f"{r['core']['median'] * 100:.0f}",
            *late,
            str(r["lost"]),
            f"{r['generator']['median'] * 100:.0f}",
            f"{r['slip_p99']['median']:.2f}",
        )
    for name, why in missing.items():
        table.add_row(name, "-", why[:60])
    return table


def emit(form: Form, command: str, result: dict[str, Any], tables: list[Table]) -> None:
    """Show a result in every way that was asked for."""
    found = machine.describe()
    measured: list[dict[str, Any]] = result.get("measured", [])
    if form.json:
        click.echo(json.dumps({"machine": found, "command": command, "result": result}))
    else:
        console = Console(width=None if Console().is_terminal else 100)
        for table in tables:
            console.print(table)
        console.print(", ".join(f"{key} {value}" for key, value in found.items()), style="dim", soft_wrap=True)
    if form.csv is not None:
        _write_csv(form.csv, measured or [_flat(result)])
    if form.hdr is not None:
        form.hdr.mkdir(parents=True, exist_ok=True)
        for r in measured:
            name = "-".join(str(r[key]) for key in ("server", "work", "calls", "stall") if r.get(key))
            (form.hdr / f"{name}.hgrm").write_text(Histogram.of(r["latency"]).hdr())
    if form.plot is not None:
        from benchmarks.plots import draw

        draw(measured or result.get("capacities", []), form.plot)


def _flat(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if not isinstance(value, list | dict)}


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
        writer = csv.DictWriter(file, fieldnames=list(flat[0]) if flat else [])
        writer.writeheader()
        writer.writerows(flat)
