"""`callstream call`: be the telephone system, and call an application."""

from __future__ import annotations

import gc
import json
import re
import signal
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click
import trio

from callstream_core import dialects
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import FORMATS, AsteriskProfile, Generation, Syntax
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.dialects.yeastar import Party, YeastarProfile
from callstream_core.errors import Unsupported
from callstream_core.events import Direction
from callstream_trio.cli.asserts import Condition
from callstream_trio.cli.common import Mistake, make_console, raise_file_limit, set_up_logs
from callstream_trio.cli.screen import render, watch
from callstream_trio.dial import DialSettings
from callstream_trio.report import Summary
from callstream_trio.settings import nearest
from callstream_trio.simulate import CallPlan, Simulation
from callstream_trio.sound import UnreadableSound
from callstream_trio.voice import can_encode, make_voice

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIGITS = "0123456789*#ABCD"
_OPEN_FILES_BESIDE = 50


@attrs.frozen(kw_only=True)
class _Wanted:
    """The command line."""

    url: str
    platform: str
    codec: str
    play: Path | None
    record: Path | None
    dtmf: str
    is_json: bool | None
    generation: str
    duration: float
    variables: Sequence[str]
    calls: int
    rate: float
    direction: str
    no_answer: bool
    passthrough: bool
    insecure: bool
    cacert: Path | None
    json_report: bool
    conditions: Sequence[str]
    parties: int
    headers: Sequence[str]


