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

from benchmarks import capacity, frame, machine, memory, parts, pauses, report, servers
from benchmarks.journal import Journal
from benchmarks.load import Load, compare, measure
from benchmarks.show import Form, emit, hdr_option, load_table, output_options, plot_option, progress

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


def _compare(
    form: Form, chosen: tuple[str, ...], loads: list[Load], rounds: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    with progress(len(loads) * len(chosen) * rounds, quiet=form.json) as step:
        results, missing = compare(chosen, loads, rounds=rounds, step=step)
    return [result.as_json() for result in results], missing


def _short(
    quick: bool, sizes: tuple[int, ...], rounds: int, seconds: float
) -> tuple[tuple[int, ...], int, float, float]:
    """Return sizes, rounds, seconds and warm-up."""
    return (sizes[:1] or (20,), 1, 0.4, 0.2) if quick else (sizes or parts.SIZES, rounds, seconds, 2.0)


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
    emit(form, "frame", {"frames": result}, [table], [{"work": name, **times} for name, times in result.items()])


_KINDS = {"paced": "echo", "saturated": "saturated"}


@main.command("echo")
@_calls
@_seconds
@_rounds
@_servers("callstream", "c-epoll")
@click.option("--pace", "paces", type=click.Choice(list(_KINDS)), multiple=True, help="Only this one.  [both]")
@click.option("--wire", "wires", type=click.Choice(["plain", "tls"]), multiple=True, help="Only this one.  [both]")
@_quick
@plot_option
@hdr_option
@output_options
def echo_command(
    form: Form, chosen: tuple[str, ...], paces: tuple[str, ...], wires: tuple[str, ...], quick: bool, **given: Any
) -> None:
    """Cost and latency of one echoed 20 ms frame in a whole server, plain and over TLS.

    Paced: every 20 ms, on an absolute schedule. Saturated: the next as soon as the last came back; there the cost is
    to be read, and not the latency, for the load is as slow as the server.
    """
    sizes, rounds, seconds, warmup = _short(quick, **given)
    kinds = [(pace, wire) for pace in paces or _KINDS for wire in wires or ("plain", "tls")]
    loads = [
        Load(work=_KINDS[pace], calls=calls, seconds=seconds, warmup=warmup, is_tls=wire == "tls")
        for pace, wire in kinds
        for calls in sizes
    ]
    measured, missing = _compare(form, chosen, loads, rounds)
    tables = [
        load_table(
            f"Echo, {pace}, {wire}",
            [r for r in measured if r["work"] == _KINDS[pace] and r["is_tls"] == (wire == "tls")],
        )
        for pace, wire in kinds
    ]
    emit(form, "echo", {"measured": measured, "missing": missing}, tables, measured)


@main.command("pacing")
@_calls
@_seconds
@_rounds
@_servers("callstream", "c-epoll")
@click.option("--stall", "stalls", type=int, multiple=True, help="Milliseconds; repeatable.  [50 100 200]")
@_quick
@plot_option
@hdr_option
@output_options
def pacing_command(form: Form, chosen: tuple[str, ...], stalls: tuple[int, ...], quick: bool, **given: Any) -> None:
    """Lateness of paced streams against their absolute grid; then with a loop held up once a second."""
    sizes, rounds, seconds, warmup = _short(quick, **given)
    loads = [Load(work="duplex", calls=calls, seconds=seconds, warmup=warmup) for calls in sizes]
    with_stalls = [
        Load(work="stalled", calls=min(200, max(sizes)), seconds=max(seconds, 1.2), warmup=warmup, stall=stall)
        for stall in (stalls or parts.STALLS)[: 1 if quick else None]
    ]
    measured, missing = _compare(form, chosen, loads, rounds)
    held_up, _ = _compare(form, tuple(filter(servers.is_ours, chosen)), with_stalls, rounds)
    columns = ("server", "stall ms", "calls", "lost", "late > 5 ms", "longest episode ms", "recovery ms")
    table = Table(*columns, title="Stalls")
    for r in held_up:
        r["recovery"] = report.recovery(r)
        numbers = [f"{n:.1f}" for n in (r["longest_episode"]["median"], r["recovery"])]
        table.add_row(*(str(r[key]) for key in ("server", "stall", "calls", "lost", "late")), *numbers)
    result = {"measured": measured, "stalled": held_up, "missing": missing}
    emit(form, "pacing", result, [load_table("Paced streams in duplex", measured), table], measured + held_up)


@main.command("bargein")
@_servers("callstream")
@click.option("--calls", default=200, show_default=True)
@_seconds
@_rounds
@_quick
@hdr_option
@output_options
def bargein_command(form: Form, chosen: tuple[str, ...], calls: int, seconds: float, rounds: int, quick: bool) -> None:
    """From clear() to the clear on the wire, and to the last audio byte; each call is cleared once a second."""
    calls, rounds, seconds, warmup = (20, 1, 0.5, 0.2) if quick else (calls, rounds, seconds, 2.0)
    load = Load(work="bargein", calls=calls, seconds=seconds, warmup=warmup)
    measured, missing = _compare(form, chosen, [load], rounds)
    table = Table("server", "calls", "to", "p50 ms", "p99", "p99.9", "max", "clears", "lost", title="clear()")
    for r in measured:
        for name, key in (("the wire", ""), ("the last audio", "tail_")):
            numbers = [f"{r[key + share]['median']:.2f}" for share in ("p50", "p99", "p99.9", "max")]
            table.add_row(r["server"], str(r["calls"]), name, *numbers, str(r["frames"]), str(r["lost"]))
    emit(form, "bargein", {"measured": measured, "missing": missing}, [table], measured)


@main.command("memory")
@click.option("--calls", default=500, show_default=True)
@_servers("callstream")
@_quick
@output_options
def memory_command(form: Form, chosen: tuple[str, ...], calls: int, quick: bool) -> None:
    """Resident memory of one idle call."""
    calls = 100 if quick else calls
    found = {name: memory.run(name, calls=calls) for name in chosen}
    table = Table("server", "idle calls", "KiB per call")
    for name, weight in found.items():
        table.add_row(name, str(calls), f"{weight / 1024:.1f}")
    rows = [{"server": name, "calls": calls, "bytes_per_call": weight} for name, weight in found.items()]
    emit(form, "memory", {"measured": rows}, [table], rows)


@main.command("pauses")
@click.option("--calls", default=1000, show_default=True)
@_servers("callstream")
@_seconds
@_rounds
@_quick
@output_options
def pauses_command(form: Form, chosen: tuple[str, ...], calls: int, seconds: float, rounds: int, quick: bool) -> None:
    """Pauses of the garbage collector under live duplex calls, with the heap frozen after start and without."""
    load = Load(work="duplex", calls=calls, seconds=seconds, warmup=2.0)
    if quick:
        load = attrs.evolve(load, calls=20, seconds=0.4, warmup=0.2)
    rounds = 1 if quick else rounds
    with progress(rounds * len(chosen) * len(pauses.HABITS), quiet=form.json) as step:
        rows = pauses.run(chosen, load, rounds=rounds, step=step)
    columns = (
        "server",
        "heap",
        "calls",
        "a second",
        "p50 ms",
        "p99",
        "max",
        "share %",
        "full",
        "all of it, ms",
        "objects",
    )
    table = Table(*columns, title="Collections while calls are live")
    for r in rows:
        times = [f"{r[key]:.2f}" for key in ("pause_p50", "pause_p99", "pause_max")]
        cells = (f"{r['share'] * 100:.2f}", str(r["full"]), f"{r['collect_all']:.1f}", f"{r['objects']:.0f}")
        table.add_row(r["server"], r["habit"], str(r["calls"]), f"{r['per_second']:.1f}", *times, *cells)
    emit(form, "pauses", {"pauses": rows}, [table], rows)


@main.command("capacity")
@_servers(*servers.names())
@_seconds
@_rounds
@_quick
@plot_option
@output_options
def capacity_command(form: Form, chosen: tuple[str, ...], seconds: float, rounds: int, quick: bool) -> None:
    """The most duplex calls on one core at which p99 lateness stays within 5 ms and nothing is lost."""
    limits = {"start": 20, "most": 20} if quick else {}
    seconds, rounds = (0.5, 1) if quick else (seconds, rounds)
    with progress(len(chosen) * rounds * 12, quiet=form.json) as step:
        found, missing = capacity.capacities(chosen, measure, seconds=seconds, rounds=rounds, step=step, **limits)
    columns = ("server", "calls per core", "least", "most", "CPU µs per frame", "generator %", "its slip ms")
    table = Table(*columns, title="Capacity", caption="≥: the generator, or the search, was the end of it")
    for r in found:
        numbers = (f"{r['cpu']:.1f}", f"{r['generator'] * 100:.0f}", f"{r['slip_p99']:.2f}")
        table.add_row(r["server"], report.calls_of(r), str(r["least"]), str(r["most"]), *numbers)
    emit(form, "capacity", {"capacities": found, "missing": missing}, [table], found)


@main.command("soak")
@click.option("--minutes", default=10.0, show_default=True, help="At most 240.")
@click.option("--calls", default=200, show_default=True)
@_quick
@output_options
def soak_command(form: Form, minutes: float, calls: int, quick: bool) -> None:
    """Duplex calls for a long time: memory that grows, frames that are lost, clocks that drift."""
    seconds = 0.5 if quick else min(minutes, 240) * 60
    result = parts.soak(
        Load(work="duplex", calls=20 if quick else calls, seconds=seconds, warmup=0.3 if quick else 2.0)
    )
    table = Table(*(key.replace("_", " ") for key in result), title="Soak")
    table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in result.values()))
    emit(form, "soak", result, [table], [result])


