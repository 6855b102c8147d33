"""What an idle call weighs: resident memory of a server before and after many calls have opened."""

from __future__ import annotations

import subprocess
import time

from benchmarks.echo import OPENING
from benchmarks.machine import CannotMeasure, build, free_port, running
from benchmarks.servers import command_for


def run(server: str = "callstream", *, calls: int = 500) -> float:
    """Return the bytes per idle call beyond the first."""
    port = free_port()

    def load(count: int, seconds: float) -> subprocess.Popen[bytes]:
        command = [str(build("load")), "127.0.0.1", str(port), "/"]
        command += [str(count), str(seconds), "0.5", "320", "2", OPENING]
        generator = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert generator.stdout is not None
        if generator.stdout.readline().strip() != b"steady":
            raise CannotMeasure(f"the load generator could not open {count} calls to {server}")
        return generator

    with running(command_for(server, port), core=0, port=port) as process:
        first = load(1, 30)
        time.sleep(0.5)
        before = process.memory
        rest = load(calls, 2)
        time.sleep(1)
        after = process.memory
        for generator in (rest, first):
            generator.kill()
            generator.wait()
            if generator.stdout:
                generator.stdout.close()
    return (after - before) / calls