@click.command()
@click.argument("url")
@click.option("--as", "platform", default="asterisk", help="Which platform to be. [asterisk]")
@click.option("--codec", default="slin16", help="The call's codec; see 'callstream codecs'. [slin16]")
@click.option("--play", type=_FILE, help="What the caller says, again and again. [a test signal]")
@click.option("--record", type=_FILE, help="Write what the caller hears to this WAV file.")
@click.option("--dtmf", default="", metavar="KEYS", help="Keys to press; a comma waits a second: '1,2#'.")
@click.option("--json/--plain", "is_json", default=None, help="Syntax of control messages. [--json, from G3 on]")
@click.option("--generation", default="G5", help="Generation of the driver to be: G1 to G6. [G5]")
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

    Ends with exit code 0 only if every call went as it should: connected, closed cleanly, nothing said that the
    platform would refuse, nothing of an echo lost, all conditions met.
    """
    wanted = _Wanted(**options)
    plan = make_plan(wanted)
    conditions = _conditions(wanted.conditions)
    if raise_file_limit() < wanted.calls + _OPEN_FILES_BESIDE:
        raise Mistake(f"{wanted.calls} calls need as many open files; raise the limit: ulimit -n {wanted.calls + 100}")
    set_up_logs("warning", json=False)
    simulation = Simulation(wanted.url, plan, calls=wanted.calls, rate=wanted.rate)
    # What is there now stays: no collection has to look at it again.
    gc.collect()
    gc.freeze()
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
        make_console().print(render(summary, reports, missed, _notes(plan)))
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


def _notes(plan: CallPlan) -> list[str]:
    if plan.voice is not None and not plan.voice.is_sound:
        return ["This codec is not encoded here: the caller sent made-up frames of the right size, no sound."]
    return []


# From options to a plan


def make_plan(wanted: _Wanted) -> CallPlan:
    """Return what the callers will do; `Mistake` where that makes no sense."""
    _check_url(wanted.url)
    if wanted.platform not in dialects.names():
        raise Mistake(f"there is no platform {wanted.platform!r}; {nearest(wanted.platform, dialects.names())}")
    if wanted.codec not in FORMATS:
        raise Mistake(f"there is no codec {wanted.codec!r}; {nearest(wanted.codec, list(FORMATS))}")
    for key in wanted.dtmf:
        if key not in _DIGITS + ",":
            raise Mistake(f"there is no key {key!r} on a telephone; use 0-9, *, #, A-D, and a comma to wait")
    profile = _profile(wanted)
    audio = profile.opening().caller_format
    if wanted.record is not None:
        if not can_encode(audio):
            raise Mistake(f"{wanted.codec} cannot be recorded; choose slin16, ulaw or alaw, or leave --record out")
        if not wanted.record.absolute().parent.is_dir():
            raise Mistake(f"there is no directory {wanted.record.parent} to record to; create it first")
    try:
        voice = make_voice(audio, wanted.play)
    except Unsupported:
        raise Mistake(f"no file can be played with {wanted.codec}; use slin16, ulaw, alaw, or no --play") from None
    except UnreadableSound as error:
        raise Mistake(str(error)) from None
    return CallPlan(
        platform=wanted.platform,
        profile=profile,
        voice=voice,
        digits=wanted.dtmf,
        duration=wanted.duration,
        record=wanted.record,
        dialling=DialSettings(attempts=1, tls=_tls(wanted), headers=_headers(wanted.headers)),
    )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not url.isascii() or " " in url:
        raise Mistake(f"{url!r} is not a WebSocket URL; write it like ws://127.0.0.1:8787/asterisk")


def _profile(wanted: _Wanted) -> Profile:
    make = _PROFILES.get(wanted.platform)
    return make(wanted) if make else dialects.get(wanted.platform).profile()


def _yeastar(wanted: _Wanted) -> YeastarProfile:
    rate = {"slin": 8000, "slin16": 16000}.get(wanted.codec)
    if rate is None:
        raise Mistake(f"a Yeastar PBX sends slin or slin16, not {wanted.codec}; choose one with --codec")
    given = {
        "--dtmf": wanted.dtmf,
        "--record": wanted.record,
        "--variables": wanted.variables,
        "--no-answer": wanted.no_answer,
        "--passthrough": wanted.passthrough,
        "--direction": wanted.direction != Direction.BOTH.value,
    }
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise Mistake(f"a Yeastar PBX sends what its parties say, and nothing else; leave {', '.join(wrong)} out")
    numbers = range(1001, 1001 + wanted.parties)
    return YeastarProfile(rate=rate, parties=[Party(f"PJSIP/{each}-{each:08x}", str(each)) for each in numbers])


def _sinch(wanted: _Wanted) -> SinchProfile:
    audio = FORMATS.get(wanted.codec)
    if audio is None or not audio.is_linear:
        raise Mistake(f"Sinch streams 16-bit linear audio, not {wanted.codec}; choose slin, slin16, slin24, slin48, …")
    given = {
        "--dtmf": wanted.dtmf,
        "--passthrough": wanted.passthrough,
        "--direction": wanted.direction != Direction.BOTH.value,
    }
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise Mistake(f"a Sinch stream carries audio both ways, and no digits; leave {', '.join(wrong)} out")
    return SinchProfile(rate=audio.rate, headers=_variables(wanted.variables))


def _asterisk(wanted: _Wanted) -> AsteriskProfile:
    try:
        generation = Generation[wanted.generation.upper()]
    except KeyError:
        known = [each.name for each in Generation]
        raise Mistake(f"there is no generation {wanted.generation!r}; there are {', '.join(known)}") from None
    is_json = generation >= Generation.G3 if wanted.is_json is None else wanted.is_json
    try:
        return AsteriskProfile(
            generation=generation,
            syntax=Syntax.JSON if is_json else Syntax.PLAIN,
            format=wanted.codec,
            passthrough=wanted.passthrough,
            auto_answer=not wanted.no_answer,
            direction=Direction(wanted.direction),
            variables=_variables(wanted.variables),
        )
    except ValueError as error:
        raise Mistake(f"{error}; choose another --generation") from None


_PROFILES: dict[str, Callable[[_Wanted], Profile]] = {
    "asterisk": _asterisk,
    "sinch": _sinch,
    "yeastar": _yeastar,
}


def _headers(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = [(name, value) for name, _, value in (text.partition("=") for text in texts)]
    for name, value in pairs:
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) or not re.fullmatch(r"[\x21-\x7e \t]+", value):
            # The value may be a secret.
            raise Mistake("a header cannot be read; write it like --header Secret=s3cr3t")
    return tuple(pairs)


def _variables(texts: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not re.fullmatch(r"\w+", name):
            raise Mistake(f"{text!r} is no variable; write it like --variables LANGUAGE=en")
        variables[name] = value
    return variables


def _conditions(texts: Sequence[str]) -> list[Condition]:
    try:
        return [Condition.parse(text) for text in texts]
    except ValueError as error:
        raise Mistake(str(error)) from None


def _tls(wanted: _Wanted) -> ssl.SSLContext | None:
    if urlsplit(wanted.url).scheme != "wss":
        if wanted.insecure or wanted.cacert:
            raise Mistake("--insecure and --cacert are for wss:// URLs; leave them out, or call wss://")
        return None
    try:
        context = ssl.create_default_context(cafile=wanted.cacert)
    except (OSError, ssl.SSLError):
        raise Mistake(f"{wanted.cacert} cannot be read as certificates; name a PEM file") from None
    if wanted.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
