"""What a measured server does about its heap, and how it tells of the garbage collector's pauses.

Where `BENCHMARK_PAUSES` names a file, every collection is timed, and SIGUSR1 has one more made, of everything, before
all of it is written there.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from pathlib import Path


def freeze() -> None:
    """Keep what is there now from every later collection, unless that is what is compared."""
    if os.environ.get("BENCHMARK_FREEZE", "1"):
        gc.collect()
        gc.freeze()


def watch() -> None:
    """Time every collection from now on, where that is asked for."""
    if "BENCHMARK_PAUSES" not in os.environ:
        return
    file = Path(os.environ["BENCHMARK_PAUSES"])
    found: list[tuple[float, int, float]] = []
    began = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        now = time.monotonic()
        if phase == "start":
            began = now
        else:
            found.append((began, info["generation"], (now - began) * 1e3))

    def tell(_signal: int, _frame: object) -> None:
        gc.collect()
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps({"pauses": found, "objects": len(gc.get_objects())}))
        fresh.rename(file)

    gc.callbacks.append(note)
    signal.signal(signal.SIGUSR1, tell)
