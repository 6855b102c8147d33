"""What jambonz says to a handler that does not listen is bounded, in number and in size."""

from __future__ import annotations

import trio

from callstream_core.events import MessageIgnored
from callstream_core.jambonz import words as w
from callstream_trio.call_limits import CallLimits
from callstream_trio.control import Control


def word(name: str, size: int = 100) -> w.CallStatusChanged:
    return w.CallStatusChanged(msgid=name, data={"call_status": "trying"}, size=size)


async def read(control: Control) -> list[str]:
    """Return the names of what is there."""
    found: list[str] = []
    with trio.move_on_after(0.01):
        async for said in control:
            assert isinstance(said, w.CallStatusChanged)
            found.append(said.msgid)
    return found


async def test_the_oldest_goes_by_size() -> None:
    control = Control(limits=CallLimits(max_unread_text=250))
    for name in "abc":
        control.hear(word(name), 0)
    assert control.dropped == 1
    assert await read(control) == ["b", "c"]
    for name in "de":
        control.hear(word(name), 0)
    assert control.dropped == 1, "what was read takes no room"
    assert await read(control) == ["d", "e"]


async def test_the_oldest_goes_by_number() -> None:
    control = Control(limits=CallLimits(max_events=2))
    for name in "abc":
        control.hear(word(name, 0), 0)
    assert control.dropped == 1
    assert await read(control) == ["b", "c"]


async def test_the_newest_is_never_too_large() -> None:
    control = Control(limits=CallLimits(max_unread_text=250))
    control.hear(MessageIgnored("x" * 240), 0)
    control.hear(word("large", 5000), 0)
    assert control.dropped == 1, "what nobody understands has a size, too"
    assert await read(control) == ["large"]
