"""One server under one load, for one round: a process each, on cores of their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs

from benchmarks.histogram import Histogram
from benchmarks.machine import CannotMeasure, Measured, build, free_port, running, settle_on
from benchmarks.servers import command_for

_START = "MEDIA_START connection_id:bench channel:WebSocket/bench/0x1 channel_id:1 format:slin"
OPENING = f"{_START} optimal_frame_size:320 ptime:20"
PACED_OPENING = f"{OPENING} unbuffered:true"
"""The platform hands frames on as they come: the application times each of them."""
FAST_OPENING = f"{_START} optimal_frame_size:320 ptime:1"
"""A platform that plays twenty times as fast: at the usual pace it would not take a saturated echo."""
_OPENINGS = {"duplex": PACED_OPENING, "saturated": FAST_OPENING}
MAX_GENERATOR = 0.9
"""The share of a core that the generator may use before what it measures is in doubt."""
MAX_SLIP = 1.0
"""Milliseconds that the generator itself may be late, at p99."""


@attrs.frozen(kw_only=True, str=False)
class Load:
    """What the generator does."""

    work: str
    """`echo`, `saturated`, `duplex`, `stalled` or `bargein`."""
    calls: int
    seconds: float = 5.0
    warmup: float = 2.0
    size: int = 320
    stall: int = 0
    """Milliseconds for which the server's loop is held up, once a second."""
    is_tls: bool = False

    def __str__(self) -> str:
        return f"{self.calls} calls {self.work}" + (f" {self.stall} ms" if self.stall else "") + " TLS" * self.is_tls

    @property
    def mode(self) -> str:
        """What the generator calls it."""
        return "duplex" if self.work == "stalled" else self.work

    @property
    def server_work(self) -> str:
        """What the server calls it."""
        return "echo" if self.work == "saturated" else self.work


@attrs.frozen(kw_only=True)
class Round:
    """What one round showed."""

    server: str
    load: Load
    cpu: float
    """Microseconds of the server's processor time per frame; in duplex, of either direction."""
    core: float
    """Share of a core that the server used."""
    frames: int
    lost: int
    """Frames that were due and did not come, came out of order, or broke off with their connection."""
    late: int
    """Frames more than 5 ms late."""
    early: int
    """Frames more than 0.1 ms before their time: who runs ahead of its grid, or rounds its timers, seems punctual."""
    longest_episode: float
    """Milliseconds of the longest row of late frames: a stall and its recovery."""
    generator: float
    """Share of a core that the generator used; all of it, where it shares one with the server."""
    latency: Histogram
    """From the moment at which a frame was due. Duplex: by the server's own grid."""
    slip: Histogram
    """By how much the generator was late itself."""
    tail: Histogram
    """Bargein: from the clear to the last frame before it took effect."""

    @property
    def is_doubtful(self) -> bool:
        """Whether the generator was so busy or so late that lateness and losses may be its own."""
        return self.generator > MAX_GENERATOR or self.slip.percentile(0.99) > MAX_SLIP


