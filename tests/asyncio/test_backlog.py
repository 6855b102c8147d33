"""What waits in an asyncio application for somebody to take it, and how much of it."""

from __future__ import annotations

import pytest

from callstream_asyncio import Inbox
from callstream_asyncio.backlog import Backlog
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from tests.asyncio.simulation import Platform, simulated

JSON = AsteriskProfile(format="slin16", syntax=Syntax.JSON)
END = e.SessionClosed(initiator=e.Side.PLATFORM, code=1000, reason="", is_clean=True, call_continues=None)


def taken(backlog: Backlog) -> list[e.Event]:
    events = []
    while backlog:
        events.append(backlog.take())
    return events


def test_audio_goes_first_then_all_but_the_end() -> None:
    backlog = Backlog(2)
    digits = [e.DigitReceived(digit) for digit in "12345"]
    events: list[e.Event] = [*[e.AudioReceived(b"\1")] * 3, *digits, END]
    for event in events:
        backlog.put(event)
    assert taken(backlog) == [e.AudioReceived(b"\1"), e.AudioReceived(b"\1"), *digits[:2], END]
    assert backlog.dropped == 1 + 3


@pytest.mark.parametrize("event", [e.AudioReceived(bytes(1000)), e.MessageIgnored("x" * 1000)])
def test_bytes_are_bounded_too(event: e.Event) -> None:
    backlog = Backlog(1_000_000)
    for _ in range(5000):
        backlog.put(event)
    assert 1000 < len(taken(backlog)) < 2100
    # Once taken, there is room again.
    dropped = backlog.dropped
    backlog.put(event)
    assert backlog.dropped == dropped


@simulated
async def test_what_comes_before_anybody_listens_is_bounded() -> None:
    platform = Platform(profile=JSON)
    call = await platform.connect()
    await platform.speak([bytes(640)] * 300)
    # The announcement takes a place.
    assert call.early_dropped == 300 - 255
    heard: list[e.Event] = []
    call.listen(heard.append)
    assert len(heard) == 256
    assert isinstance(heard[0], e.SessionOpened)
    await platform.speak([bytes(640)])
    assert len(heard) == 257
    platform.vanish()
    await call.wait_gone()


@simulated
async def test_an_inbox_that_nobody_empties_is_bounded_and_has_the_end() -> None:
    platform = Platform(profile=JSON)
    call = await platform.connect()
    inbox = Inbox(call, fills_silence=False, max_waiting=10)
    await platform.speak([bytes(640)] * 50)
    platform.vanish()
    await call.wait_gone()
    events = [await inbox.next() for _ in range(11)]
    assert isinstance(events[-1], e.SessionClosed)
    assert inbox.dropped == 50 - 9


@simulated
async def test_a_message_that_no_platform_sends_ends_the_call() -> None:
    platform = Platform(profile=JSON)
    call = await platform.connect()
    platform.say_raw(bytes(2 * 1024 * 1024))
    ended = await call.wait_ended()
    assert ended.code == 1009
    await call.wait_gone()
