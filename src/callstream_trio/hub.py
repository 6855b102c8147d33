"""One task for all calls: the readiness of their sockets and all their deadlines.

Waking a Trio task for every frame costs more than handling the frame. So the hub owns every call's socket: it waits
for all of them through one descriptor, and runs each link's share of work as plain function calls. With few calls it
reacts to each arrival at once. With many it gathers what arrived on a short tick, as network cards coalesce interrupts.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Protocol

import structlog
import trio

from callstream_trio.poller import Poller, make_poller
from callstream_trio.wake import WakeTimer

_log = structlog.get_logger("callstream.hub")

clock = time.monotonic
"""The clock of all sessions in the shell: seconds, never backwards."""


class Timed(Protocol):
    """What has deadlines. Methods never block, and never wait."""

    scheduled: float | None
    """The deadline that the hub has in its heap for it."""

    def handle_deadline(self, now: float) -> None:
        """Do what is due."""
        ...

    def abandon(self, error: Exception) -> None:
        """Give up: something inside failed. Must not raise."""
        ...


class Served(Timed, Protocol):
    """What the hub serves: one socket and its deadlines."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        ...

    def handle_readable(self, now: float) -> None:
        """Read what there is."""
        ...

    def handle_writable(self, now: float) -> None:
        """Write what has been waiting."""
        ...


