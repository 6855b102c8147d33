"""What happens to a simulated jambonz call, and when: read from a TOML file, and followed step by step."""

from __future__ import annotations

import math
import tomllib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.running import Phase, Running
from callstream_core.jambonz.table import INTERNAL
from callstream_core.jambonz.values import Verb
from callstream_trio.settings import nearest

KEYS = "0123456789*#ABCD"
ANSWERED = "answered"
_INTERVAL = 0.5
_COMMA = 1.0
_MAX_STEPS = 1000
_MAX_SIZE = 1024 * 1024
_DAY = 86_400.0


class BadScript(Exception):
    """A script that cannot be used; the message says where, and what to change."""


@attrs.frozen
class SocketDropped:
    """The control socket breaks, without a close."""


Action = h.Happening | SocketDropped


def key_times(keys: str, start: float) -> list[tuple[float, str]]:
    """Return when each key is pressed, half a second apart; a comma waits a second more."""
    times: list[tuple[float, str]] = []
    for key in keys:
        if key == ",":
            start += _COMMA
        else:
            times.append((start, key))
            start += _INTERVAL
    return times


@attrs.frozen(kw_only=True)
class Step:
    """One thing that happens: after the step before it, or at a time of its own."""

    number: int
    actions: Sequence[tuple[float, Action]]
    """What happens, and how many seconds after the step is due."""
    on: str | None = None
    """The verb that has to run, by its name; or `answered`."""
    after: float = 0.0
    """Seconds to wait first."""
    at: float | None = None
    """Seconds from the beginning of the call, whatever the other steps wait for."""


@attrs.frozen(kw_only=True)
class Script:
    """A jambonz call: who calls, and what happens."""

    steps: Sequence[Step] = ()
    profile: Mapping[str, Any] = attrs.field(factory=dict)
    """What it says of the call, by the names of `callstream_core.jambonz.JambonzProfile`."""


class Reading:
    """Where one call is in its script."""

    def __init__(self, script: Script) -> None:
        self._waiting = deque(step for step in script.steps if step.at is None)
        self._timed = [step for step in script.steps if step.at is not None]
        self._due: list[tuple[float, Action]] = []
        self._met: Running | None = None
        """The run of a verb that a step has waited for already."""
        self._begun = self._since = math.inf
        """When the call began, and when the step before was done."""

    @property
    def next_due(self) -> float | None:
        """When there is something to do."""
        return self._due[0][0] if self._due else None

    @property
    def unfinished(self) -> str:
        """What has not come, in words; empty where all has."""
        if self._due:
            return f"something was to happen {self._due[0][0] - self._begun:.1f} s after its beginning"
        if not self._waiting:
            return ""
        step = self._waiting[0]
        return f"step {step.number} waits" + (f" for {step.on}" if step.on else "")

    def begin(self, now: float) -> None:
        """Count time from now on, unless it is counted already."""
        if self._begun < math.inf:
            return
        self._begun = self._since = now
        for step in self._timed:
            self._plan(step, now + (step.at or 0.0))

    def look(self, running: Running | None, now: float, *, is_answered: bool) -> None:
        """Look whether what the next steps wait for has come."""
        # Until then, the step before is not done.
        while self._waiting and self._since <= now:
            step = self._waiting[0]
            if step.on is not None and not self._is_met(step.on, running, is_answered=is_answered):
                return
            start = self._since if step.on is None else now
            self._waiting.popleft()
            self._since = self._plan(step, start + step.after)

    def _is_met(self, on: str, running: Running | None, *, is_answered: bool) -> bool:
        if on == ANSWERED:
            return is_answered
        if running is None or running is self._met or running.phase is not Phase.RUNNING:
            return False
        if on not in _names(running.verb):
            return False
        self._met = running
        return True

    def _plan(self, step: Step, start: float) -> float:
        times = [(start + delay, action) for delay, action in step.actions]
        self._due = sorted([*self._due, *times], key=lambda entry: entry[0])
        return times[-1][0]

    def take(self, now: float) -> list[Action]:
        """Return what happens now."""
        count = sum(at <= now for at, _ in self._due)
        taken, self._due = self._due[:count], self._due[count:]
        return [action for _, action in taken]