@contextmanager
def generating(load: Load, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the generator on the last core; it is past its warm-up when the block begins."""
    command = [str(build("load", is_tls=load.is_tls)), "127.0.0.1", str(port), "/"]
    command += [
        str(load.calls),
        str(load.seconds),
        str(load.warmup),
        str(load.size),
        load.mode,
        "tls" if load.is_tls else "plain",
        _OPENINGS.get(load.mode, OPENING),
    ]
    generator = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=partial(settle_on, -1)
    )
    assert generator.stdout is not None
    assert generator.stderr is not None
    try:
        if generator.stdout.readline().strip() != b"steady":
            why = generator.stderr.read().decode(errors="replace").strip() or "the server took too long"
            raise CannotMeasure(f"the load generator could not open {load.calls} calls: {why}")
        yield generator
    finally:
        generator.kill()
        generator.wait()
        generator.stdout.close()
        generator.stderr.close()


def measure(server: str, load: Load) -> Round:
    """Run one server under one load."""
    port = free_port()
    environment = {"BENCHMARK_STALL": str(load.stall)}
    with (
        running(
            command_for(server, load.server_work, port, is_tls=load.is_tls), core=0, port=port, env=environment
        ) as process,
        generating(load, port) as generator,
    ):
        return watched_round(server, load, process, generator)


def watched_round(
    server: str,
    load: Load,
    process: Measured,
    generator: subprocess.Popen[bytes],
    *,
    at_end: Callable[[], None] = lambda: None,
) -> Round:
    """Wait for the end of a round that is past its warm-up; return what it showed. The calls still run `at_end`."""
    assert generator.stdout is not None
    before, start = process.cpu, time.monotonic()
    line = generator.stdout.readline()
    used, lasted = process.cpu - before, time.monotonic() - start
    at_end()
    text = generator.stdout.read()
    try:
        if line.strip() != b"over":
            raise ValueError
        return _round(server, load, json.loads(text), used, lasted)
    except ValueError:
        raise CannotMeasure(f"the load generator broke off with {generator.wait()}") from None


def _round(server: str, load: Load, found: dict[str, Any], used: float, lasted: float) -> Round:
    frames = found["received"]
    if not frames:
        raise CannotMeasure(f"overloaded by {load.calls} calls: no frame came in time")
    lost: int = found["out_of_order"] + found["broken"] + found["missing"]
    if load.mode in ("echo", "bargein"):
        lost += found["sent"] - found["received"]
    # Both directions are work: a frame in and a frame out, as an echo is one of each.
    return Round(
        server=server,
        load=load,
        cpu=used / frames * 1e6,
        core=used / lasted,
        frames=found["received"],
        lost=lost,
        late=found["late"],
        early=found["early"],
        longest_episode=found["longest_episode"],
        generator=found["generator_cpu"] / lasted if len(os.sched_getaffinity(0)) > 1 else 1.0,
        latency=Histogram.of(found["latency"]),
        slip=Histogram.of(found["slip"]),
        tail=Histogram.of(found["tail"]),
    )


@attrs.frozen(kw_only=True)
class Result:
    """All rounds of one server under one load."""

    server: str
    load: Load
    rounds: list[Round]

    def median(self, figure: Callable[[Round], float]) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(map(figure, self.rounds))

    def as_json(self) -> dict[str, Any]:
        """Return medians, with the least and the most of all rounds, and every round's own figures."""
        figures: dict[str, Callable[[Round], float]] = {
            "cpu": lambda r: r.cpu,
            "core": lambda r: r.core,
            "generator": lambda r: r.generator,
            "slip_p99": lambda r: r.slip.percentile(0.99),
            "longest_episode": lambda r: r.longest_episode,
        }
        for name in ("p50", "p90", "p99", "p99.9", "p99.99", "max"):
            figures[name] = lambda r, name=name: r.latency.percentiles()[name]  # type: ignore[misc]
            if self.load.work == "bargein":
                figures[f"tail_{name}"] = lambda r, name=name: r.tail.percentiles()[name]  # type: ignore[misc]
        all_latency = Histogram()
        for each in self.rounds:
            all_latency.add(each.latency)
        spread = {
            name: {
                "median": round(self.median(figure), 4),
                "least": round(min(map(figure, self.rounds)), 4),
                "most": round(max(map(figure, self.rounds)), 4),
            }
            for name, figure in figures.items()
        }
        return {
            "server": self.server,
            **{key: value for key, value in attrs.asdict(self.load).items() if key != "size"},
            "rounds": len(self.rounds),
            "frames": sum(r.frames for r in self.rounds),
            "lost": sum(r.lost for r in self.rounds),
            "late": sum(r.late for r in self.rounds),
            "early": sum(r.early for r in self.rounds),
            "doubtful": sum(r.is_doubtful for r in self.rounds),
            **spread,
            "latency": sorted(all_latency.counts.items()),
        }


def compare(
    servers: Sequence[str],
    loads: Sequence[Load],
    *,
    rounds: int,
    step: Callable[[str], None] = lambda _: None,
    measure: Callable[[str, Load], Round] = measure,
) -> tuple[list[Result], dict[str, str]]:
    """Measure every server under every load, in turns; return the results, and why others could not be measured.

    A server that fails under one load is not asked to bear it again, but may bear others.
    """
    found: dict[tuple[Load, str], list[Round]] = {(load, server): [] for load in loads for server in servers}
    failed: dict[tuple[Load, str], str] = {}
    for _ in range(rounds):
        for load, server in found:
            step(f"{server}, {load}")
            if (load, server) not in failed:
                try:
                    found[load, server].append(measure(server, load))
                except CannotMeasure as error:
                    failed[load, server] = str(error)
    results = [Result(server=server, load=load, rounds=each) for (load, server), each in found.items() if each]
    return results, _missing(servers, loads, failed)


def _missing(servers: Sequence[str], loads: Sequence[Load], failed: dict[tuple[Load, str], str]) -> dict[str, str]:
    missing: dict[str, str] = {}
    for server in servers:
        own = {load: why for (load, name), why in failed.items() if name == server}
        if len(own) == len(loads):
            missing[server] = next(iter(own.values()))
        else:
            missing |= {f"{server}, {load}": why for load, why in own.items()}
    return missing
