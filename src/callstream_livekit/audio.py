"""A call as audio input and audio output of an `AgentSession`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import attrs
from livekit import rtc
from livekit.agents.voice import io

from callstream_asyncio import Call, Inbox
from callstream_core import codecs
from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.audio import linear
from callstream_core.dialect import Support
from callstream_core.errors import Unsupported
from callstream_core.resample import Converter

_LOOK = 0.02
# Seconds of room that are waited for at once: waking costs more than a frame.
_GATHER = 0.04
# Seconds of audio that are said at once: what a synthesizer gives in one frame may be a whole sentence.
_PIECE = 0.04
_NO_PACKETS = "LiveKit needs plain audio, not packets of {}: choose slin, ulaw or alaw, without passthrough"


def connect(
    session: Any, call: Call, *, on_event: Callable[[e.Event], None] | None = None, look_ahead: float = 0.3
) -> tuple[CallstreamAudioInput, CallstreamAudioOutput]:
    """Make a call the audio of an `AgentSession` that has not been started. `on_event` hears all that is not audio.

    Raises:
        Unsupported: for calls whose audio only a codec of your own can read, and for those that only listen.
    """
    heard, played = CallstreamAudioInput(call, on_event=on_event), CallstreamAudioOutput(call, look_ahead=look_ahead)
    session.input.audio = heard
    session.output.audio = played
    return heard, played


class CallstreamAudioInput(io.AudioInput):
    """The caller's audio; silence while the platform sends none. It ends when the call does."""

    def __init__(self, call: Call, *, on_event: Callable[[e.Event], None] | None = None) -> None:
        super().__init__(label="callstream")
        audio = call.info.caller_format
        if audio.is_packets:
            raise Unsupported(_NO_PACKETS.format(audio.encoding))
        if call.session.capabilities.has_tracks:
            raise Unsupported(
                "each party has a track of its own, and an agent hears one voice: have the platform mix them"
            )
        self._call = call
        self._rate = audio.rate
        self._decode = Converter(audio, linear(audio.rate))
        self._inbox = Inbox(call)
        self._on_event = on_event
        self._has_ended = False

    async def __anext__(self) -> Any:
        """Return the next piece of audio."""
        while not self._has_ended:
            event = await self._inbox.next()
            if isinstance(event, e.AudioReceived):
                if audio := self._decode.feed(event.data):
                    return rtc.AudioFrame(audio, self._rate, 1, len(audio) // 2)
                continue
            self._has_ended = isinstance(event, e.SessionClosed)
            if self._on_event is not None:
                self._tell(self._on_event, event)
        raise StopAsyncIteration

    def _tell(self, on_event: Callable[[e.Event], None], event: e.Event) -> None:
        try:
            on_event(event)
        except BaseException:
            # LiveKit logs this and reads no more: nobody would notice that the agent has gone deaf.
            self._call.fail(1011, "internal error")
            raise


@attrs.define(eq=False)
class _Segment:
    """What was captured between two flushes."""

    duration: float = 0.0
    padding: float = 0.0
    """Seconds of silence behind it: the rest of a frame, or what a platform needs to play the last of it."""
    is_cleared: bool = False
    starts_in: float = 0.0
    """Seconds until the caller hears the first of it, while playout stands still."""
    start: asyncio.TimerHandle | None = None


class CallstreamAudioOutput(io.AudioOutput):
    """Plays to the caller, a bounded time ahead; every segment is reported finished once, with what was heard."""

    def __init__(self, call: Call, *, look_ahead: float = 0.3) -> None:
        reply = call.info.reply_format
        if reply is None:
            raise Unsupported("this call takes no audio; for what it hears alone, use CallstreamAudioInput")
        if reply.is_packets:
            raise Unsupported(_NO_PACKETS.format(reply.encoding))
        can_pause = call.session.capabilities.pause is not Support.NONE
        super().__init__(
            label="callstream", capabilities=io.AudioOutputCapabilities(pause=can_pause), sample_rate=reply.rate
        )
        self._call = call
        self._look_ahead = look_ahead
        self._gather = min(_GATHER, look_ahead / 4)
        self._rate = reply.rate
        self._encode = Converter(linear(reply.rate), reply)
        self._open: list[_Segment] = []
        self._current: _Segment | None = None
        self._is_paused = False
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.create_task(self._watch_end())

    # What the framework says

    async def capture_frame(self, frame: Any) -> None:
        """Play a frame; wait while enough is on its way."""
        if frame.sample_rate != self._rate:
            raise ValueError(f"this call plays {self._rate} Hz; resample the frame, which has {frame.sample_rate}")
        await super().capture_frame(frame)
        segment = self._current
        if segment is None:
            segment = self._current = _Segment()
            self._open.append(segment)
        samples = _mono(frame)
        step = 2 * round(min(self._look_ahead, _PIECE) * self._rate) or len(samples)
        for start in range(0, len(samples), step):
            piece = samples[start : start + step]
            seconds = len(piece) / 2 / self._rate
            await self._wait_room(seconds)
            if segment.is_cleared or not self._call.is_open:
                return
            if segment.duration == 0:
                self._start_in(segment, self._call.backlog)
            self._call.say(c.SendAudio(self._encode.feed(piece)))
            segment.duration += seconds

    def flush(self) -> None:
        """End the segment; it is finished when the caller has heard it."""
        super().flush()
        segment, self._current = self._current, None
        # Once the call is ending, nothing can be asked any more; its end finishes the segment.
        if segment is not None and self._call.is_open:
            before = self._call.backlog
            mark = self._call.end_utterance()
            segment.padding = max(self._call.backlog - before, 0)
            mark.add_done_callback(lambda mark: self._heard(segment, mark.result()))

    def clear_buffer(self) -> None:
        """Stop playing, and report how much of each open segment was heard."""
        segments = [segment for segment in self._open if not segment.is_cleared]
        if not segments or not self._call.is_open:
            return
        cleared = self._call.clear()
        # The session ends a pause with what it clears.
        self._is_paused = False
        for segment in segments:
            segment.is_cleared = True
        cleared.add_done_callback(lambda answer: self._cleared(segments, answer.result()))

    def pause(self) -> None:
        """Stand still."""
        super().pause()
        if self._call.is_open and not self._is_paused:
            self._call.say(c.PausePlayout())
            self._is_paused = True
            for segment in self._open:
                if segment.start is not None:
                    segment.starts_in = segment.start.when() - self._loop.time()
                    segment.start.cancel()

    def resume(self) -> None:
        """Play on. LiveKit says so before each speech, paused or not, and to outputs that cannot pause."""
        super().resume()
        if self._call.is_open and self._is_paused:
            self._is_paused = False
            self._call.say(c.ResumePlayout())
            for segment in self._open:
                if segment.start is not None:
                    self._start_in(segment, segment.starts_in)

    # What the call says

    async def _wait_room(self, seconds: float) -> None:
        """Wait until so much audio fits into what may be on its way."""
        call = self._call
        room = max(self._look_ahead - seconds, 0)
        # Nobody wakes us for room, which comes with time.
        while call.is_open and (wait := call.backlog - room) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(wait, _LOOK) + self._gather)

    def _start_in(self, segment: _Segment, seconds: float) -> None:
        segment.starts_in = seconds
        segment.start = self._loop.call_later(seconds, self._started, segment)
        if self._is_paused:
            segment.start.cancel()

    def _started(self, segment: _Segment) -> None:
        segment.start = None
        self.on_playback_started(created_at=time.time())

    def _heard(self, segment: _Segment, mark: e.MarkReached) -> None:
        if mark.outcome is e.MarkOutcome.PLAYED and not segment.is_cleared:
            self._finish(segment, segment.duration, was_interrupted=False)

    def _cleared(self, segments: list[_Segment], cleared: e.PlayoutCleared | None) -> None:
        # None: the call has ended before the answer came.
        self._interrupt(segments, self._call.backlog if cleared is None else cleared.discarded)

    def _interrupt(self, segments: list[_Segment], discarded: float) -> None:
        positions = []
        for segment in reversed(segments):
            lost = min(discarded, segment.duration + segment.padding)
            discarded -= lost
            positions.append((segment, segment.duration - max(lost - segment.padding, 0)))
        for segment, position in reversed(positions):
            self._finish(segment, position, was_interrupted=True)

    async def _watch_end(self) -> None:
        await self._call.wait_ended()
        # A segment that is never finished would be waited for without end.
        self._interrupt(list(self._open), self._call.backlog)

    def _finish(self, segment: _Segment, position: float, *, was_interrupted: bool) -> None:
        if segment not in self._open:
            return
        self._open.remove(segment)
        if segment.start is not None:
            segment.start.cancel()
            if position > 0:
                self._started(segment)
        self.on_playback_finished(playback_position=position, interrupted=was_interrupted)


def _mono(frame: Any) -> bytes:
    """Return a frame's samples as one channel."""
    data = bytes(frame.data)
    return data if frame.num_channels == 1 else codecs.mix_down(data, frame.num_channels)