@main.command("peers")
@click.option("--calls", default=100, show_default=True)
@_seconds
@_rounds
@_servers(*servers.names())
@click.option("--work", type=click.Choice(["echo", "saturated", "duplex"]), default="duplex", show_default=True)
@click.option("--tls", "is_tls", is_flag=True, help="Over TLS.")
@_quick
@plot_option
@hdr_option
@output_options
def peers_command(
    form: Form, calls: int, seconds: float, rounds: int, chosen: tuple[str, ...], work: str, is_tls: bool, quick: bool
) -> None:
    """The same work for every server, in turns."""
    load = Load(work=work, calls=10, seconds=0.4, warmup=0.2, is_tls=is_tls)
    if not quick:
        load = attrs.evolve(load, calls=calls, seconds=seconds, warmup=2.0)
    measured, missing = _compare(form, chosen, [load], 1 if quick else rounds)
    table = load_table(f"Peers, {work}{', over TLS' * is_tls}", measured)
    emit(form, "peers", {"measured": measured, "missing": missing}, [table], measured)


@main.command("all")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--part", "names", type=click.Choice(parts.NAMES), multiple=True, help="Only these; repeatable.")
@_servers(*servers.names())
def all_command(file: Path, rounds: int, seconds: float, names: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    """Measure everything for the page on performance, into one JSON file; an hour or two.

    Every step is kept at once in FILE.steps: a run that is cut off goes on where it was when it is started again.
    """
    steps = file.with_name(f"{file.name}.steps")
    journal = Journal(steps)
    if journal.steps:
        click.echo(f"going on after {journal.steps} steps; delete {steps} to begin anew", err=True)
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    found["machine"] = machine.describe()
    for name in names or parts.NAMES:
        click.echo(name, err=True)
        found[name] = parts.measure_part(name, chosen, rounds=rounds, seconds=seconds, journal=journal)
        if name not in parts.IN_ONE_GO:
            found.setdefault("rounds", {})[name] = rounds
        fresh = file.with_name(f"{file.name}.fresh")
        fresh.write_text(json.dumps(found))
        fresh.rename(file)
    journal.close()


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
