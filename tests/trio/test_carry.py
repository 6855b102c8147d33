"""Calls over WebSockets of other libraries: any object that receives, sends and closes."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from callstream_core import AppSession, Limits, PlatformSession, dialects
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.outputs import Transmit
from callstream_core.sockets import LinkClosed
from callstream_trio import Call, Echo, carry
from callstream_trio.handling import Handler
from callstream_trio.link_limits import LinkLimits
from tests.trio.wire import PATIENCE, START

QUICK = LinkLimits(send_timeout=0.1, close_timeout=0.1)


class Wire:
    """A socket in memory: what the test says is received, what is sent can be heard."""

    def __init__(self, *, reads: bool = True) -> None:
        self.say, self._received = trio.open_memory_channel[str | bytes](math.inf)
        self._sent, self.heard = trio.open_memory_channel[str | bytes](math.inf)
        self.close_code: int | None = None
        self.closes_with: int | None = None
        self.is_broken = False
        self._reads = reads

    async def receive(self) -> str | bytes:
        try:
            return await self._received.receive()
        except trio.EndOfChannel:
            raise LinkClosed(self.closes_with) from None

    async def send(self, message: str | bytes) -> None:
        if self.is_broken:
            raise LinkClosed(None)
        if not self._reads:
            await trio.sleep_forever()
        await self._sent.send(message)

    async def close(self, code: int, _reason: str) -> None:
        self.close_code = code
        self.say.close()
        await trio.lowlevel.checkpoint()

    def hang_up(self, code: int | None) -> None:
        self.closes_with = code
        self.say.close()

    async def audio(self, size: int) -> bytes:
        """Return so many bytes of what was sent."""
        heard = b""
        while len(heard) < size:
            message = await self.heard.receive()
            heard += message if isinstance(message, bytes) else b""
        return heard


@asynccontextmanager
async def carried(
    handler: Handler,
    wire: Wire,
    *,
    says: str | None = START,
    limits: Limits | None = None,
    link_limits: LinkLimits | None = None,
) -> AsyncIterator[Wire]:
    """Carry a call; in the end, see that it is over."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await carry(handler, wire, grace=0.1, limits=limits, link_limits=link_limits)

            nursery.start_soon(run)
            if says is not None:
                wire.say.send_nowait(says)
            yield wire


async def test_a_call_hears_and_plays_and_hangs_up() -> None:
    heard: list[bytes] = []

    async def talk(call: Call) -> None:
        assert call.info.call_id == "1700000000.1"
        heard.append(await call.next_audio())
        await call.play(b"\x10" * 12000)
        assert (await call.finish()).is_clean

    async with carried(talk, Wire()) as wire:
        wire.say.send_nowait(b"\x20" * 160)
        # A second is sent ahead; the deadlines of the session send the rest.
        assert await wire.audio(12000) == b"\x10" * 12000
        while (message := await wire.heard.receive()) != "HANGUP":
            assert isinstance(message, str)
            if message.startswith("REPORT_QUEUE_DRAINED"):
                wire.say.send_nowait("QUEUE_DRAINED")
        wire.hang_up(1000)
    assert heard == [b"\x20" * 160]


async def test_an_echo_without_a_task_counts_what_is_refused() -> None:
    stats = []

    async def echo(call: Call) -> None:
        call.connect(Echo())
        assert (await call.wait_ended()).code == 1000
        stats.append(call.stats)

    async with carried(echo, Wire()) as wire:
        for number in range(5):
            wire.say.send_nowait(bytes([number]) * 160)
        assert await wire.audio(800) == b"".join(bytes([number]) * 160 for number in range(5))
        wire.hang_up(1000)
    assert (stats[0].messages_received, stats[0].messages_sent) == (6, 5)


async def test_a_sink_that_is_refused_is_counted() -> None:
    refused = []

    async def leave(call: Call) -> None:
        call.connect(Echo())
        await call.play(bytes(1600))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.finish)
            await call.wait_ended()
        refused.append(call.stats.sink_refused)

    async with carried(leave, Wire()) as wire:
        await wire.audio(1600)
        while (message := await wire.heard.receive()) != "HANGUP":
            if isinstance(message, str) and message.startswith("REPORT_QUEUE_DRAINED"):
                wire.say.send_nowait(bytes(160))
                wire.say.send_nowait("QUEUE_DRAINED")
        wire.hang_up(1000)
    assert refused == [1]


@pytest.mark.parametrize(("code", "is_clean"), [(1000, True), (None, False)], ids=["closed", "lost"])
async def test_a_handler_is_told_of_the_end(code: int | None, is_clean: bool) -> None:
    ends: list[e.Event] = []

    async def listen(call: Call) -> None:
        ends.extend([event async for event in call])

    async with carried(listen, Wire()) as wire:
        await trio.sleep(0.01)
        wire.hang_up(code)
    assert isinstance(ends[-1], e.SessionClosed)
    assert (ends[-1].code, ends[-1].is_clean) == (code, is_clean)
    assert wire.close_code == code


