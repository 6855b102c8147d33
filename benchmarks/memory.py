"""What an idle call weighs: resident memory of a server before and after many calls have opened."""

from __future__ import annotations

import time

from benchmarks.load import Load, generating
from benchmarks.machine import free_port, running
from benchmarks.servers import command_for


def run(server: str = "callstream", *, calls: int = 500) -> float:
    """Return the bytes per idle call beyond the first."""
    port = free_port()
    with (
        running(command_for(server, "echo", port), core=0, port=port) as process,
        generating(Load(work="idle", calls=1, seconds=30, warmup=0.1), port),
    ):
        time.sleep(0.3)
        before = process.memory
        with generating(Load(work="idle", calls=calls, seconds=5, warmup=0.2), port):
            time.sleep(0.6)
            after = process.memory
    return (after - before) / calls
