"""jambonz's buffer of text that waits to be spoken by a streaming vendor."""

from __future__ import annotations

import re
from typing import Any

from callstream_core.jambonz.happenings import TextSpoken
from callstream_core.jambonz.order_codec import MAX_TOKENS, utf16_length

_RESUME_LEVEL = 200
_MAX_TAKE = 1800
_IDLE = 1.0
_SENTENCE = re.compile(r"[.!?:;](?=\s)\s*")
Event = str


class SpeechBuffer:
    """Takes text, hands it to the vendor by sentences, and says when it is full."""

    def __init__(self) -> None:
        self.is_connected = False
        self.failed_vendor: str | None = None
        self.deadline: float | None = None
        """When a beginning of a sentence is spoken for want of its end."""
        self._text = ""
        self._is_paused = False
        self._flushes = False

    def take(self, data: Any, now: float) -> tuple[dict[str, Any] | None, list[Event], list[TextSpoken]]:
        """Take the data of `tts:tokens`; return the result, the events before it, and what is spoken."""
        found = data if isinstance(data, dict) else {}
        name, tokens = found.get("id"), found.get("tokens")
        if not name:
            return None, [], []
        if not tokens:
            return {"id": name, "status": "failed", "reason": "missing tokens"}, [], []
        if self.failed_vendor is not None:
            return {"id": name, "status": "failed", "reason": f"connection to {self.failed_vendor} failed"}, [], []
        tokens = str(tokens)
        if not self._text and not tokens.strip():
            return {"id": name, "status": "ok"}, [], []
        if utf16_length(self._text) + utf16_length(tokens) > MAX_TOKENS:
            events = [] if self._is_paused else ["stream_paused"]
            self._is_paused = True
            return {"id": name, "status": "failed", "reason": "full"}, events, []
        self._text += tokens
        events, spoken = self._drain(now)
        return {"id": name, "status": "ok"}, events, spoken

    def connect(self, now: float) -> tuple[list[Event], list[TextSpoken]]:
        """Note that the vendor is there; what has waited is spoken first."""
        self.is_connected = True
        events, spoken = self._drain(now)
        return ["stream_open", *events], spoken

    def flush(self) -> list[TextSpoken]:
        """Speak all when the next text comes, or the timer."""
        if self.is_connected and self._text:
            self._flushes = True
        return []

    def clear(self) -> None:
        """Drop all; a pause ends without a word."""
        if self.is_connected:
            self._text = ""
            self._is_paused = self._flushes = False
            self.deadline = None

    def expire(self, now: float) -> tuple[list[Event], list[TextSpoken]]:
        """Speak to the last word, where nothing came for a second."""
        if self.deadline is None or self.deadline > now:
            return [], []
        self.deadline = None
        end = len(self._text) if self._flushes else self._text.rfind(" ") + 1
        return self._speak(end)

    def _drain(self, now: float) -> tuple[list[Event], list[TextSpoken]]:
        if not self.is_connected:
            return [], []
        self.deadline = now + _IDLE
        ends = [match.end() for match in _SENTENCE.finditer(self._text[:_MAX_TAKE])]
        return self._speak(len(self._text) if self._flushes else max(ends, default=0))

    def _speak(self, end: int) -> tuple[list[Event], list[TextSpoken]]:
        if not end:
            return [], []
        spoken, self._text = self._text[:end], self._text[end:]
        self._flushes = False
        if not self._text:
            self.deadline = None
        events: list[Event] = []
        if self._is_paused and utf16_length(self._text) <= _RESUME_LEVEL:
            self._is_paused = False
            events.append("stream_resumed")
        return events, [TextSpoken(spoken)]
