"""Measure callstream, beside others doing the same: figures on the screen, as JSON or CSV, and as pictures.

The load comes from a generator in C on the machine's last core, on an absolute schedule; servers run on the first one.
Every table says how busy the generator was and how late itself, so that nobody is flattered.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click
from rich.table import Table

from benchmarks import frame, machine, memory, report, servers
from benchmarks.load import Load, compare
from benchmarks.show import Form, emit, load_table, output_options, progress

SIZES = (1, 50, 200, 500, 1000)
STALLS = (50, 100, 200)

_quick = click.option("--quick", is_flag=True, help="A look in less than 20 seconds, too short for figures.")
_rounds = click.option("--rounds", default=3, show_default=True, help="Taken in turns, A B A B.")
_seconds = click.option("--seconds", default=5.0, show_default=True, help="Of each round, after the warm-up.")
_calls = click.option("--calls", "sizes", type=int, multiple=True, help="Repeatable; some sizes by default.")


def _servers(*usual: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that choose servers; it takes them as `chosen`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--server", "given", multiple=True, help=f"Only these; repeatable.  [{' '.join(usual)}]")
        @click.option(
            "--against",
            multiple=True,
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="Another source tree of callstream (a git worktree), in turns with this one; repeatable.",
        )
        @functools.wraps(command)
        def run(given: tuple[str, ...], against: tuple[Path, ...], **arguments: Any) -> None:
            command(chosen=servers.chosen_from(given, against, usual), **arguments)

        return run

    return decorate


@click.group(help=__doc__)
def main() -> None:
    """Choose a benchmark."""


def _run(form: Form, command: str, title: str, chosen: tuple[str, ...], loads: list[Load], rounds: int) -> None:
    with progress(len(loads) * len(chosen) * rounds, quiet=form.json) as step:
        results, missing = compare(chosen, loads, rounds=rounds, step=step)
    measured = [result.as_json() for result in results]
    table = load_table(f"{title}, median of {rounds}", measured, missing)
    emit(form, command, {"measured": measured, "missing": missing}, [table])


def _short(
    quick: bool, sizes: tuple[int, ...], rounds: int, seconds: float
) -> tuple[tuple[int, ...], int, float, float]:
    """Return sizes, rounds, seconds and warm-up."""
    return (sizes[:1] or (20,), 1, 0.6, 0.4) if quick else (sizes or SIZES, rounds, seconds, 2.0)


@main.command("frame")
@click.option("--rounds", default=9, show_default=True)
@_quick
@output_options
def frame_command(form: Form, rounds: int, quick: bool) -> None:
    """Cost of one 20 ms frame in the core alone, in microseconds of processor time."""
    result = frame.run(rounds=3 if quick else rounds, frames=1000 if quick else 5000)
    table = Table("work", "median µs", "least", "most", title="One frame in the core")
    for name, times in result.items():
        table.add_row(name, *(f"{times[key]:.2f}" for key in ("median", "least", "most")))
    emit(form, "frame", {"frames": result}, [table])


@main.command("echo")
@_calls
@_seconds
@_rounds
@_servers("callstream", "c-epoll")
@click.option("--saturated", is_flag=True, help="Send the next frame when the last came back, instead of every 20 ms.")
@_quick
@output_options
def echo_command(form: Form, chosen: tuple[str, ...], saturated: bool, quick: bool, **given: Any) -> None:
    """Cost and latency of one echoed 20 ms frame in a whole server."""
    sizes, rounds, seconds, warmup = _short(quick, **given)
    work = "saturated" if saturated else "echo"
    loads = [Load(work=work, calls=calls, seconds=seconds, warmup=warmup) for calls in sizes]
    _run(
        form,
        "echo",
        f"Echo, {'saturated' if saturated else 'paced'}",
        chosen,
        loads,
        rounds,
    )


@main.command("pacing")
@_calls
@_seconds
@_rounds
@_servers("callstream", "c-epoll")
@click.option("--stall", "stalls", type=int, multiple=True, help="Milliseconds; repeatable. [50 100 200]")
@_quick
@output_options
def pacing_command(form: Form, chosen: tuple[str, ...], stalls: tuple[int, ...], quick: bool, **given: Any) -> None:
    """Lateness of paced streams against their absolute grid; then with a loop held up once a second."""
    sizes, rounds, seconds, warmup = _short(quick, **given)
    loads = [Load(work="duplex", calls=calls, seconds=seconds, warmup=warmup) for calls in sizes]
    with_stalls = [
        Load(work="stalled", calls=min(200, max(sizes)), seconds=max(seconds, 1.2), warmup=warmup, stall=stall)
        for stall in (stalls or STALLS)[: 1 if quick else None]
    ]
    ours = tuple(filter(servers.is_ours, chosen))
    with progress((len(loads) * len(chosen) + len(with_stalls) * len(ours)) * rounds, quiet=form.json) as step:
        results, missing = compare(chosen, loads, rounds=rounds, step=step)
        stalled, _ = compare(ours, with_stalls, rounds=rounds, step=step)
    measured = [result.as_json() for result in results]
    held_up = [result.as_json() for result in stalled]
    table = Table(
        "server", "stall ms", "calls", "lost", "late > 5 ms", "longest episode ms", "recovery ms", title="Stalls"
    )
    for r in held_up:
        r["recovery"] = max(r["longest_episode"]["median"] - r["stall"], 0)
        numbers = (r["longest_episode"]["median"], r["recovery"])
        table.add_row(
            *(str(r[key]) for key in ("server", "stall", "calls", "lost", "late")), *(f"{n:.1f}" for n in numbers)
        )
    title = f"Paced streams in duplex, median of {rounds}"
    result = {"measured": measured, "stalled": held_up, "missing": missing}
    emit(form, "pacing", result, [load_table(title, measured, missing), table])


@main.command("bargein")
@_servers("callstream")
@click.option("--calls", default=200, show_default=True)
@_seconds
@_rounds
@_quick
@output_options
def bargein_command(form: Form, chosen: tuple[str, ...], calls: int, seconds: float, rounds: int, quick: bool) -> None:
    """From clear() to the clear on the wire, and to the last audio byte; each call is cleared once a second."""
    load = Load(work="bargein", calls=20 if quick else calls, seconds=1.5 if quick else seconds, warmup=1.0)
    with progress(rounds * len(chosen), quiet=form.json) as step:
        results, missing = compare(chosen, [load], rounds=1 if quick else rounds, step=step)
    measured = [result.as_json() for result in results]
    table = Table("server", "calls", "to", "p50 ms", "p99", "p99.9", "max", "clears", "lost", title="clear()")
    for r in measured:
        for name, key in (("the wire", ""), ("the last audio", "tail_")):
            numbers = [f"{r[key + share]['median']:.2f}" for share in ("p50", "p99", "p99.9", "max")]
            table.add_row(r["server"], str(r["calls"]), name, *numbers, str(r["frames"]), str(r["lost"]))
    emit(form, "bargein", {"measured": measured, "missing": missing}, [table])


@main.command("memory")
@click.option("--calls", default=500, show_default=True)
@_quick
@output_options
def memory_command(form: Form, calls: int, quick: bool) -> None:
    """Resident memory of one idle call."""
    calls = 100 if quick else calls
    result = memory.run(calls=calls)
    table = Table("idle calls", "KiB per call")
    table.add_row(str(calls), f"{result / 1024:.1f}")
    emit(form, "memory", {"bytes_per_call": result, "calls": calls}, [table])


@main.command("capacity")
@_servers(*servers.names())
@_seconds
@_rounds
@_quick
@output_options
def capacity_command(form: Form, chosen: tuple[str, ...], seconds: float, rounds: int, quick: bool) -> None:
    """The most duplex calls on one core at which p99 lateness stays within 5 ms and nothing is lost."""
    found, missing = report.capacities(chosen, seconds=seconds, rounds=rounds, quick=quick, is_quiet=form.json)
    table = Table("server", "calls per core", "least", "most", "CPU µs per frame", "generator %", title="Capacity")
    for r in found:
        cells = (r["calls"], r["least"], r["most"], f"{r['cpu']:.1f}", f"{r['generator'] * 100:.0f}")
        table.add_row(r["server"], *map(str, cells))
    for name, why in missing.items():
        table.add_row(name, why[:60])
    emit(form, "capacity", {"capacities": found, "missing": missing}, [table])


@main.command("soak")
@click.option("--minutes", default=10.0, show_default=True, help="At most 240.")
@click.option("--calls", default=200, show_default=True)
@_quick
@output_options
def soak_command(form: Form, minutes: float, calls: int, quick: bool) -> None:
    """Duplex calls for a long time: memory that grows, frames that are lost, clocks that drift."""
    seconds = 2.0 if quick else min(minutes, 240) * 60
    result = report.soak(Load(work="duplex", calls=20 if quick else calls, seconds=seconds, warmup=1.0))
    table = Table(*(key.replace("_", " ") for key in result), title="Soak")
    table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in result.values()))
    emit(form, "soak", result, [table])


@main.command("peers")
@click.option("--calls", default=100, show_default=True)
@_seconds
@_rounds
@_servers(*servers.names())
@click.option("--work", type=click.Choice(["echo", "saturated", "duplex"]), default="duplex", show_default=True)
@_quick
@output_options
def peers_command(
    form: Form, calls: int, seconds: float, rounds: int, chosen: tuple[str, ...], work: str, quick: bool
) -> None:
    """The same work for every server, in turns."""
    load = Load(work=work, calls=10, seconds=0.5, warmup=0.3)
    if not quick:
        load = attrs.evolve(load, calls=calls, seconds=seconds, warmup=2.0)
    _run(form, "peers", f"Peers, {work}", chosen, [load], 1 if quick else rounds)


@main.command("all")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
def all_command(file: Path, rounds: int, seconds: float) -> None:
    """Measure everything for the page on performance, into one JSON file; about half an hour."""

    def save(found: dict[str, Any]) -> None:
        file.write_text(json.dumps(found))

    report.measure_all(rounds=rounds, seconds=seconds, save=save)


@main.command("report")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--docs", type=click.Path(path_type=Path, file_okay=False), default=Path("docs"), show_default=True)
def report_command(file: Path, docs: Path) -> None:
    """Write the tables and pictures of docs/performance.md from what `all` measured."""
    report.write(json.loads(file.read_text()), docs)


def _main(run: Callable[[], None] = main) -> None:
    try:
        run()
    except machine.CannotMeasure as error:
        click.echo(f"cannot measure: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    _main()
