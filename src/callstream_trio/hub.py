"""One task for all calls: the readiness of their sockets and all their deadlines.

Waking a Trio task for every frame costs more than handling the frame. So the hub owns every call's socket: it waits
for all of them through one descriptor, and runs each link's share of work as plain function calls. With few calls it
reacts to each arrival at once. With many it gathers what arrived on a short tick, as network cards coalesce interrupts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog
import trio

from callstream_trio.deadlines import NEVER, Deadlines, Timed
from callstream_trio.poller import WRITABLE, Poller, make_poller
from callstream_trio.rest import Rest
from callstream_trio.wake import WakeTimer

_log = structlog.get_logger("callstream.hub")

# How many sockets are served before the next look at what is due.
_LOT = 32

clock = time.monotonic
"""The clock of all sessions in the shell: seconds, never backwards."""


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
    """Serves links: `gather_from` and more are gathered on a tick; below `react_below`, each is answered at once.

    While gathering, it wakes for deadlines between two ticks, too, but no sooner than `rest` after it woke last, or
    later than that if the processor is busy: see `Rest`.
    """

    def __init__(
        self,
        *,
        gather_from: int = 48,
        react_below: int = 32,
        tick: float = 0.002,
        rest: float = 0.00025,
    ) -> None:
        self.gather_from = gather_from
        self.react_below = react_below
        self.tick = tick
        self.rest = Rest(rest, tick)
        self.is_gathering = False
        self.turns = 0
        """How often it has woken."""
        self.dropped = 0
        """How many calls it dropped because something inside them failed."""
        # By descriptor. Those are small and used again, so that a list has few gaps, and takes no search.
        self._served: list[Served | None] = []
        self._count = 0
        self._deadlines = Deadlines()
        self._poller: Poller | None = None
        self._timer: WakeTimer | None = None
        self._armed = NEVER
        self._rested = 0.0
        """When the hub may wake next, while it gathers."""
        self._is_turning = False
        self._nap: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._watches: dict[tuple[int, bool], trio.CancelScope] = {}
        self._wanted_writes: set[int] = set()

    def __len__(self) -> int:
        return self._count

    def _served_at(self, fd: int) -> Served | None:
        return self._served[fd] if fd < len(self._served) else None

    @asynccontextmanager
    async def running(
        self, *, poller: Poller | None = None, has_poller: bool = True, has_timer: bool = True
    ) -> AsyncIterator[Hub]:
        """Serve until the block ends.

        Without a poller, each socket is waited for by a task of its own; without a timer, Trio's serves.
        """
        self._poller = (poller or make_poller()) if has_poller else None
        failure: Exception | None = None
        try:
            if self._poller and has_timer and WakeTimer.is_available():
                self._timer = WakeTimer()
                self._poller.add(self._timer.fileno())
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._run)
                try:
                    yield self
                except Exception as error:
                    # Not the hub's: it is raised again outside the nursery, which would put it into a group.
                    failure = error
                nursery.cancel_scope.cancel()
            if failure is not None:
                raise failure
        finally:
            if self._timer:
                self._timer.close()
            if self._poller:
                self._poller.close()
            self._nursery = self._timer = self._poller = None

    def add(self, served: Served) -> None:
        """Serve a socket from now on."""
        fd = served.fileno()
        if self._poller:
            self._poller.add(fd)
        else:
            self._watch(fd, False)
        self._served += [None] * (fd + 1 - len(self._served))
        self._served[fd] = served
        self._count += 1
        if not self.is_gathering and self._count >= self.gather_from:
            self._set_gathering(True)

    def remove(self, served: Served) -> None:
        """Forget a socket, before it is closed."""
        fd = served.fileno()
        served.scheduled = None
        if self._served_at(fd) is not served:
            return
        self._served[fd] = None
        self._count -= 1
        self._wanted_writes.discard(fd)
        if self._poller:
            self._poller.remove(fd)
        else:
            self._unwatch(fd, False)
            self._unwatch(fd, True)
        if self.is_gathering and self._count < self.react_below:
            self._set_gathering(False)

    def want_write(self, served: Served, wanted: bool) -> None:
        """Ask for `handle_writable`, or no longer."""
        fd = served.fileno()
        if wanted == (fd in self._wanted_writes) or self._served_at(fd) is None:
            return
        if wanted:
            self._wanted_writes.add(fd)
        else:
            self._wanted_writes.discard(fd)
        if self._poller:
            self._poller.want_write(fd, wanted)
        elif wanted:
            self._watch(fd, True)
        else:
            self._unwatch(fd, True)

    def schedule(self, timed: Timed, deadline: float) -> None:
        """Call `handle_deadline` at `deadline`. Only an earlier one than before needs to be said."""
        self._deadlines.add(timed, deadline)
        # A turn ends with a look at the earliest deadline: one setting of the timer serves them all.
        if deadline < self._armed and not self._is_turning:
            self._arm(self._deadlines.earliest)

    # The task

    async def _run(self) -> None:
        while True:
            await self._wait()
            self._turn(clock())

    async def _wait(self) -> None:
        poller, timer = self._poller, self._timer
        if poller and timer:
            await trio.lowlevel.wait_readable(timer if self.is_gathering else poller)
            return
        # Trio's own timer is coarser, but it is everywhere. `_arm` moves its deadline.
        with trio.CancelScope() as self._nap:
            self._arm(self._deadlines.earliest)
            if poller:
                await trio.lowlevel.wait_readable(poller)
            else:
                await trio.sleep_forever()
        self._nap = None

    def _turn(self, now: float) -> None:
        """Serve everything that is ready, then everything that is due."""
        self.turns += 1
        self._is_turning = True
        self.rest.look(now)
        self._rested = now + self.rest.seconds
        timer = self._timer
        timer_fd = timer.fileno() if timer else -1
        has_rung = False
        count = 0
        for fd, event in self._poller.ready() if self._poller else ():
            if fd == timer_fd:
                has_rung = True
                continue
            count += 1
            if not count % _LOT:
                # What is heard can wait, what is said cannot.
                now = clock()
                self._serve_deadlines(now)
            served = self._served[fd]
            if served is None:
                continue
            try:
                if event != WRITABLE:
                    served.handle_readable(now)
                if event & WRITABLE:
                    served.handle_writable(now)
            except Exception as error:
                self.give_up(served, error)
        self._serve_deadlines(clock())
        self._is_turning = False
        if has_rung or self.is_gathering:
            self._armed = NEVER
        self._arm(min(self._deadlines.earliest, now + self.tick) if self.is_gathering else self._deadlines.earliest)
        if timer and has_rung and self._armed == NEVER:
            # Setting it anew would have silenced it.
            timer.clear()

    def _serve_deadlines(self, now: float) -> None:
        for timed in self._deadlines.take(now):
            deadline = timed.scheduled
            if deadline is None or deadline > now:
                continue
            timed.scheduled = None
            try:
                timed.handle_deadline(now)
            except Exception as error:
                self.give_up(timed, error)

    def give_up(self, timed: Timed, error: Exception) -> None:
        """Drop a call whose link failed. One call never harms another: it is said once, and the turn goes on."""
        self.dropped += 1
        _log.error("call dropped: its link failed", error=repr(error), exc_info=error)
        timed.abandon(error)

    def _arm(self, deadline: float) -> None:
        """See to it that the task wakes at `deadline`."""
        if self._timer is None:
            self._armed = deadline
            if self._nap is not None:
                self._nap.deadline = trio.current_time() + max(deadline - clock(), 0)
        elif self.is_gathering:
            wake = max(deadline, self._rested)
            if wake < self._armed:
                self._armed = wake
                self._timer.set(wake)
        elif deadline != self._armed:
            self._armed = deadline
            # A timer that is not needed any more costs one idle turn, less than switching it off.
            if deadline < NEVER:
                self._timer.set(deadline)

    def _set_gathering(self, is_gathering: bool) -> None:
        if self._timer is None:
            return
        self.is_gathering = is_gathering
        self._armed = clock() + (self.tick if is_gathering else 0)
        self._timer.set(self._armed)

    # Without a poller

    def _watch(self, fd: int, is_writable: bool) -> None:
        if self._nursery is not None:
            scope = self._watches[fd, is_writable] = trio.CancelScope()
            self._nursery.start_soon(self._keep_watching, fd, is_writable, scope)

    def _unwatch(self, fd: int, is_writable: bool) -> None:
        scope = self._watches.pop((fd, is_writable), None)
        if scope is not None:
            scope.cancel()

    async def _keep_watching(self, fd: int, is_writable: bool, scope: trio.CancelScope) -> None:
        wait = trio.lowlevel.wait_writable if is_writable else trio.lowlevel.wait_readable
        with scope:
            # Once cancelled, the number may belong to another socket already.
            while not scope.cancel_called:
                await wait(fd)
                served = self._served_at(fd)
                if served is None:
                    return
                try:
                    if is_writable:
                        served.handle_writable(clock())
                    else:
                        served.handle_readable(clock())
                except Exception as error:
                    self.give_up(served, error)