async def test_a_handler_that_fails_ends_its_own_call_alone() -> None:
    async def fail(_call: Call) -> None:
        raise ValueError("a fault")

    async with carried(fail, Wire()) as wire:
        pass
    assert wire.close_code == 1011


async def test_a_handler_that_runs_on_is_cancelled() -> None:
    async def sleep(_call: Call) -> None:
        await trio.sleep_forever()

    async with carried(sleep, Wire()) as wire:
        await trio.sleep(0.01)
        wire.hang_up(1000)


async def test_who_says_nothing_is_closed() -> None:
    async def never(_call: Call) -> None:
        raise AssertionError("there is no call")

    async with carried(never, Wire(), says=None, limits=Limits(opening_timeout=0.05)) as wire:
        pass
    assert wire.close_code == 1002


@pytest.mark.parametrize("is_broken", [False, True], ids=["stuck", "broken"])
async def test_a_peer_that_takes_nothing_ends_the_call(is_broken: bool) -> None:
    events: list[e.Event] = []

    async def talk(call: Call) -> None:
        await call.play(bytes(160))
        await call.mark("heard")
        events.extend([event async for event in call])

    wire = Wire(reads=False)
    wire.is_broken = is_broken
    async with carried(talk, wire, link_limits=QUICK):
        pass
    mark, ended = events
    assert mark == e.MarkReached("heard", outcome=e.MarkOutcome.CLEARED, is_estimated=False)
    assert isinstance(ended, e.SessionClosed)
    assert not ended.is_clean


async def test_what_waits_for_a_peer_is_bounded() -> None:
    ends = []

    async def talk(call: Call) -> None:
        for _ in range(4):
            await call.play(bytes(160))
        ends.append(await call.wait_ended())

    async with carried(talk, Wire(reads=False), link_limits=LinkLimits(max_unsent=320, send_timeout=0.2)):
        pass
    assert ends[0].code == 1008


@pytest.mark.parametrize("pause", [0, 1.1], ids=["flood", "slower"])
async def test_more_messages_than_a_call_needs_end_it(pause: float) -> None:
    ends = []

    async def listen(call: Call) -> None:
        ends.append(await call.wait_ended())

    async with carried(listen, Wire(), link_limits=LinkLimits(max_messages=20)) as wire:
        for number in range(25):
            if number == 10:
                await trio.sleep(pause)
            wire.say.send_nowait(bytes(160))
        await trio.sleep(0.02)
        if pause:
            wire.hang_up(1000)
    assert ends[0].code == (1000 if pause else 1008)


async def test_a_deadline_that_a_command_sets_is_kept() -> None:
    sinch = dialects.get("sinch")
    marks: list[e.Event] = []

    async def talk(call: Call) -> None:
        await call.answer()
        await call.play(bytes(3200))
        await trio.sleep(0.05)
        # Nothing is sent for it: Sinch has no marks. The next deadline before was a heartbeat's, far away.
        await call.mark("heard")
        marks.append(await anext(call))
        is_told.set()

    is_told = trio.Event()
    wire = Wire()
    [opening, *_] = PlatformSession(sinch, sinch.profile()).open(0.0)
    assert isinstance(opening, Transmit)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(carry, talk, wire, dialect="sinch"))
            wire.say.send_nowait(opening.message)
            await is_told.wait()
            wire.hang_up(1000)
    assert marks == [e.MarkReached("heard", outcome=e.MarkOutcome.PLAYED, is_estimated=True)]


async def test_what_another_call_offers_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object) -> list[object]:
        raise ZeroDivisionError

    taken = []

    async def bridge(call: Call) -> None:
        taken.append(call.offer(c.SendAudio(bytes(160))))
        taken.append(call.offer(c.SetDirection(e.Direction.OUT)))
        with monkeypatch.context() as patched:
            # A fault of ours, however that may be, ends this call, and raises nothing in the other.
            patched.setattr(AppSession, "send", boom)
            call.offer(c.SendAudio(bytes(160)))
        await call.wait_ended()
        taken.append(call.offer(c.SendAudio(bytes(160))))

    async with carried(bridge, Wire()) as wire:
        assert await wire.audio(160) == bytes(160)
    assert taken == [True, False, False]
    assert wire.close_code == 1011


async def test_a_fault_of_the_socket_is_raised() -> None:
    class Faulty(Wire):
        async def receive(self) -> str | bytes:
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError

    ends = []

    async def listen(call: Call) -> None:
        ends.append(await call.wait_ended())

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with carried(listen, Faulty()):
            pass
    assert ends == []
