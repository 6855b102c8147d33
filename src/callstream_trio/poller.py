"""Readiness of many sockets behind one descriptor: epoll where there is one, kqueue elsewhere."""

from __future__ import annotations

import select
import sys
from typing import Protocol


class Poller(Protocol):
    """Knows which of its descriptors are ready. Its own descriptor is readable while any is."""

    def fileno(self) -> int:
        """Return the descriptor that stands for all others."""
        ...

    def add(self, fd: int) -> None:
        """Watch `fd` for reading."""
        ...

    def want_write(self, fd: int, wanted: bool) -> None:
        """Watch `fd` for writing too, or no longer."""
        ...

    def remove(self, fd: int) -> None:
        """Forget `fd`, before it is closed."""
        ...

    def ready(self) -> list[tuple[int, int]]:
        """Return what is ready now: descriptors, each with `WRITABLE`, or with anything else where it is to be read."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


WRITABLE = 4
"""That a descriptor can be written, and nothing more: EPOLLOUT."""
# Of one turn, so that other tasks have theirs.
_MAX_READY = 512

if sys.platform == "linux":

    class EpollPoller:
        """Level-triggered epoll."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def fileno(self) -> int:
            return self._epoll.fileno()

        def add(self, fd: int) -> None:
            self._epoll.register(fd, select.EPOLLIN)

        def want_write(self, fd: int, wanted: bool) -> None:
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN)

        def remove(self, fd: int) -> None:
            self._epoll.unregister(fd)

        def ready(self) -> list[tuple[int, int]]:
            # Errors and hang-ups show when the socket is read.
            return self._epoll.poll(0, _MAX_READY)

        def close(self) -> None:
            self._epoll.close()

    def make_poller() -> Poller | None:
        """Return this system's poller, or None where sockets must be waited for one by one."""
        return EpollPoller()

elif sys.platform != "win32":

    class KqueuePoller:
        """kqueue, for macOS and the BSDs."""

        def __init__(self) -> None:
            self._kqueue = select.kqueue()

        def fileno(self) -> int:
            return self._kqueue.fileno()

        def add(self, fd: int) -> None:
            self._change(fd, select.KQ_FILTER_READ, select.KQ_EV_ADD)

        def want_write(self, fd: int, wanted: bool) -> None:
            self._change(fd, select.KQ_FILTER_WRITE, select.KQ_EV_ADD if wanted else select.KQ_EV_DELETE)

        def remove(self, fd: int) -> None:
            self._change(fd, select.KQ_FILTER_READ, select.KQ_EV_DELETE)

        def ready(self) -> list[tuple[int, int]]:
            events = self._kqueue.control(None, _MAX_READY, 0)
            return [(event.ident, WRITABLE if event.filter == select.KQ_FILTER_WRITE else 0) for event in events]

        def close(self) -> None:
            self._kqueue.close()

        def _change(self, fd: int, which: int, flags: int) -> None:
            self._kqueue.control([select.kevent(fd, which, flags)], 0, 0)

    def make_poller() -> Poller | None:
        """Return this system's poller, or None where sockets must be waited for one by one."""
        return KqueuePoller() if hasattr(select, "kqueue") else None

else:

    def make_poller() -> Poller | None:
        """Return this system's poller, or None where sockets must be waited for one by one."""
        return None
