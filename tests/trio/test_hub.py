"""The one task that serves all calls: arrivals, deadlines, and what becomes of them without its tools."""

from __future__ import annotations

import gc
import inspect
import os
import select
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.events import SessionClosed
from callstream_core.websocket import Pong
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link
from callstream_trio.poller import make_poller
from callstream_trio.server import Server
from callstream_trio.wake import WakeTimer
from tests.trio.wire import CLOSE, PING, START, Peer, calling, echo, frame, settings, until

needs_timer = pytest.mark.skipif(not WakeTimer.is_available(), reason="this system has no timerfd")


class Bell:
    """Notes when it is rung."""

    def __init__(self) -> None:
        self.scheduled: float | None = None
        self.rung: list[float] = []
        self.failures: list[Exception] = []
        self.again: list[float] = []
        self.hub: Hub | None = None

    def handle_deadline(self, now: float) -> None:
        self.rung.append(now)
        if self.again and self.hub is not None:
            self.hub.schedule(self, self.again.pop())

    def abandon(self, error: Exception) -> None:
        self.failures.append(error)


# How the hub waits: with everything, without its timer (kqueue systems), and without any poller (elsewhere).
WAYS = [
    {"has_poller": True, "has_timer": True},
    {"has_poller": True, "has_timer": False},
    {"has_poller": False, "has_timer": False},
]
each_way = pytest.mark.parametrize("way", WAYS, ids=["timerfd", "poller", "tasks"])


class PlainHub(Hub):
    """A hub that has to do without some of its tools."""

    def __init__(self, way: dict[str, bool], **options: Any) -> None:
        super().__init__(**options)
        self._way = way

    @asynccontextmanager
    async def running(self, **_: object) -> AsyncIterator[Hub]:
        async with super().running(**self._way) as hub:  # type: ignore[arg-type]
            yield hub


@asynccontextmanager
async def serving(hub: Hub, **changes: object) -> AsyncIterator[Server]:
    async with Server(echo, settings=settings(**changes), hub=hub).listening(["127.0.0.1:0"]) as server:
        yield server


async def _say_and_hear(peer: Peer, frames: int) -> None:
    for number in range(frames):
        await peer.say(number.to_bytes(4) * 40)
    assert await peer.audio(160 * frames) == b"".join(number.to_bytes(4) * 40 for number in range(frames))


async def _talk(peer: Peer, frames: int) -> None:
    for _ in range(frames):
        await _say_and_hear(peer, 1)
        await trio.sleep(0.005)


@each_way
async def test_echo_whatever_the_system_offers(way: dict[str, bool]) -> None:
    async with serving(PlainHub(way)) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(calling(server)) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(_say_and_hear, peer, 50)
        for peer in peers:
            await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
            assert await peer.close_code() == 1000
        await until(lambda: server.endings == {"ended by platform": 5})


@each_way
async def test_a_slow_reader_gets_everything(way: dict[str, bool]) -> None:
    # More than the system buffers: what waits goes out as the peer reads, twice.
    changes = {"max_unsent": 2**30, "max_messages": 2**30}
    async with serving(PlainHub(way), **changes) as server, calling(server) as peer:
        for last in (b"first", b"second"):
            await peer.raw(frame(PING, bytes(125)) * 30_000 + frame(PING, last))
            heard = [await peer.hear() for _ in range(30_001)]
            assert heard[-1] == Pong(last)


@each_way
async def test_deadlines_come_in_order_and_never_early(way: dict[str, bool]) -> None:
    async with Hub().running(**way) as hub:  # type: ignore[arg-type]
        start = clock()
        bells = {delay: Bell() for delay in (0.03, 0.01, 0.02, 0.0, -1.0, 0.05)}
        for delay, bell in bells.items():
            hub.schedule(bell, start + delay)
            # From a task of its own, while the hub is asleep already.
            await trio.sleep(0.001)
        far = Bell()
        hub.schedule(far, start + 1e6)
        await until(lambda: all(bell.rung for bell in bells.values()))
        for delay, bell in bells.items():
            assert len(bell.rung) == 1
            assert start + delay <= bell.rung[0] < start + max(delay, 0.006) + 0.1
        order = sorted((delay for delay in bells if delay >= 0.01), key=lambda delay: bells[delay].rung[0])
        assert order == [0.01, 0.02, 0.03, 0.05]
        assert not far.rung
        assert hub.turns < 40


