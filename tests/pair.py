"""Both ends of a call, joined by a wire with delay, on a virtual clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.platform_session import PlatformSession

Ends = AppSession | PlatformSession


class Pair:
    """Carries messages between two sessions, and writes down what either end hears and plays, and when.

    At one moment, what has arrived comes before the clocks. `app_lag` is how late the application's end wakes up.
    """

    def __init__(self, app: AppSession, platform: PlatformSession, *, delay: float = 0.0, now: float = 0.0) -> None:
        self.app = app
        self.platform = platform
        self.delay = delay
        self.app_lag = 0.0
        self.now = now
        self.heard_by_app: list[tuple[float, Output]] = []
        self.heard_by_platform: list[tuple[float, Output]] = []
        self.played: list[FramePlayed] = []
        self.closed_by: set[Ends] = set()
        self._count = itertools.count()
        self._wire: list[tuple[float, int, Ends, str | bytes | CloseLink]] = []
        self._woken_for: float | None = None

    # What the two ends want

    def open(self) -> None:
        """Announce the call and let it arrive."""
        self.say_event(None)
        self.run(self.delay)

    def say(self, command: c.Command) -> list[Output]:
        """Have the application say something; raise what it raises."""
        return self._perform(self.app, self.app.send(command, self.now))

    def say_event(self, event: e.Event | None) -> None:
        """Have the platform say something: without an event, its opening."""
        out = self.platform.open(self.now) if event is None else self.platform.send(event, self.now)
        self._perform(self.platform, out)

    def drop(self) -> None:
        """Lose the connection, and all that is on its way."""
        self._wire.clear()
        for end in (self.app, self.platform):
            self._perform(end, end.receive_close(None, self.now))

    def _perform(self, end: Ends, outputs: list[Output]) -> list[Output]:
        other: Ends = self.platform if end is self.app else self.app
        heard = self.heard_by_app if end is self.app else self.heard_by_platform
        for output in outputs:
            if isinstance(output, Transmit | CloseLink):
                assert end not in self.closed_by, f"{output} after the link was closed"
                if isinstance(output, CloseLink):
                    self.closed_by.add(end)
                item = output.message if isinstance(output, Transmit) else output
                heapq.heappush(self._wire, (self.now + self.delay, next(self._count), other, item))
            elif isinstance(output, FramePlayed):
                self.played.append(output)
            else:
                heard.append((self.now, output))
        if end.state is State.CLOSED:
            assert end.next_timeout() is None
        return outputs

    # Time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(lambda: False, self.now + seconds)

    def run_until(self, is_enough: Callable[[], bool], deadline: float) -> bool:
        """Let time pass until something holds; False if it did not by `deadline`."""
        while not is_enough():
            at = min(self._next(), deadline)
            self.now = max(self.now, at)
            if self._next() > self.now:
                return is_enough()
            self._step()
        return True

    def _app_timeout(self) -> float | None:
        due = self.app.next_timeout()
        return None if due is None else due + self.app_lag

    def _next(self) -> float:
        times = [self._wire[0][0]] if self._wire else []
        times += [due for due in (self._app_timeout(), self.platform.next_timeout()) if due is not None]
        return min(times, default=float("inf"))

    def _step(self) -> None:
        if self._wire and self._wire[0][0] <= self.now:
            _, _, end, item = heapq.heappop(self._wire)
            if isinstance(item, CloseLink):
                self._perform(end, end.receive_close(1005 if item.code is None else item.code, self.now))
            else:
                self._perform(end, end.receive(item, self.now))
            return
        platform_due, app_due = self.platform.next_timeout(), self._app_timeout()
        if platform_due is not None and platform_due <= self.now:
            self._wake(self.platform)
        if app_due is not None and app_due <= self.now:
            self._wake(self.app)

    def _wake(self, end: Ends) -> None:
        self._perform(end, end.handle_timeout(self.now))
        following = end.next_timeout()
        assert following is None or following > self.now, f"a handled timeout stays at {following}"

    # What was said

    def app_heard(self, *kinds: type) -> list[Output]:
        """Return the events of these types that the application heard."""
        return [output for _, output in self.heard_by_app if isinstance(output, kinds)]

    def platform_heard(self, *kinds: type) -> list[Output]:
        """Return the commands (and log lines) of these types at the platform."""
        return [output for _, output in self.heard_by_platform if isinstance(output, kinds)]
