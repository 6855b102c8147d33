"""What `callstream call` shows: calls as they go, and what they add up to."""

from __future__ import annotations

import trio
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from callstream_trio.cli.common import printable
from callstream_trio.report import CallReport, Spread, Summary
from callstream_trio.simulate import SimulatedCaller, Simulation

_FEW = 8
_REFRESH = 0.25
_COLOURS = {"ok": "green", "failed": "red", "talking": "cyan"}
_MAX_FAILURES = 12


async def watch(simulation: Simulation, console: Console) -> None:
    """Show a simulation until cancelled: a line per call where there are few, else a bar."""
    if simulation.calls <= _FEW:
        with Live(_lines(simulation), console=console, refresh_per_second=1 / _REFRESH, transient=True) as live:
            while True:
                await trio.sleep(_REFRESH)
                live.update(_lines(simulation))
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rest]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("calls", total=simulation.calls, rest="")
        while True:
            reports = simulation.reports
            failed = sum(not report.is_ok for report in reports)
            rest = f"[cyan]{len(simulation.callers) - len(reports)} talking[/]"
            progress.update(task, completed=len(reports), rest=rest + (f"  [red]{failed} failed[/]" if failed else ""))
            await trio.sleep(_REFRESH)


def _lines(simulation: Simulation) -> Table:
    table = Table.grid(padding=(0, 2))
    for caller in simulation.callers:
        table.add_row("", *_line(caller))
    return table


def _line(caller: SimulatedCaller) -> list[Text]:
    state = caller.state
    talks = caller.talks
    intact = sum(talk.echo.intact for talk in talks if talk.echo.is_echo)
    back = f", {intact:,} came back" if intact else ""
    return [
        Text(f"call {caller.number + 1}", style="bold"),
        Text(state, style=_COLOURS.get(state, "dim")),
        Text(f"{sum(talk.frames_sent for talk in talks):,} frames said{back}"),
        Text(f"{sum(talk.meter.frames_played for talk in talks):,} heard"),
    ]


# The end


def render(summary: Summary, reports: list[CallReport], conditions: list[str], notes: list[str]) -> Group:
    """Return the final table, and what went wrong."""
    parts: list[Text | Table] = [Text()]
    parts.append(_verdict(summary, conditions))
    parts += [Text(f"  {note}", style="yellow") for note in notes]
    spreads = {
        "set-up": summary.set_up,
        "acks": summary.acks,
        "first audio": summary.first_audio,
        "lateness": summary.lateness,
    }
    if any(spreads.values()):
        parts += [_times(spreads), _counts(summary)]
    parts += [Text(f"  {line}", style="red") for line in _failures(summary)]
    parts += [Text(f"  condition missed: {text}", style="red") for text in conditions]
    codes = {report.close_code for report in reports if report.close_code not in (None, 1000)}
    if codes:
        parts.append(Text(f"  close codes: {', '.join(map(str, sorted(filter(None, codes))))}", style="dim"))
    return Group(*parts)


def _verdict(summary: Summary, conditions: list[str]) -> Text:
    calls = "1 call" if summary.calls == 1 else f"{summary.calls:,} calls"
    if summary.failed:
        return Text(f"  {calls}: {summary.ok:,} ok, {summary.failed:,} failed", style="bold red")
    if conditions:
        return Text(f"  {calls} ok, but not within the conditions", style="bold red")
    return Text(f"  {calls}, all ok" if summary.calls > 1 else f"  {calls}, ok", style="bold green")


def _times(spreads: dict[str, Spread | None]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("milliseconds", style="bold", min_width=16)
    for name in ("p50", "p95", "p99", "max"):
        table.add_column(name, justify="right", min_width=8)
    for title, spread in spreads.items():
        if spread is not None:
            table.add_row(title, *(f"{part * 1000:,.1f}" for part in (spread.p50, spread.p95, spread.p99, spread.max)))
    return table


def _counts(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(style="bold", min_width=15)
    table.add_column()
    if summary.connections:
        control = f"{summary.connections:,} opened, {summary.questions:,} acks wanted, {summary.orders:,} commands"
        table.add_row("", "control", control)
    if summary.audio_sockets or not summary.connections:
        received = f"{summary.frames_received:,} received, {summary.frames_played:,} heard"
        table.add_row("", "frames", f"{summary.frames_sent:,} said, {received}")
        table.add_row("", "gaps", f"{summary.gaps:,}")
    if summary.marks_placed:
        table.add_row("", "marks", f"{summary.marks_placed:,} placed, {summary.marks_answered:,} reached")
    if summary.echoes:
        lost = Text(f"{summary.echo_lost:,} lost, {summary.echo_damaged:,} damaged")
        if summary.echo_lost or summary.echo_damaged:
            lost.stylize("red")
        table.add_row("", "echo", Text(f"{summary.echo_intact:,} intact, ") + lost)
    table.add_row()
    return table


def _failures(summary: Summary) -> list[str]:
    shown = [
        printable(reason) if summary.calls == 1 else f"{count:,} calls: {printable(reason)}"
        for reason, count in list(summary.failures.items())[:_MAX_FAILURES]
    ]
    more = len(summary.failures) - len(shown)
    return [*shown, f"… and {more} more kinds"] if more > 0 else shown
