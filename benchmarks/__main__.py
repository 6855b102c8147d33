"""`python -m benchmarks frame|echo|memory`: figures on the screen, or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import attrs
import click
from rich.console import Console
from rich.table import Table

from benchmarks import echo, frame, machine, memory, servers


def _emit(as_json: bool, result: object, table: Table) -> None:
    found = machine.describe()
    if as_json:
        click.echo(json.dumps({"machine": found, "result": result}, indent=2))
        return
    console = Console()
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in found.items()), style="dim")


@click.group(help=__doc__)
def main() -> None:
    """Choose a benchmark."""


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@main.command("frame")
@click.option("--rounds", default=9, show_default=True)
@_json_option
def frame_command(rounds: int, as_json: bool) -> None:
    """Cost of one 20 ms frame in the core alone, in microseconds of processor time."""
    result = frame.run(rounds=rounds)
    table = Table("work", "median µs", "least", "most", title="One frame in the core")
    for name, times in result.items():
        table.add_row(name, *(f"{times[key]:.2f}" for key in ("median", "least", "most")))
    _emit(as_json, result, table)


@main.command("echo")
@click.option("--calls", default=200, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--saturated", is_flag=True, help="Send the next frame when the last came back, instead of every 20 ms.")
@click.option("--server", "chosen", multiple=True, help="Only these; all by default.")
@_json_option
def echo_command(
    calls: int, seconds: float, rounds: int, saturated: bool, chosen: tuple[str, ...], as_json: bool
) -> None:
    """Cost of one echoed 20 ms frame in a whole server, side by side."""
    results, missing = echo.run(
        chosen or servers.names(), calls=calls, seconds=seconds, paced=not saturated, rounds=rounds
    )
    how = "saturated" if saturated else "paced"
    columns = ("server", "CPU µs/frame", "core %", "p50 ms", "p99 ms", "lost", "generator %", "its p99 slip ms")
    table = Table(*columns, title=f"Echo, {calls} {how} calls, median of {rounds} rounds")
    for r in sorted(results, key=lambda r: r.cpu):
        row: tuple[Any, ...] = (r.cpu, r.core * 100, r.latency_p50, r.latency_p99, r.lost)
        row += (r.generator * 100, r.slip_p99)
        table.add_row(r.server, *(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row))
    for name, why in missing.items():
        table.add_row(name, why)
    _emit(as_json, {"measured": [attrs.asdict(r) for r in results], "missing": missing}, table)


@main.command("memory")
@click.option("--calls", default=500, show_default=True)
@_json_option
def memory_command(calls: int, as_json: bool) -> None:
    """Resident memory of one idle call."""
    result = memory.run(calls=calls)
    table = Table("idle calls", "KiB per call")
    table.add_row(str(calls), f"{result / 1024:.1f}")
    _emit(as_json, {"bytes_per_call": result, "calls": calls}, table)


if __name__ == "__main__":
    try:
        main()
    except machine.CannotMeasure as error:
        click.echo(f"cannot measure: {error}", err=True)
        sys.exit(2)