class Hub:
    """Serves links: `gather_from` and more are gathered on a tick; below `react_below`, each is answered at once."""

    def __init__(self, *, gather_from: int = 48, react_below: int = 32, tick: float = 0.002) -> None:
        self.gather_from = gather_from
        self.react_below = react_below
        self.tick = tick
        self.is_gathering = False
        self._served: dict[int, Served] = {}
        self._deadlines: list[tuple[float, int, Timed]] = []
        self._order = count()
        self._poller: Poller | None = None
        self._timer: WakeTimer | None = None
        self._armed = float("inf")
        self._nursery: trio.Nursery | None = None
        self._watches: dict[int, trio.CancelScope] = {}
        self._wanted_writes: set[int] = set()
        self._rescheduled = trio.Event()

    def __len__(self) -> int:
        return len(self._served)

    @asynccontextmanager
    async def running(self, *, poller: Poller | None = None, has_poller: bool = True) -> AsyncIterator[Hub]:
        """Serve until the block ends. Without a poller, each socket is waited for by a task of its own."""
        self._poller = (poller or make_poller()) if has_poller else None
        self._timer = WakeTimer() if self._poller and WakeTimer.is_available() else None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._run)
                yield self
                nursery.cancel_scope.cancel()
        finally:
            if self._timer:
                self._timer.close()
            if self._poller:
                self._poller.close()

    def add(self, served: Served) -> None:
        """Serve a socket from now on."""
        fd = served.fileno()
        self._served[fd] = served
        if self._poller:
            self._poller.add(fd)
        else:
            self._watch(fd, served)
        if not self.is_gathering and len(self._served) >= self.gather_from:
            self._set_gathering(True)

    def remove(self, served: Served) -> None:
        """Forget a socket, before it is closed."""
        fd = served.fileno()
        if self._served.pop(fd, None) is None:
            return
        self._wanted_writes.discard(fd)
        served.scheduled = None
        if self._poller:
            self._poller.remove(fd)
        else:
            self._watches.pop(fd).cancel()
            trio.lowlevel.notify_closing(fd)
        if self.is_gathering and len(self._served) < self.react_below:
            self._set_gathering(False)

    def want_write(self, served: Served, wanted: bool) -> None:
        """Ask for `handle_writable`, or no longer."""
        fd = served.fileno()
        if wanted == (fd in self._wanted_writes) or fd not in self._served:
            return
        if wanted:
            self._wanted_writes.add(fd)
        else:
            self._wanted_writes.discard(fd)
        if self._poller:
            self._poller.want_write(fd, wanted)
        elif wanted and self._nursery:
            self._nursery.start_soon(self._watch_writable, fd, served)

    def schedule(self, timed: Timed, deadline: float) -> None:
        """Call `handle_deadline` at `deadline`. Only an earlier one than before needs to be said."""
        timed.scheduled = deadline
        heapq.heappush(self._deadlines, (deadline, next(self._order), timed))
        if deadline < self._armed:
            self._arm(deadline)

    # The task

    async def _run(self) -> None:
        timer = self._timer
        if self._poller and timer:
            self._poller.add(timer.fileno())
        while True:
            if self._poller is None or timer is None:
                await self._wait_portably()
            elif self.is_gathering:
                await trio.lowlevel.wait_readable(timer.fileno())
            else:
                await trio.lowlevel.wait_readable(self._poller.fileno())
            self._turn(clock())

    async def _wait_portably(self) -> None:
        # Trio's own timer is coarser, but it is everywhere.
        self._rescheduled = trio.Event()
        deadline = self._deadlines[0][0] if self._deadlines else float("inf")
        with trio.move_on_after(max(deadline - clock(), 0)):
            if self._poller:
                await trio.lowlevel.wait_readable(self._poller.fileno())
            else:
                await self._rescheduled.wait()

    def _turn(self, now: float) -> None:
        """Serve everything that is ready, then everything that is due."""
        if self._poller:
            timer_fd = self._timer.fileno() if self._timer else -1
            for fd, is_writable in self._poller.ready():
                if fd == timer_fd and self._timer:
                    self._timer.clear()
                else:
                    self._serve(fd, is_writable, now)
        self._serve_deadlines(clock())
        if not self.is_gathering:
            self._arm(self._deadlines[0][0] if self._deadlines else float("inf"))

    def _serve(self, fd: int, is_writable: bool, now: float) -> None:
        served = self._served.get(fd)
        if served is None:
            return
        try:
            if is_writable:
                served.handle_writable(now)
            else:
                served.handle_readable(now)
                if fd in self._wanted_writes:
                    served.handle_writable(now)
        except Exception as error:
            self._give_up(served, error)

    def _serve_deadlines(self, now: float) -> None:
        heap = self._deadlines
        while heap and heap[0][0] <= now:
            deadline, _, timed = heapq.heappop(heap)
            # A stale entry: the socket is gone, or an earlier deadline took its place.
            if timed.scheduled != deadline:
                continue
            timed.scheduled = None
            try:
                timed.handle_deadline(now)
            except Exception as error:
                self._give_up(timed, error)

    def _give_up(self, failed: Timed, error: Exception) -> None:
        # One call never harms another: it is dropped, said once, and the turn goes on.
        _log.error("call dropped: its link failed", error=repr(error), exc_info=error)
        failed.abandon(error)

    def _arm(self, deadline: float) -> None:
        if self.is_gathering:
            return
        if deadline != self._armed:
            self._armed = deadline
            if self._timer and deadline < float("inf"):
                self._timer.set(deadline)
        self._rescheduled.set()

    def _set_gathering(self, is_gathering: bool) -> None:
        if self._timer is None:
            return
        self.is_gathering = is_gathering
        if is_gathering:
            self._timer.set(clock() + self.tick, self.tick)
        else:
            self._armed = clock()
            self._timer.set(self._armed)

    # Without a poller

    def _watch(self, fd: int, served: Served) -> None:
        assert self._nursery is not None
        scope = self._watches[fd] = trio.CancelScope()
        self._nursery.start_soon(self._watch_readable, fd, served, scope)

    async def _watch_readable(self, fd: int, served: Served, scope: trio.CancelScope) -> None:
        with scope:
            while self._served.get(fd) is served:
                await trio.lowlevel.wait_readable(fd)
                if self._served.get(fd) is served:
                    self._serve(fd, False, clock())
                    self._rescheduled.set()

    async def _watch_writable(self, fd: int, served: Served) -> None:
        with trio.CancelScope():
            while fd in self._wanted_writes and self._served.get(fd) is served:
                try:
                    await trio.lowlevel.wait_writable(fd)
                except (trio.ClosedResourceError, OSError):
                    return
                if self._served.get(fd) is served:
                    self._serve(fd, True, clock())
