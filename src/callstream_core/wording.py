"""Turn commands into messages, or refuse them before anything has changed."""

from __future__ import annotations

from callstream_core import commands as c
from callstream_core.dialect import Codec, Support
from callstream_core.errors import Unsupported
from callstream_core.events import Direction

_ADVICE: dict[type, str] = {
    c.PausePlayout: "clear what is queued, and play the rest again later",
    c.ResumePlayout: "there is no pause on this platform",
    c.RequestStatus: "read the session's own account: heard() and backlog()",
    c.SendDigit: "send DTMF through the platform's own interface, outside the media socket",
    c.SetDirection: "ask the platform for it when the call is set up",
}


class Wording:
    """What one platform would take, and in which words."""

    __slots__ = ("_codec", "_emulates", "direction", "name")

    def __init__(self, name: str, codec: Codec, *, emulates: bool) -> None:
        self.name = name
        self.direction = Direction.BOTH
        self._codec = codec
        self._emulates = emulates

    def say(self, command: c.Command, support: Support = Support.NATIVE) -> list[str | bytes]:
        """Return the messages of a command: none where we do it ourselves. Raise `Unsupported` where nobody does."""
        if support is Support.NATIVE:
            refusal = self._codec.refusal(command, self.direction)
            if refusal is not None:
                raise Unsupported(f"the platform would answer: {refusal.strip()}")
            return list(self._codec.encode_command(command))
        if support is Support.EMULATED and self._emulates:
            return []
        raise Unsupported(
            f"{self.name} has no {type(command).__name__} for this call"
            + ("; allow it to be emulated (PlayoutSettings.emulates)" if support is Support.EMULATED else "")
        )

    def advise(self, command: c.Command) -> None:
        """Raise `Unsupported` for a command that this platform never takes, with what to do instead."""
        if self._codec.capabilities.is_tap:
            raise Unsupported(
                f"{self.name} only lets us listen: {type(command).__name__} has no way to the call; "
                "act on it through the platform's own interface, or hang up to stop listening"
            )
        advice = _ADVICE.get(type(command))
        raise Unsupported(f"{self.name} cannot do {type(command).__name__}" + (f": {advice}" if advice else ""))
