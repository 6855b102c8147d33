"""What one echoed frame costs a whole server, beside others doing the same, in the same run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Sequence

import attrs

from benchmarks.machine import CannotMeasure, build, free_port, running
from benchmarks.servers import command_for

OPENING = (
    "MEDIA_START connection_id:bench channel:WebSocket/bench/0x1 channel_id:1 "
    "format:slin optimal_frame_size:320 ptime:20"
)


@attrs.frozen(kw_only=True)
class EchoResult:
    """One server under one load, one round."""

    server: str
    calls: int
    paced: bool
    cpu: float
    """Microseconds of the server's processor time per frame."""
    core: float
    """Share of one core that it used."""
    lost: int
    latency_p50: float
    latency_p99: float
    """Milliseconds from the moment a frame was due at the generator to its echo."""
    slip_p99: float
    """Milliseconds by which the generator itself was late: the noise of the machine."""
    generator: float
    """Share of a core that the generator used."""


def measure(server: str, *, calls: int, seconds: float, paced: bool, size: int = 320) -> EchoResult:
    """Run one server under load, on cores of their own."""
    port = free_port()
    warmup = 1.0
    load = [str(build("load")), "127.0.0.1", str(port), "/"]
    load += [str(calls), str(seconds), str(warmup), str(size), str(int(paced)), OPENING]
    with running(command_for(server, port), core=0, port=port) as process:
        generator = subprocess.Popen(load, stdout=subprocess.PIPE, preexec_fn=_pin_to_second)
        assert generator.stdout is not None
        try:
            if generator.stdout.readline().strip() != b"steady":
                raise CannotMeasure(f"the load generator could not open {calls} calls to {server}")
            before = process.cpu
            report = generator.stdout.read()
            used = process.cpu - before
        finally:
            generator.kill()
            generator.wait()
            generator.stdout.close()
    found = json.loads(report)
    frames = max(found["received"], 1)
    # Paced calls are given half a second to come back after the last frame.
    lasted = seconds + (0.5 if paced else 0)
    return EchoResult(
        server=server,
        calls=calls,
        paced=paced,
        cpu=used / frames * 1e6,
        core=used / lasted,
        lost=found["sent"] - found["received"] + found["out_of_order"] + found["broken"] if paced else found["broken"],
        latency_p50=found["latency_p50"],
        latency_p99=found["latency_p99"],
        slip_p99=found["slip_p99"],
        generator=found["generator_cpu"] / (lasted + warmup),
    )


def _pin_to_second() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})


def run(
    servers: Sequence[str], *, calls: int, seconds: float, paced: bool, rounds: int
) -> tuple[list[EchoResult], dict[str, str]]:
    """Measure all servers in turns; return the median round of each, and why others could not be measured."""
    results: dict[str, list[EchoResult]] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for server in servers:
            if server in missing:
                continue
            try:
                results.setdefault(server, []).append(measure(server, calls=calls, seconds=seconds, paced=paced))
            except CannotMeasure as error:
                missing[server] = str(error)
    return [_median(found) for found in results.values() if found], missing


def _median(results: list[EchoResult]) -> EchoResult:
    middle = statistics.median_low(result.cpu for result in results)
    return next(result for result in results if result.cpu == middle)
