"""Conditions on a run: `first_audio.p95<800ms`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import attrs

from callstream_trio.report import Summary

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_SPREADS = ("set_up", "first_audio", "lateness", "acks")
_COUNTS = (
    "calls",
    "ok",
    "failed",
    "frames_sent",
    "frames_received",
    "frames_played",
    "gaps",
    "marks_placed",
    "marks_answered",
    "misbehaved",
    "echo_intact",
    "echo_lost",
    "echo_damaged",
    "connections",
    "questions",
    "orders",
    "audio_sockets",
)
_FORM = re.compile(r"\s*([a-z_]+)(?:\.(p50|p95|p99|max))?\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)?|\.\d+)\s*(ms|s)?\s*")


@attrs.frozen
class Condition:
    """One condition on a summary."""

    text: str
    _name: str
    _statistic: str | None
    _operator: str
    _bound: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition; `ValueError` says what is wrong with it."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise ValueError(f"{text!r} is no condition; write it like 'first_audio.p95<800ms' or 'gaps<=3'")
        name, statistic, sign, number, unit = form.groups()
        if name in _SPREADS:
            if statistic is None or unit is None:
                raise ValueError(f"{text!r} needs a statistic and a unit, like '{name}.p95<800ms'")
        elif name in _COUNTS:
            if statistic is not None or unit is not None:
                raise ValueError(f"{text!r}: {name} is a plain count, like '{name}<=3'")
        else:
            raise ValueError(f"{name!r} is not measured; there are {', '.join((*_SPREADS, *_COUNTS))}")
        return cls(text, name, statistic, sign, float(number) / (1000 if unit == "ms" else 1))

    def failure(self, summary: Summary) -> str | None:
        """Return how a summary misses the condition, or None where it holds."""
        value = getattr(summary, self._name)
        if value is None:
            return f"{self.text}: nothing was measured"
        number: float = getattr(value, self._statistic) if self._statistic else value
        if _OPERATORS[self._operator](number, self._bound):
            return None
        shown = f"{number * 1000:.1f} ms" if self._statistic else f"{number:,}"
        return f"{self.text}: it is {shown}"
