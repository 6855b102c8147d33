"""The platform's playout queue: what the driver does with the audio that applications send."""

from __future__ import annotations

from collections import deque

from callstream_core.commands import PlayClip
from callstream_core.dialect import PlayoutTraits
from callstream_core.events import (
    Event,
    FlowPaused,
    FlowResumed,
    PeerMisbehaved,
    PlayoutDrained,
    StatusReported,
)
from callstream_core.outputs import FramePlayed

Played = Event | FramePlayed


class Playout:
    """A queue of frames and notices, and a clock that takes one frame per tick.

    Methods return what happens, in order: frames handed to the caller, and events for the application.
    """

    __slots__ = (
        "_leftover",
        "_lost_ticks",
        "_origin",
        "_queue",
        "_ticks",
        "_traits",
        "is_buffering",
        "is_full",
        "is_paused",
        "is_running",
        "queue_length",
        "reports_drained",
    )

    def __init__(self, traits: PlayoutTraits) -> None:
        self._traits = traits
        self._queue: deque[bytes | Event] = deque()
        self._leftover = b""
        self._origin = 0.0
        self._ticks = 0
        self._lost_ticks = 0
        self.queue_length = 0
        self.is_full = False
        self.is_paused = False
        self.is_buffering = False
        self.is_running = False
        self.reports_drained = False

    def start(self, now: float) -> None:
        """Start a fresh clock: its first tick comes one period later."""
        self._origin = now
        self._ticks = 0
        self.is_running = True

    def stop(self) -> None:
        """Stop the clock; the queue stays as it is."""
        self.is_running = False

    def miss_ticks(self, count: int) -> None:
        """Lose the next `count` ticks that have something to do, as a busy machine does."""
        self._lost_ticks += count

    # What the application sends

    def add(self, data: bytes) -> list[Played]:
        """Queue one message of audio."""
        traits = self._traits
        if traits.max_queue is not None and self.queue_length >= traits.max_queue:
            return [PeerMisbehaved(f"{len(data)} bytes of audio dropped: {self.queue_length} frames are queued")]
        if traits.is_packets:
            return self._enqueue(data)
        events: list[Played] = []
        size = traits.format.frame_size
        joins = self.is_buffering or traits.joins_messages
        if joins and self._leftover:
            data = self._leftover + data
        self._leftover = b""
        end = len(data) - len(data) % size
        for start in range(0, end, size):
            events += self._enqueue(data[start : start + size])
        if end < len(data):
            if joins:
                self._leftover = data[end:]
            else:
                events.append(PeerMisbehaved(f"{len(data) - end} bytes of audio dropped: not a whole frame of {size}"))
        if traits.max_size is not None:
            events += self._drop_oldest(traits.max_size)
        return events

    def _drop_oldest(self, max_size: int) -> list[Played]:
        """Make room for what came last; what was to be said behind the dropped audio is said."""
        size = self._traits.format.frame_size
        excess = self.queue_length * size + len(self._leftover) - max_size
        frames = -(-excess // size)
        if frames <= 0:
            return []
        events: list[Played] = []
        for _ in range(frames):
            while not isinstance(item := self._queue.popleft(), bytes):
                events.append(item)
        self.queue_length -= frames
        return [*events, PeerMisbehaved(f"overflow: the oldest {frames * size} bytes of audio were dropped")]

    def add_notice(self, event: Event) -> None:
        """Queue an event that is said when everything before it was taken."""
        self._queue.append(event)

    def end_buffering(self, notice: Event) -> list[Played]:
        """Queue the unfinished frame as it is, and a notice behind it."""
        self.is_buffering = False
        events = self._enqueue(self._leftover) if self._leftover else []
        self._leftover = b""
        self._queue.append(notice)
        return events

    def flush(self) -> None:
        """Drop everything queued, notices too. Pause, fullness and a wanted report stay."""
        self._queue.clear()
        self.queue_length = 0
        self.is_buffering = False
        self._leftover = b""

    def clear(self, now: float) -> list[Played]:
        """Do what the application's clear does."""
        self.flush()
        return []

    def forget_marks(self) -> None:
        """Forget marks; where they are in a queue, nobody can ask for that."""

    def add_clip(self, clip: PlayClip, now: float) -> list[Played]:
        """Take a clip; who plays a stream ignores it."""
        return [PeerMisbehaved(f"a clip of {len(clip.data)} bytes is ignored: this call plays a stream")]

    def status(self) -> StatusReported:
        """Return the account that the platform gives of itself."""
        return StatusReported(
            queue_length=self.queue_length,
            xon_level=self._traits.xon_level,
            xoff_level=self._traits.xoff_level,
            is_full=self.is_full,
            is_buffering=self.is_buffering,
            is_paused=self.is_paused,
        )

    def _enqueue(self, frame: bytes) -> list[Played]:
        self._queue.append(frame)
        self.queue_length += 1
        level = self._traits.xoff_level
        if level is not None and self.queue_length >= level and not self.is_full:
            self.is_full = True
            return [FlowPaused()]
        return []

    # The clock

    def next_tick(self) -> float | None:
        """Return when something may happen next; None while every tick would do nothing."""
        if self.is_running and self._has_work():
            return self._time_of(self._ticks + 1)
        return None

    def skip_idle(self, now: float) -> None:
        """Pass over the ticks before `now` in which there was nothing to do; call before anything is queued."""
        if self.is_running and not self._has_work():
            self.pass_until(now)

    def pass_until(self, now: float) -> None:
        """Pass over the ticks before `now`. One at this very moment is yet to come: it serves what arrives with it."""
        last = self._last_tick(now)
        if self._time_of(last) == now:
            last -= 1
        self._ticks = max(self._ticks, last)

    def tick(self, now: float) -> list[Played]:
        """Serve the ticks that are due."""
        events: list[Played] = []
        if not self.is_running:
            return events
        last = self._last_tick(now)
        while self._ticks < last:
            if not self._has_work():
                self._ticks = last
                break
            self._ticks = last if self._traits.merges_ticks else self._ticks + 1
            if self._lost_ticks:
                self._lost_ticks -= 1
            else:
                events += self._serve(self._time_of(self._ticks))
        return events

    def _has_work(self) -> bool:
        if self._traits.fills_silence:
            return True
        leaks = self._traits.leaks_leftover and bool(self._leftover)
        return leaks or (not self.is_paused and (bool(self._queue) or self.is_full or self.reports_drained))

    def _time_of(self, tick: int) -> float:
        return self._origin + tick * self._traits.period

    def _last_tick(self, now: float) -> int:
        """Return the last tick that is not after `now`, by the very numbers that `next_tick` gives."""
        tick = int((now - self._origin) / self._traits.period)
        # Division may be off by one where the clock's numbers are large.
        while self._time_of(tick) > now:
            tick -= 1
        while self._time_of(tick + 1) <= now:
            tick += 1
        return tick

    def _serve(self, at: float) -> list[Played]:
        traits = self._traits
        if self.is_paused:
            return self._idle(at)
        events: list[Played] = []
        level = traits.xon_level
        if self.is_full and level is not None and self.queue_length < level:
            self.is_full = False
            events.append(FlowResumed())
        if not self._queue:
            if self.reports_drained:
                self.reports_drained = False
                events.append(PlayoutDrained())
            return events + self._idle(at)
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                self.queue_length -= 1
                events.append(FramePlayed(data=self._filled(item), at=at))
                return events
            events.append(item)
        return events + self._idle(at)

    def _filled(self, frame: bytes) -> bytes:
        missing = self._traits.format.frame_size - len(frame)
        if self._traits.pads_short_frames and not self._traits.is_packets and missing > 0:
            return frame + self._traits.format.silence(missing)
        return frame

    def _idle(self, at: float) -> list[Played]:
        traits = self._traits
        if traits.fills_silence:
            return [FramePlayed(data=bytes(2 * traits.format.frame_samples), at=at)]
        if traits.leaks_leftover and self._leftover:
            leftover, self._leftover = self._leftover, b""
            return [FramePlayed(data=leftover, at=at)]
        return []
