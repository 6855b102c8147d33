"""A platform that plays whole clips, one after the other, and tells when each has ended."""

from __future__ import annotations

from collections import deque

import attrs

from callstream_core.commands import PlayClip
from callstream_core.dialect import Clips, PlayoutTraits
from callstream_core.events import ClipPlayed, Event, PeerMisbehaved
from callstream_core.outputs import FramePlayed
from callstream_core.playout import Played, Playout

RAW, WAV = "raw", "wav"
_HEADER = 44


@attrs.define
class _Clip:
    name: str | None
    audio: bytes
    rate: int
    duration: float
    begun_at: float
    played: int = 0

    def ended(self, at: float) -> ClipPlayed:
        duration = min(max(at - self.begun_at, 0.0), self.duration)
        return ClipPlayed(name=self.name, duration=duration, last_sample=round(duration * self.rate))


class ClipPlayout(Playout):
    """The playout of a platform with `Clips`. A clip begins at once, and is heard tick by tick."""

    __slots__ = ("_clip", "_clips", "_waiting")

    def __init__(self, traits: PlayoutTraits, clips: Clips) -> None:
        super().__init__(traits)
        self._clips = clips
        self._clip: _Clip | None = None
        self._waiting: deque[PlayClip] = deque()

    def add_clip(self, clip: PlayClip, now: float) -> list[Played]:
        """Take a clip: it begins, waits, or interrupts."""
        if clip.kind not in (RAW, WAV, "wave"):
            return [PeerMisbehaved(f"a clip of kind {clip.kind[:20]!r} is not played, and nothing is said of it")]
        if self._clip is None:
            self._begin(clip, now)
        elif clip.is_queued:
            if len(self._waiting) >= self._clips.max_waiting:
                return [PeerMisbehaved(f"a clip was dropped: {len(self._waiting)} wait already")]
            self._waiting.append(clip)
        else:
            self._waiting.clear()
            self._waiting.append(clip)
            if self._clips.interrupts:
                return self._end(now)
        return []

    def _begin(self, clip: PlayClip, now: float) -> None:
        rate, audio = clip.rate or self._traits.format.rate, clip.data
        if clip.kind != RAW:
            # The usual header: the rate stands at byte 24, the samples begin at 44.
            rate = int.from_bytes(audio[24:28], "little") or rate
            audio = audio[_HEADER:]
        duration = len(audio) / 2 / rate if self._clips.duration is None else self._clips.duration
        self._clip = _Clip(clip.name, audio, rate, duration, now)

    def _end(self, at: float) -> list[Played]:
        """End the clip that is playing; the next one begins."""
        if self._clip is None:
            return []
        ended = self._clip.ended(at)
        self._clip = None
        if self._waiting:
            self._begin(self._waiting.popleft(), at)
        return [ended]

    def add(self, data: bytes) -> list[Played]:
        """Lose audio: there is no stream to play."""
        return [PeerMisbehaved(f"{len(data)} bytes of audio have no effect: this call plays clips")]

    def add_notice(self, event: Event) -> None:
        """Lose a mark: it would have its place in a stream."""

    def clear(self, now: float) -> list[Played]:
        """End the clip that is playing. What waits comes next."""
        return self._end(now)

    # The clock

    def _has_work(self) -> bool:
        return self._clip is not None

    def _serve(self, at: float) -> list[Played]:
        clip = self._clip
        assert clip is not None
        events: list[Played] = []
        size = 2 * round(clip.rate * self._traits.period)
        audio = clip.audio[clip.played : clip.played + size]
        clip.played += size
        if audio:
            events.append(FramePlayed(data=audio, at=at))
        if at + 1e-9 >= clip.begun_at + clip.duration:
            events += self._end(clip.begun_at + clip.duration)
        return events
