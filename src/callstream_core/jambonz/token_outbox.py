"""Text on its way to be spoken: sent in order, one piece at a time, kept while jambonz has no room."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz.limits import ControlLimits
from callstream_core.jambonz.order_codec import MAX_TOKENS, utf16_length
from callstream_core.jambonz.orders import FlushTokens, SendTokens
from callstream_core.jambonz.words import SpeechStreamChanged, TokensAnswered, TokensDropped

Piece = SendTokens | FlushTokens
Told = TokensAnswered | SpeechStreamChanged | TokensDropped


class PendingTokensFull(LocalProtocolError):
    """As much text waits as `ControlLimits.max_pending_tokens` allows: send again later. Nothing of it was taken."""


class TokenOutbox:
    """What waits, and what jambonz has not answered. It refuses a piece as a whole when its buffer is full.

    Only one piece is under way at any time: were two, the second might fit where the first did not, and text would
    be spoken out of order. Pieces that wait meanwhile travel together.
    """

    __slots__ = ("_limits", "_size", "_under_way", "_waiting", "deadline", "is_open", "is_paused")

    def __init__(self, limits: ControlLimits) -> None:
        self.is_open = False
        """True once jambonz takes commands."""
        self.is_paused = False
        """True while jambonz has no room."""
        self.deadline: float | None = None
        """When the piece under way counts as lost."""
        self._limits = limits
        self._waiting: deque[SendTokens | FlushTokens] = deque()
        self._under_way: list[SendTokens] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Characters that wait here."""
        return self._size

    def add(self, order: SendTokens | FlushTokens, now: float) -> list[Piece]:
        """Take text, or the wish to have it spoken now; return what is to be sent."""
        size = utf16_length(order.tokens) if isinstance(order, SendTokens) else 0
        is_full = self._size + size > self._limits.max_pending_tokens
        if is_full or len(self._waiting) >= self._limits.max_pending_pieces:
            raise PendingTokensFull(f"{self._size} characters in {len(self._waiting)} pieces wait to be spoken")
        self._waiting.append(order)
        self._size += size
        return self._pump(now)

    def open(self, now: float) -> list[Piece]:
        """Begin to send; return what has waited for it."""
        self.is_open = True
        return self._pump(now)

    def clear(self) -> list[TokensDropped]:
        """Drop what waits."""
        names = tuple(item.id for item in self._waiting if isinstance(item, SendTokens))
        self._waiting.clear()
        self._size = 0
        # A clear ends jambonz's pause, and it does not say so.
        self.is_paused = False
        return [TokensDropped(names)] if names else []

    def hear(self, event: TokensAnswered | SpeechStreamChanged, now: float) -> tuple[Sequence[Told], list[Piece]]:
        """Take jambonz's word; return what to tell the application and what to send."""
        if isinstance(event, TokensAnswered):
            return self._answer(event, now)
        if event.event == "user_interruption":
            return [event, *self.clear()], []
        if event.event == "stream_resumed":
            self.is_paused = False
        return [event], self._pump(now)

    def _answer(self, event: TokensAnswered, now: float) -> tuple[list[TokensAnswered], list[Piece]]:
        if not self._under_way or event.id != self._under_way[-1].id:
            return [event], []
        asked, self._under_way, self.deadline = self._under_way, [], None
        if not event.is_taken and event.reason == "full":
            self.is_paused = True
            self._waiting.extendleft(reversed(asked))
            self._size += sum(utf16_length(item.tokens) for item in asked)
            return [], []
        told = [attrs.evolve(event, data={**event.data, "id": item.id}) for item in asked]
        return told, self._pump(now)

    def expire(self, now: float) -> tuple[list[TokensDropped], list[Piece]]:
        """Give up what was never answered; return it, and what to send."""
        if self.deadline is None or self.deadline > now:
            return [], []
        lost = TokensDropped(tuple(item.id for item in self._under_way))
        self._under_way, self.deadline = [], None
        return [lost], self._pump(now)

    def _pump(self, now: float) -> list[Piece]:
        out: list[Piece] = []
        while self.is_open and self._waiting and not self._under_way and not self.is_paused:
            item = self._waiting.popleft()
            if isinstance(item, FlushTokens):
                out.append(item)
                continue
            together = [item]
            size = utf16_length(item.tokens)
            while self._waiting and isinstance(following := self._waiting[0], SendTokens):
                if size + utf16_length(following.tokens) > MAX_TOKENS:
                    break
                self._waiting.popleft()
                size += utf16_length(following.tokens)
                together.append(following)
            self._size -= size
            self._under_way = together
            self.deadline = now + self._limits.token_timeout
            out.append(SendTokens(together[-1].id, "".join(piece.tokens for piece in together)))
        return out
