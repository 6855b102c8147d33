"""`callstream call`: be the telephone system, and call an application."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import trio

from callstream_core.events import Direction
from callstream_trio.cli.asserts import Condition
from callstream_trio.cli.common import Mistake, make_console, raise_file_limit, set_up_logs
from callstream_trio.cli.plans import Wanted, make_plan, notes
from callstream_trio.cli.screen import render, watch
from callstream_trio.collector import spare_calls
from callstream_trio.report import Summary
from callstream_trio.simulate import Simulation

_FILE = click.Path(path_type=Path, dir_okay=False)
_OPEN_FILES_BESIDE = 50


@click.command()
@click.argument("url")
@click.option("--as", "platform", default="asterisk", help="Which platform to be. [asterisk]")
@click.option("--codec", help="The call's codec; see 'callstream codecs'. [slin16; jambonz: ulaw]")
@click.option("--play", type=_FILE, help="What the caller says, again and again. [a test signal]")
@click.option("--record", type=_FILE, help="Write what the caller hears to this WAV file.")
@click.option("--dtmf", default="", metavar="KEYS", help="Keys to press; a comma waits a second: '1,2#'.")
@click.option("--script", type=_FILE, help="What happens to a jambonz call, and when: a TOML file.")
@click.option("--audio-only", is_flag=True, help="Open the audio socket of a jambonz call, without control.")
@click.option("--json/--plain", "is_json", default=None, help="Syntax of control messages. [--json, from G3 on]")
@click.option("--generation", help="Generation of the driver to be: G1 to G6. [G5]")
@click.option("--duration", default=10.0, type=click.FloatRange(0.1, 86400), help="Seconds until hang-up. [10]")
@click.option(
    "--variables", multiple=True, metavar="A=1", help="A channel variable, or a call header of Sinch; repeatable."
)
@click.option("--calls", default=1, type=click.IntRange(1, 100_000), help="How many calls. [1]")
@click.option("--rate", default=20.0, type=click.FloatRange(0.01, 10_000), help="New calls per second. [20]")
@click.option("--direction", default="both", type=click.Choice([each.value for each in Direction]), help="[both]")
@click.option("--no-answer", "-n", is_flag=True, help="Let the application answer.")
@click.option("--passthrough", is_flag=True, help="Pass packets through, as with dial option p.")
@click.option("--parties", default=2, type=click.IntRange(1, 16), help="Who speaks on a tapped call (yeastar). [2]")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header to send; repeatable.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option("--cacert", type=_FILE, help="Trust this authority (PEM).")
@click.option("--json-report", is_flag=True, help="Print the result as JSON.")
@click.option("--assert", "conditions", multiple=True, metavar="CONDITION", help="E.g. 'first_audio.p95<800ms'.")
@click.pass_context
def call(context: click.Context, /, **options: Any) -> None:
    """Call an application as its telephone system would, once or many times, and measure it.

    As jambonz, URL is the calling webhook: the control socket is opened first, and the audio that the application
    orders on it. With --audio-only, URL is that of an audio socket.

    Ends with exit code 0 only if every call went as it should: connected, closed cleanly, nothing said that the
    platform would refuse, all acked in time, nothing of an echo lost, the script done, all conditions met.
    """
    wanted = Wanted(**options)
    sockets = 2 if wanted.platform == "jambonz" and not wanted.audio_only else 1
    plan = make_plan(wanted)
    conditions = _conditions(wanted.conditions)
    files = sockets * wanted.calls
    if raise_file_limit() < files + _OPEN_FILES_BESIDE:
        raise Mistake(f"{wanted.calls} calls need {files} open files; raise the limit: ulimit -n {files + 100}")
    set_up_logs("warning", json=False)
    simulation = Simulation(wanted.url, plan, calls=wanted.calls, rate=wanted.rate)
    spare_calls()
    summary = trio.run(_run, simulation, not wanted.json_report)
    missed = [failure for condition in conditions if (failure := condition.failure(summary))]
    reports = simulation.reports
    if wanted.json_report:
        result = {
            "summary": summary.as_dict(),
            "conditions_missed": missed,
            "calls": [report.as_dict() for report in reports],
        }
        click.echo(json.dumps(result, indent=2))
    else:
        make_console().print(render(summary, reports, missed, notes(plan)))
    if summary.failed or missed:
        context.exit(1)


async def _run(simulation: Simulation, is_watched: bool) -> Summary:
    console = make_console(stderr=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_interrupt, simulation)
        if is_watched and console.is_terminal:
            nursery.start_soon(watch, simulation, console)
        summary = await simulation.run()
        nursery.cancel_scope.cancel()
    return summary


async def _watch_interrupt(simulation: Simulation) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            break
    # The second one ends the process as if we were not there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    simulation.interrupt()


def _conditions(texts: Sequence[str]) -> list[Condition]:
    try:
        return [Condition.parse(text) for text in texts]
    except ValueError as error:
        raise Mistake(str(error)) from None
