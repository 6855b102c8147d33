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
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_core.resample import Converter

_LOOK = 0.02


def connect(
    session: Any, call: Call, *, on_event: Callable[[e.Event], None] | None = None, look_ahead: float = 0.3
) -> tuple[CallstreamAudioInput, CallstreamAudioOutput]:
    """Make a call the audio of an `AgentSession` that has not been started. `on_event` hears digits, marks, the end.

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
            raise Unsupported(f"LiveKit needs plain audio, not packets of {audio.encoding}")
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
                self._on_event(event)
        raise StopAsyncIteration


@attrs.define(eq=False)
class _Segment:
    """What was captured between two flushes."""

    duration: float = 0.0
    is_cleared: bool = False


class CallstreamAudioOutput(io.AudioOutput):
    """Plays to the caller, a bounded time ahead; every segment is reported finished once, with what was heard."""

    def __init__(self, call: Call, *, look_ahead: float = 0.3) -> None:
        reply = call.info.reply_format
        if reply is None or reply.is_packets:
            raise Unsupported("this call takes no plain audio")
        can_pause = call.session.capabilities.pause is not Support.NONE
        super().__init__(
            label="callstream", capabilities=io.AudioOutputCapabilities(pause=can_pause), sample_rate=reply.rate
        )
        self._call = call
        self._look_ahead = look_ahead
        self._rate = reply.rate
        self._encode = Converter(linear(reply.rate), reply)
        self._open: list[_Segment] = []
        self._current: _Segment | None = None
        self._is_clearing = False
        self._end = asyncio.get_running_loop().create_task(self._watch_end())

    # What the framework says

    async def capture_frame(self, frame: Any) -> None:
        """Play a frame; wait while enough is on its way."""
        await super().capture_frame(frame)
        segment = self._current
        if segment is None:
            segment = self._current = _Segment()
            self._open.append(segment)
        call = self._call
        # Nobody wakes us for room, which comes with time.
        while call.is_open and (wait := call.backlog - self._look_ahead) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(wait, _LOOK))
        if segment.is_cleared or not call.is_open:
            return
        if segment.duration == 0:
            self._start(self._call.backlog)
        samples = _mono(frame)
        self._call.say(c.SendAudio(self._encode.feed(samples)))
        segment.duration += len(samples) / 2 / self._rate

    def flush(self) -> None:
        """End the segment; it is finished when the caller has heard it."""
        super().flush()
        segment, self._current = self._current, None
        if segment is None:
            return
        if self._call.is_open:
            self._call.end_utterance().add_done_callback(lambda mark: self._heard(segment, mark.result()))
        else:
            self._finish(segment, 0.0, was_interrupted=True)

    def clear_buffer(self) -> None:
        """Stop playing, and report how much of each open segment was heard."""
        if self._is_clearing or not self._open or not self._call.is_open:
            return
        self._is_clearing = True
        for segment in self._open:
            segment.is_cleared = True
        try:
            self._call.clear().add_done_callback(lambda cleared: self._cleared(cleared.result()))
        except LocalProtocolError:
            self._is_clearing = False

    def pause(self) -> None:
        """Stand still."""
        super().pause()
        if self._call.is_open:
            self._call.say(c.PausePlayout())

    def resume(self) -> None:
        """Play on."""
        super().resume()
        if self._call.is_open:
            self._call.say(c.ResumePlayout())

    # What the call says

    def _start(self, wait: float) -> None:
        at = time.time() + wait
        if wait <= 0:
            self.on_playback_started(created_at=at)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(wait, lambda: self.on_playback_started(created_at=at))

    def _heard(self, segment: _Segment, mark: e.MarkReached) -> None:
        if mark.outcome is e.MarkOutcome.PLAYED and not segment.is_cleared:
            self._finish(segment, segment.duration, was_interrupted=False)

    def _cleared(self, cleared: e.PlayoutCleared | None) -> None:
        self._is_clearing = False
        self._interrupt(self._call.backlog if cleared is None else cleared.discarded)

    def _interrupt(self, discarded: float) -> None:
        positions = []
        for segment in reversed(self._open):
            segment.is_cleared = True
            lost = min(discarded, segment.duration)
            discarded -= lost
            positions.append((segment, segment.duration - lost))
        for segment, position in reversed(positions):
            self._finish(segment, position, was_interrupted=True)

    async def _watch_end(self) -> None:
        await self._call.wait_ended()
        # A segment that is never finished would be waited for without end.
        self._interrupt(self._call.backlog)

    def _finish(self, segment: _Segment, position: float, *, was_interrupted: bool) -> None:
        if segment in self._open:
            self._open.remove(segment)
            self.on_playback_finished(playback_position=position, interrupted=was_interrupted)


def _mono(frame: Any) -> bytes:
    """Return a frame's samples as one channel."""
    data = bytes(frame.data)
    return data if frame.num_channels == 1 else codecs.mix_down(data, frame.num_channels)