def _names(verb: Verb) -> tuple[str, ...]:
    return (verb.word, getattr(verb, "spelling", verb.word))


# Reading


def read_script(path: Path) -> Script:
    """Read a script. Raise `BadScript` where that cannot be done."""
    try:
        if path.stat().st_size > _MAX_SIZE:
            raise BadScript(f"{path} is larger than {_MAX_SIZE // 1024} KiB; shorten it")
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadScript(f"{path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadScript(f"{path} is not valid TOML: {error}") from None
    try:
        return parse_script(found)
    except BadScript as error:
        raise BadScript(f"{path}: {error}") from None


def parse_script(found: Mapping[str, Any]) -> Script:
    """Return the script that a TOML document holds. Raise `BadScript` where it holds none."""
    _check_keys(found, ("call", "step"), "the script")
    call, steps = found.get("call", {}), found.get("step", [])
    if not isinstance(call, dict):
        raise BadScript("call is a table: write [call]")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise BadScript("step is a list of tables: write [[step]]")
    if len(steps) > _MAX_STEPS:
        raise BadScript(f"there are {len(steps)} steps; {_MAX_STEPS} are the most")
    _check_keys(call, tuple(_CALL), "call")
    profile = {_CALL[key][0]: _CALL[key][1](f"call: {key}", value) for key, value in call.items()}
    if call.get("outbound") and not any("callee" in step for step in steps):
        raise BadScript("call: outbound, and nobody answers; add a step with callee = 'answers', or 'refuses'")
    return Script(profile=profile, steps=[_step(number, step) for number, step in enumerate(steps, 1)])


def _check_keys(found: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in found:
        if key not in known:
            raise BadScript(f"{where} has an unknown key {key!r}; {nearest(key, known)}")


def _step(number: int, found: Mapping[str, Any]) -> Step:
    where = f"step {number}"
    kinds = [kind for kind in _ACTIONS if kind in found]
    _check_keys(found, (*_WHEN, *_ACTIONS, *(extra for extras in _EXTRAS.values() for extra in extras)), where)
    if len(kinds) != 1:
        given = " and ".join(kinds) or "nothing"
        raise BadScript(f"{where} says {given}; write exactly one of {', '.join(_ACTIONS)}")
    [kind] = kinds
    _check_keys(found, (*_WHEN, kind, *_EXTRAS.get(kind, {})), f"{where} ({kind})")
    after, at = (_seconds(f"{where}: {key}", found[key]) if key in found else None for key in ("after", "at"))
    on = _text(f"{where}: on", found["on"]) if "on" in found else None
    if at is not None and (on is not None or after is not None):
        raise BadScript(f"{where} has at, which stands for itself; leave {'on' if on is not None else 'after'} out")
    if on is not None and on not in _VERBS:
        raise BadScript(f"{where}: on = {on!r} is no verb that takes time; {nearest(on, _VERBS)}")
    extras = {key: read(f"{where}: {key}", found[key]) for key, read in _EXTRAS.get(kind, {}).items() if key in found}
    actions = _ACTIONS[kind](f"{where}: {kind}", found[kind], extras)
    return Step(number=number, actions=actions, on=on, after=after or 0.0, at=at)


# What a value may be


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadScript(f"{where} is a text, not {value!r}")
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadScript(f"{where} is true or false, not {value!r}")
    return value


def _true(where: str, value: Any) -> None:
    if value is not True:
        raise BadScript(f"{where} = true is all there is; leave the step out otherwise")


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _DAY:
        raise BadScript(f"{where} is a number from 0 to {_DAY:g}, not {value!r}")
    return float(value)


def _seconds(where: str, value: Any) -> float:
    try:
        return _number(where, value)
    except BadScript:
        raise BadScript(f"{where} is a number of seconds, such as 0.5, not {value!r}") from None


def _status(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 180 <= value <= 699:
        raise BadScript(f"{where} is a SIP status, such as 486, not {value!r}")
    return value


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadScript(f"{where} is a table, such as {{ key = 'value' }}, not {value!r}")
    return value


def _texts(where: str, value: Any) -> Mapping[str, str]:
    return {key: _text(f"{where}.{key}", text) for key, text in _table(where, value).items()}


# What may happen

Actions = Sequence[tuple[float, Action]]


def _press(where: str, value: Any, _extras: Mapping[str, Any]) -> Actions:
    keys = key_times(_text(where, value), 0.0)
    wrong = [key for _, key in keys if key not in KEYS]
    if wrong or not keys:
        raise BadScript(f"{where} = {value!r}: a telephone has the keys 0-9, *, #, A-D; a comma waits a second")
    return [(at, h.KeyPressed(key)) for at, key in keys]


def _speak(where: str, value: Any, extras: Mapping[str, Any]) -> Actions:
    spoken = h.CallerSpoke(_text(where, value), extras.get("confidence", 1.0), extras.get("final", True))
    return [(0.0, spoken)]


def _callee(where: str, value: Any, extras: Mapping[str, Any]) -> Actions:
    kind = _CALLEE.get(value) if isinstance(value, str) else None
    if kind is None:
        raise BadScript(f"{where} = {value!r} is nothing a callee does; {nearest(str(value), tuple(_CALLEE))}")
    if extras and kind not in (h.FarEndRang, h.FarEndRefused):
        raise BadScript(f"{where} = {value!r} has no status; leave it out")
    return [(0.0, kind(**extras))]


def _result(where: str, value: Any, _extras: Mapping[str, Any]) -> Actions:
    return [(0.0, h.VerbEnded(_table(where, value)))]


def _event(where: str, value: Any, _extras: Mapping[str, Any]) -> Actions:
    return [(0.0, h.LlmSaid(_table(where, value)))]


def _tool(where: str, value: Any, extras: Mapping[str, Any]) -> Actions:
    return [(0.0, h.LlmCalledTool(extras.get("id", "tool-1"), _text(where, value), extras.get("args", {})))]


def _drop(where: str, value: Any, _extras: Mapping[str, Any]) -> Actions:
    _true(where, value)
    return [(0.0, SocketDropped())]


def _hang_up(where: str, value: Any, _extras: Mapping[str, Any]) -> Actions:
    _true(where, value)
    return [(0.0, h.CallerHungUp())]


_WHEN = ("on", "after", "at")
_ACTIONS: dict[str, Callable[[str, Any, Mapping[str, Any]], Actions]] = {
    "press": _press,
    "speak": _speak,
    "callee": _callee,
    "result": _result,
    "event": _event,
    "tool": _tool,
    "drop": _drop,
    "hang_up": _hang_up,
}
_EXTRAS: dict[str, dict[str, Callable[[str, Any], Any]]] = {
    "speak": {"confidence": _number, "final": _flag},
    "callee": {"status": _status},
    "tool": {"id": _text, "args": _table},
}
_CALLEE: dict[str, Callable[..., h.Happening]] = {
    "rings": h.FarEndRang,
    "answers": h.FarEndAnswered,
    "refuses": h.FarEndRefused,
    "hangs up": h.FarEndHungUp,
}
_CALL: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "from": ("caller", _text),
    "to": ("called", _text),
    "outbound": ("is_outbound", _flag),
    "sip_headers": ("sip_headers", _texts),
    "env_vars": ("env_vars", _table),
    "status_hook": ("has_status_hook", _flag),
    "clip_duration": ("clip_duration", _seconds),
    "character_duration": ("character_duration", _seconds),
}
_AT_ONCE = (v.Answer, v.Alert, v.Dub, v.Dtmf, v.Config, v.Tag, v.Hangup, v.SipDecline, v.Leave)
_KINDS = [kind for kind in vars(v).values() if isinstance(kind, type) and issubclass(kind, Verb) and kind.word]
_SLOW = {name for kind in _KINDS if kind not in _AT_ONCE for name in (kind.word, getattr(kind, "spelling", kind.word))}
_VERBS = (ANSWERED, *sorted(_SLOW - INTERNAL))
