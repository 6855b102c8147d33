"""A timer with its own descriptor: sub-millisecond wake-ups, where Trio's own are rounded up to milliseconds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from functools import partial
from typing import Any

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
_SECOND = 1_000_000_000
_FAR = 2**31
"""Seconds that fit every system's clock: decades."""


# struct itimerspec: interval and expiry, each in seconds and nanoseconds.
_pack_setting = struct.Struct("llll").pack_into


def _libc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if hasattr(libc, "timerfd_create") else None


_LIBC = _libc()


class WakeTimer:
    """A Linux timerfd, on the clock of `time.monotonic`. Python has it of its own from 3.13 on; this works before."""

    def __init__(self) -> None:
        self._fd: int = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._setting = ctypes.create_string_buffer(struct.calcsize("llll"))
        self._settime = partial(_LIBC.timerfd_settime, self._fd, _TFD_TIMER_ABSTIME, self._setting, None)

    @staticmethod
    def is_available() -> bool:
        """Tell whether this system has such timers."""
        return _LIBC is not None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._fd

    def set(self, deadline: float) -> None:
        """Wake at `deadline`, in seconds. Whatever wake-up there was before is forgotten."""
        # Zero would switch the timer off; what is due wakes at once.
        nanoseconds = max(int(min(deadline, _FAR) * 1e9), 1)
        _pack_setting(self._setting, 0, 0, 0, nanoseconds // _SECOND, nanoseconds % _SECOND)
        if self._settime():
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Take note of a wake-up; the descriptor is no longer readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
