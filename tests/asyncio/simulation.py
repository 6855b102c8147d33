"""A platform and an application in one event loop, without a socket, in a time that passes only while all wait."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from callstream_asyncio import Call, LinkClosed
from callstream_core import AppSession, dialects
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialect import Profile
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.platform_session import PlatformSession

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# Where a wait for something that never comes is given up, in simulated seconds.
_PATIENCE = 120.0


# What a round of the loop takes.
_ROUND = 1e-6


class _Clock(selectors.DefaultSelector):
    """Waits for nothing that lies in the future: goes there. But no time passes while a thread works."""

    now = 1000.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.threads:
            return super().select(timeout)
        ready = super().select(timeout and 0)
        self.now += _ROUND
        if not ready and timeout:
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time does not depend on how fast the machine is."""

    def __init__(self) -> None:
        self.clock = _Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        """Return the simulated time."""
        return self.clock.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Run a function in a thread, and stop the time until it has returned."""
        future = super().run_in_executor(executor, func, *args)
        self.clock.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self.clock.threads -= 1


def simulated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a loop of its own, in simulated time."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(_PATIENCE):
                await test(*arguments, **named)

        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(bounded())

    return run


class Platform:
    """The platform at the other end, and the socket that leads to it."""

    def __init__(self, dialect: str = "asterisk", profile: Profile | None = None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        self.session = PlatformSession(dialects.get(dialect), profile)
        self.heard: list[tuple[float, Output]] = []
        """Everything that came from the application, and when."""
        self.deepest = 0
        """The most frames that were queued."""
        self.is_deaf = False
        """Whether it ignores what comes."""
        self._loop = loop
        self._arriving: asyncio.Queue[str | bytes | LinkClosed] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None

    async def connect(
        self,
        *,
        answers: bool = True,
        early: Iterable[bytes] = (),
        first: e.Event | None = None,
        knows_profile: bool = False,
    ) -> Call:
        """Announce the call, and return the application's end of it.

        `early` is audio that overtakes the announcement, `first` what comes right behind it. `knows_profile`: the
        application is told beforehand what the announcement does not tell.
        """
        profile = self.session.profile if knows_profile else None
        for audio in early:
            self._arriving.put_nowait(audio)
        call = Call(self, AppSession(self.session.dialect, profile, now=self._loop.time()))
        call.start()
        self._perform(self.session.open(self._loop.time()))
        if first is not None:
            self.say(first)
        assert await call.wait_opened()
        if answers and call.info.needs_answer:
            call.say(c.Answer())
            await until(lambda: self.session.is_answered)
        return call

    # What it heard

    @property
    def frames(self) -> list[FramePlayed]:
        """What the caller heard, frame by frame."""
        return [word for _, word in self.heard if isinstance(word, FramePlayed)]

    @property
    def audio(self) -> bytes:
        """The same as audio."""
        return b"".join(frame.data for frame in self.frames)

    def times(self, kind: type) -> list[float]:
        """Return when such a command came."""
        return [at for at, word in self.heard if isinstance(word, kind)]

    async def wait_played(self, frames: int) -> None:
        """Wait until so many frames were played."""
        await until(lambda: len(self.frames) >= frames)

    # What it says and does

    def say(self, event: e.Event) -> None:
        """Say something."""
        self._perform(self.session.send(event, self._loop.time()))

    def say_raw(self, message: str | bytes) -> None:
        """Say what the platform would not."""
        self._arriving.put_nowait(message)

    async def speak(self, frames: Iterable[bytes], period: float = 0.02) -> None:
        """Have the caller speak, in his own time."""
        for frame in frames:
            self.say(e.AudioReceived(frame, self.session.profile.tracks[0]))
            await asyncio.sleep(period)

    def jam(self) -> None:
        """Take no more audio, and play none either."""
        self.session.playout.is_full = self.session.playout.is_paused = True
        self.say(e.FlowPaused())

    def unjam(self) -> None:
        """Play on; the driver says by itself that it takes more."""
        self.session.playout.is_paused = False
        self._perform([])

    def stall(self, seconds: float) -> None:
        """Let time pass for everybody but the application, as if its loop were blocked."""
        until = self._loop.time() + seconds
        while (due := self.session.next_timeout()) is not None and due <= until:
            self._loop.clock.now = max(due, self._loop.clock.now)
            self._perform(self.session.handle_timeout(due))
        self._loop.clock.now = until

    def vanish(self) -> None:
        """Cut the connection."""
        self._arriving.put_nowait(LinkClosed(None))

    # The socket

    async def receive(self) -> str | bytes:
        """Return the next message to the application."""
        message = await self._arriving.get()
        if isinstance(message, LinkClosed):
            raise message
        return message

    async def send(self, message: str | bytes) -> None:
        """Take a message of the application."""
        if not self.is_deaf:
            self._perform(self.session.receive(message, self._loop.time()))

    async def close(self, code: int, reason: str) -> None:
        """Take its close."""
        self._perform(self.session.receive_close(code, self._loop.time(), reason))
        self._arriving.put_nowait(LinkClosed(code))

    def _perform(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self._arriving.put_nowait(output.message)
            elif isinstance(output, CloseLink):
                self._arriving.put_nowait(LinkClosed(output.code or 1005))
            else:
                self.heard.append((self._loop.time(), output))
        self.deepest = max(self.deepest, self.session.playout.queue_length)
        if self._timer is not None:
            self._timer.cancel()
        due = self.session.next_timeout()
        self._timer = None if due is None else self._loop.call_at(due, self._handle_timeout)

    def _handle_timeout(self) -> None:
        self._perform(self.session.handle_timeout(self._loop.time()))


async def until(is_true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that happens in this loop."""
    async with asyncio.timeout(seconds):
        # Whatever it waits for has nothing to wake it by, and simulated time costs nothing.
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