@each_way
async def test_an_idle_hub_sleeps(way: dict[str, bool]) -> None:
    async with serving(PlainHub(way)) as server, calling(server) as peer:
        await _say_and_hear(peer, 3)
        hub = server.hub
        hub.schedule(Bell(), clock() + 1000)
        await trio.sleep(0.02)
        before = hub.turns
        await trio.sleep(0.1)
        assert hub.turns - before <= 1


async def test_what_is_due_together_is_served_in_order() -> None:
    rung: list[str] = []

    class Named(Bell):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def handle_deadline(self, now: float) -> None:
            rung.append(self.name)

    async with Hub().running() as hub:
        start = clock()
        for name, delay in (("c", 0.003), ("a", 0.001), ("b", 0.002)):
            hub.schedule(Named(name), start + delay)
        # The whole thread stands still, so that one turn finds them all.
        time.sleep(0.01)  # noqa: ASYNC251
        await until(lambda: len(rung) == 3)
    assert rung == ["a", "b", "c"]


async def test_what_is_due_does_not_wait_for_all_that_can_be_read() -> None:
    order: list[str] = []

    class Named(Bell):
        def handle_deadline(self, now: float) -> None:
            order.append("due")

    class Reader(Bell):
        def __init__(self, sock: socket.socket) -> None:
            super().__init__()
            self.sock = sock

        def fileno(self) -> int:
            return self.sock.fileno()

        def handle_readable(self, now: float) -> None:
            order.append("read")
            self.sock.recv(1)

        def handle_writable(self, now: float) -> None: ...

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(100)]
        for ours, theirs in pairs:
            stack.enter_context(ours)
            stack.enter_context(theirs)
        async with Hub().running() as hub:
            for ours, theirs in pairs:
                hub.add(Reader(ours))
                theirs.send(b"x")
            hub.schedule(Named(), clock() + 1e-4)
            time.sleep(0.01)  # noqa: ASYNC251
            await until(lambda: len(order) == 101)
    assert order.index("due") < 40


async def test_an_earlier_deadline_takes_the_place_of_a_later_one() -> None:
    async with Hub().running() as hub:
        bell = Bell()
        start = clock()
        hub.schedule(bell, start + 0.03)
        hub.schedule(bell, start + 0.005)
        await trio.sleep(0.05)
        assert len(bell.rung) == 1
        assert bell.rung[0] < start + 0.025


async def test_a_deadline_that_is_set_again_and_again_holds_nobody_up() -> None:
    async with Hub().running() as hub:
        restless, other = Bell(), Bell()
        restless.hub, restless.again = hub, [0.0] * 1000
        hub.schedule(restless, clock())
        hub.schedule(other, clock() + 0.002)
        await until(lambda: other.rung)
        await until(lambda: len(restless.rung) == 1001)
        # One for each turn, so that sockets and other tasks have their own.
        assert len(set(restless.rung)) > 500


async def test_stale_deadlines_are_forgotten_with_their_owners() -> None:
    async with Hub().running() as hub:
        gone = []
        for _ in range(2000):
            bell = Bell()
            gone.append(weakref.ref(bell))
            hub.schedule(bell, clock() + 1000)
            bell.scheduled = None
        kept = Bell()
        hub.schedule(kept, clock() + 0.01)
        del bell
        gc.collect()
        assert sum(ref() is not None for ref in gone) < 600
        await until(lambda: kept.rung)


async def test_a_failing_deadline_drops_its_owner_alone(logs: list[dict[str, Any]]) -> None:
    class Broken(Bell):
        def handle_deadline(self, now: float) -> None:
            raise ZeroDivisionError

    async with Hub().running() as hub:
        broken, sound = Broken(), Bell()
        hub.schedule(broken, clock())
        hub.schedule(sound, clock())
        await until(lambda: sound.rung)
        assert [type(error) for error in broken.failures] == [ZeroDivisionError]
        assert hub.dropped == 1
    assert [entry["event"] for entry in logs] == ["call dropped: its link failed"]


