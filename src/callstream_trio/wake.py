"""A timer with its own descriptor: sub-millisecond wake-ups, where Trio's own are rounded up to milliseconds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import Any

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
_FAR = 2**31
"""Seconds that fit every system's clock: decades."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Interval(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


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
        self._setting = _Interval()
        self._pointer = ctypes.byref(self._setting)

    @staticmethod
    def is_available() -> bool:
        """Tell whether this system has such timers."""
        return _LIBC is not None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._fd

    def set(self, deadline: float, interval: float = 0.0) -> None:
        """Wake at `deadline` (seconds), and then every `interval` seconds if that is not zero."""
        setting = self._setting
        # Zero would switch the timer off; what is due wakes at once.
        nanoseconds = max(int(min(deadline, _FAR) * 1e9), 1)
        setting.value.seconds, setting.value.nanoseconds = divmod(nanoseconds, 1_000_000_000)
        setting.interval.seconds, setting.interval.nanoseconds = divmod(int(interval * 1e9), 1_000_000_000)
        if _LIBC.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._pointer, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Take note of a wake-up; the descriptor is no longer readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
