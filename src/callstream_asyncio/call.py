"""One session driven over one WebSocket, under asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from callstream_asyncio.backlog import Backlog
from callstream_asyncio.sockets import LinkClosed, Socket
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Output, Transmit

_T = TypeVar("_T")

Hear = Callable[[e.Event], None]

_CLOSE_TIMEOUT = 2.0
# Seconds that a peer may leave a message unread before the call ends.
_SEND_TIMEOUT = 10.0
# Bytes that may wait for a peer that has stopped reading.
_MAX_OUTGOING = 1024 * 1024
# Bytes of one message that is heard: far more than any platform sends.
_MAX_MESSAGE = 1024 * 1024
# Events kept until somebody listens: some seconds of audio.
_MAX_EARLY = 256


class CallFailed(Exception):
    """No call came about."""


class Call:
    """A call: a session, its socket, and the tasks that read and write.

    Commands are said with `say`, at once and without waiting; events go to whoever listens. Everything happens in
    the event loop in which the call was started.
    """

    def __init__(self, socket: Socket, session: AppSession) -> None:
        self.session = session
        self.ended: e.SessionClosed | None = None
        """How the call ended, once it has."""
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._hear: Hear | None = None
        self._early = Backlog(_MAX_EARLY)
        self._outgoing: deque[str | bytes | CloseLink] = deque()
        self._outgoing_size = 0
        self._is_read_out = False
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._marks: dict[str, asyncio.Future[e.MarkReached]] = {}
        self._clears: deque[asyncio.Future[e.PlayoutCleared | None]] = deque()
        self._utterances = 0
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def start(self, *first: str | bytes) -> None:
        """Begin to read and write; `first` are messages that were read already."""
        self._task = self._loop.create_task(self._run(first))

    # Read-outs

    @property
    def now(self) -> float:
        """The event loop's time, which is the session's too."""
        return self._loop.time()

    @property
    def early_dropped(self) -> int:
        """Events that came before anybody listened, and were too many."""
        return self._early.dropped

    @property
    def info(self) -> e.SessionOpened:
        """What the platform announced."""
        if self.session.opened is None:
            raise RuntimeError("the call is not announced yet")
        return self.session.opened

    @property
    def is_open(self) -> bool:
        """Whether anything can be played."""
        return self.session.state is State.OPEN

    @property
    def backlog(self) -> float:
        """Seconds of our audio that the caller has not heard yet."""
        return self.session.backlog(self.now)

    # Commands

    def say(self, command: c.Command) -> None:
        """Say a command, at once. What comes of it is heard before this returns."""
        self._perform(self.session.send(command, self.now))

    def end_utterance(self) -> asyncio.Future[e.MarkReached]:
        """End an utterance; the result comes when the caller has heard it, or it was cleared."""
        self._utterances += 1
        name = f"utterance-{self._utterances}"
        future: asyncio.Future[e.MarkReached] = self._loop.create_future()
        self._marks[name] = future
        try:
            self.say(c.EndUtterance(name))
        except BaseException:
            del self._marks[name]
            raise
        return future

    def clear(self) -> asyncio.Future[e.PlayoutCleared | None]:
        """Drop what the caller has not heard; the result tells how much he has. None if the call ends before."""
        future: asyncio.Future[e.PlayoutCleared | None] = self._loop.create_future()
        self._clears.append(future)
        try:
            self.say(c.ClearPlayout())
        except BaseException:
            with contextlib.suppress(ValueError):
                self._clears.remove(future)
            raise
        return future

    def fail(self, code: int, reason: str) -> None:
        """End the call by closing the WebSocket with a code of ours."""
        self._perform(self.session.fail(code, reason, self.now))

    # Hearing

    def listen(self, hear: Hear) -> None:
        """Give every event from now on to `hear`, and first those that came before."""
        self._hear = hear
        while self._early:
            hear(self._early.take())

    async def wait_opened(self) -> bool:
        """Wait for the announcement; False if the connection ends before it."""
        while self.session.opened is None and self.ended is None:
            await self._wait_changed()
        return self.session.opened is not None

    async def wait_ended(self) -> e.SessionClosed:
        """Wait for the end of the call."""
        while self.ended is None:
            await self._wait_changed()
        return self.ended

    async def wait_gone(self) -> None:
        """Wait until the socket is closed and nothing runs any more."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _wait_changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # Outputs

    def _perform(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self._outgoing.append(output.message)
                self._outgoing_size += len(output.message)
            elif isinstance(output, CloseLink):
                self._outgoing.append(output)
            else:
                self._tell(output)  # type: ignore[arg-type]
        if self._outgoing:
            self._wake.set()
        if self._outgoing_size > _MAX_OUTGOING and self.ended is None:
            self._give_up()
        self._schedule()

    def _give_up(self) -> None:
        """End the call of a peer that does not read: what waits for it would come minutes late."""
        self._outgoing.clear()
        self._outgoing_size = 0
        self.fail(1008, "the peer has stopped reading")
        if self._writer is not None:
            # It may be stuck. The socket is not: closing it says what it can.
            self._writer.cancel()

    def _tell(self, event: e.Event) -> None:
        if isinstance(event, e.MarkReached) and event.name in self._marks:
            _settle(self._marks.pop(event.name), event)
            return
        if isinstance(event, e.PlayoutCleared) and self._clears:
            _settle(self._clears.popleft(), event)
        elif isinstance(event, e.SessionClosed):
            self.ended = event
            while self._clears:
                _settle(self._clears.popleft(), None)
        if isinstance(event, e.SessionOpened | e.SessionClosed):
            self._changed.set()
        if self._hear is not None:
            self._hear(event)
        else:
            self._early.put(event)

    def _schedule(self) -> None:
        deadline = self.session.next_timeout()
        if self._timer is not None:
            if self._timer.when() == deadline and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._handle_timeout)

    def _handle_timeout(self) -> None:
        self._timer = None
        self._perform(self.session.handle_timeout(self.now))

    # Tasks

    async def _run(self, first: tuple[str | bytes, ...]) -> None:
        self._writer = self._loop.create_task(self._write())
        tasks = {self._loop.create_task(self._read(first)), self._writer}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close_stuck()
            self._perform(self.session.receive_close(None, self.now))
            if self._timer is not None:
                self._timer.cancel()

    async def _read(self, first: tuple[str | bytes, ...]) -> None:
        try:
            for message in first:
                self._take(message)
            while True:
                self._take(await self._socket.receive())
        except LinkClosed as closed:
            self._perform(self.session.receive_close(closed.code, self.now))
        except Exception as error:
            self._loop.call_exception_handler({"message": "a call failed", "exception": error})
            self.fail(1011, "internal error")
        finally:
            self._is_read_out = True
            self._wake.set()

    def _take(self, message: str | bytes) -> None:
        if len(message) > _MAX_MESSAGE:
            self.fail(1009, "message is too long")
        else:
            self._perform(self.session.receive(message, self.now))

    async def _write(self) -> None:
        with contextlib.suppress(LinkClosed, OSError, RuntimeError):
            while True:
                while not self._outgoing:
                    if self._is_read_out:
                        # A lost connection has nothing more to be said to.
                        return
                    self._wake.clear()
                    await self._wake.wait()
                message = self._outgoing.popleft()
                if isinstance(message, CloseLink):
                    await self._socket.close(message.code or 1000, message.reason)
                    return
                self._outgoing_size -= len(message)
                watch = self._loop.call_later(_SEND_TIMEOUT, self._give_up)
                try:
                    await self._socket.send(message)
                finally:
                    watch.cancel()

    async def _close_stuck(self) -> None:
        """Say the close that the writer did not come to."""
        close = self._outgoing.pop() if self._outgoing else None
        if isinstance(close, CloseLink):
            with contextlib.suppress(LinkClosed, OSError, RuntimeError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._socket.close(close.code or 1000, close.reason)


def _settle(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)