async def test_a_fault_in_what_came_early_drops_the_link_alone(logs: list[dict[str, Any]]) -> None:
    class Owner:
        is_gone = False

        def hear(self, said: object, now: float) -> tuple[()]:
            if not isinstance(said, SessionClosed):
                raise ZeroDivisionError
            return ()

        def refused(self) -> None: ...

        def closed(self) -> None:
            self.is_gone = True

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    owner = Owner()
    async with Hub().running() as hub:
        link = Link(hub, ours, AppSession(dialects.get("asterisk")), owner, is_client=False)
        link.start(frame(1, START.encode()))
        assert hub.dropped == 1
        assert theirs.recv(4) == b"\x88\x10" + (1011).to_bytes(2)
        theirs.close()
        await until(lambda: owner.is_gone)
    assert len(logs) == 1


@needs_timer
async def test_many_calls_are_gathered_and_few_answered_at_once() -> None:
    hub = Hub(gather_from=6, react_below=3, tick=0.002)
    modes: list[tuple[int, bool]] = []
    async with serving(hub) as server, AsyncExitStack() as stack:
        talker = await stack.enter_async_context(calling(server))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_talk, talker, 40)
            others: list[Peer] = []
            for count in range(2, 9):
                others.append(await stack.enter_async_context(calling(server)))
                await until(lambda count=count: len(hub) == count)  # type: ignore[misc]
                modes.append((count, hub.is_gathering))
                await _say_and_hear(others[-1], 3)
            for count in range(7, 0, -1):
                await others.pop().aclose()
                await until(lambda count=count: len(hub) == count)  # type: ignore[misc]
                modes.append((count, hub.is_gathering))
    up = [is_gathering for _, is_gathering in modes[:7]]
    down = [is_gathering for _, is_gathering in modes[7:]]
    assert up == [False] * 4 + [True] * 3
    # Between the two figures it stays as it is: no flutter.
    assert down == [True] * 5 + [False] * 2


@needs_timer
async def test_deadlines_are_kept_while_gathering_and_after() -> None:
    hub = Hub(gather_from=1, react_below=1, tick=0.002)
    async with serving(hub) as server:
        async with calling(server):
            await until(lambda: hub.is_gathering)
            bell, after = Bell(), Bell()
            start = clock()
            hub.schedule(bell, start + 0.01)
            hub.schedule(after, start + 0.1)
            await until(lambda: bell.rung)
            assert start + 0.01 <= bell.rung[0] < start + 0.06
        await until(lambda: not hub.is_gathering)
        await until(lambda: after.rung)
        assert start + 0.1 <= after.rung[0] < start + 0.2


async def test_a_hub_that_fails_fails_loudly() -> None:
    class Torn:
        def __getattr__(self, name: str) -> Any:
            return getattr(sound, name)

        def ready(self) -> list[tuple[int, int]]:
            raise OSError("the poller is torn")

    sound = make_poller()
    assert sound is not None

    async def run() -> None:
        async with Hub().running(poller=Torn()) as hub:
            hub.schedule(Bell(), clock())
            await trio.sleep(5)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(OSError, match="torn")
    with suppress(ValueError):
        sound.close()


# The timer by itself


@needs_timer
@pytest.mark.parametrize("deadline", [-1e9, 0.0, 1e-12])
def test_a_past_deadline_wakes_at_once(deadline: float) -> None:
    timer = WakeTimer()
    timer.set(deadline)
    assert _is_ready(timer, 0.05)
    timer.clear()
    timer.clear()
    assert not _is_ready(timer, 0)
    timer.close()


@needs_timer
@pytest.mark.parametrize("deadline", [1e9, 1e15, 1e300, float("inf")])
def test_a_far_deadline_does_not_wake(deadline: float) -> None:
    timer = WakeTimer()
    timer.set(deadline)
    assert not _is_ready(timer, 0.01)
    timer.set(time.monotonic() + 0.001)
    assert _is_ready(timer, 0.1)
    timer.set(time.monotonic() + 1000)
    assert not _is_ready(timer, 0.01)
    timer.close()
    with pytest.raises(OSError, match="timerfd_settime"):
        timer.set(1.0)


def _is_ready(timer: WakeTimer, patience: float) -> bool:

    return bool(select.select([timer.fileno()], [], [], patience)[0])


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_type_check(platform: str, tmp_path: Path) -> None:
    poller = tmp_path / "poller.py"
    poller.write_bytes(Path(inspect.getfile(make_poller)).read_bytes())
    command = [sys.executable, "-m", "mypy", "--strict", "--platform", platform, "--config-file", os.devnull]
    command += ["--cache-dir", str(tmp_path), "--no-site-packages", str(poller)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout
