"""What a long run has measured so far, in a file, step by step: cut off, it goes on where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cattrs

from benchmarks.load import Load, Round, measure
from benchmarks.machine import CannotMeasure
from benchmarks.servers import command_for


class Journal:
    """Every step has a key; the nth time that a key is asked for, it is the nth step that was measured under it."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._found: dict[str, list[Any]] = {}
        self._asked: Counter[str] = Counter()
        if file is not None and file.exists():
            for line in file.read_text().splitlines():
                try:
                    key, found = json.loads(line)
                except ValueError:
                    break  # It was cut while it wrote.
                self._found.setdefault(key, []).append(found)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return sum(map(len, self._found.values()))

    def recall(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what was measured as this step, or measure it now."""
        number = self._asked[key]
        self._asked[key] += 1
        known = self._found.setdefault(key, [])
        if number == len(known):
            known.append(json.loads(json.dumps(_outcome(make))))
            if self._file is not None:
                with self._file.open("a") as file:
                    file.write(json.dumps([key, known[-1]]) + "\n")
        found = known[number]
        if "cannot" in found:
            raise CannotMeasure(found["cannot"])
        return found["measured"]

    def measure(self, server: str, load: Load) -> Round:
        """Measure a round, or recall it. A library that is missing may be there the next time: that is not kept."""
        command_for(server, load.server_work, 0, is_tls=load.is_tls)
        key = json.dumps([server, cattrs.unstructure(load)])
        return cattrs.structure(self.recall(key, lambda: cattrs.unstructure(measure(server, load))), Round)

    def close(self) -> None:
        """Forget everything: the run is complete, and another one begins anew."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _outcome(make: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"measured": make()}
    except CannotMeasure as error:
        return {"cannot": str(error)}
