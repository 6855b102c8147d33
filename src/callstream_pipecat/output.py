"""From the pipeline to the caller's ear."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from pipecat.frames import frames as pipecat_frames
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_output import BaseOutputTransport

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.errors import LocalProtocolError
from callstream_core.machine import State
from callstream_core.resample import Converter
from callstream_pipecat.frames import CallstreamHeardFrame, CallstreamMarkFrame, CallstreamMarkReachedFrame

if TYPE_CHECKING:
    from callstream_pipecat.transport import CallstreamParams, CallstreamTransport

_LOOK = 0.02
_CLOSE_TIMEOUT = 2.0
# What goodbyes may take beyond what is queued: the platform's word, the session's patience, the close.
_GOODBYE = 8.0
# Before 1.12, frames that interruptions spare were of a class of their own.
_SPARED: type = getattr(pipecat_frames, "UninterruptibleFrame", type("_Nothing", (), {}))


class CallstreamOutput(BaseOutputTransport):
    """Plays to the caller, a bounded time ahead, and knows when it was heard."""

    def __init__(
        self, transport: CallstreamTransport, encode: Converter | None, params: CallstreamParams, **names: Any
    ) -> None:
        super().__init__(params, **names)
        self.dropped = 0
        """Chunks that the platform would not take in time."""
        self.was_spared = 0
        """Interruptions that cleared nothing, for the sake of audio that must be heard."""
        self._transport = transport
        self._call = transport.call
        self._encode = encode
        self._look_ahead = params.look_ahead
        self._patience = params.stop_patience
        self._wrote_at = self._call.now
        self._cleared = 0
        self._is_dirty = False
        # Seconds of audio behind the last that must not be interrupted.
        self._behind_spared = math.inf
        self._marks: list[CallstreamMarkFrame] = []
        self._held: list[tuple[Frame, FrameDirection]] = []
        self._is_speaking_on = False

    async def start(self, frame: StartFrame) -> None:
        """Begin to play."""
        await super().start(frame)
        await self.set_transport_ready(frame)

    # Audio

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Play a chunk as soon as there is less than the look-ahead before it. False if it will not be heard."""
        call, cleared = self._call, self._cleared
        # A goodbye has one patience, or each of its chunks would have the caller wait anew.
        deadline = (self._wrote_at if self._transport.is_leaving else call.now) + self._patience
        while call.is_open and (wait := call.backlog - self._look_ahead) > 0:
            if call.now > deadline:
                self.dropped += 1
                return False
            # Nobody wakes us for room, which comes with time.
            await asyncio.sleep(min(wait, _LOOK))
        if not call.is_open and not self._transport.is_leaving:
            # A mixer asks again at once, for ever.
            await asyncio.sleep(_LOOK)
        is_spared = _is_spared(frame)
        if not call.is_open or self._encode is None or (cleared != self._cleared and not is_spared):
            return False
        before = call.backlog
        try:
            call.say(c.SendAudio(self._encode.feed(frame.audio)))
        except LocalProtocolError:
            self.dropped += 1
            return False
        self._wrote_at = call.now
        self._is_dirty = True
        self._behind_spared = 0.0 if is_spared else self._behind_spared + call.backlog - before
        return True

    # Interruptions

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle a frame; after Pipecat has dropped its own queue, clear the platform's."""
        is_interruption = isinstance(frame, InterruptionFrame)
        if is_interruption and self._transport.is_leaving:
            # A goodbye is heard to its end.
            self.was_spared += 1
            await self.push_frame(frame, direction)
            return
        if isinstance(frame, CallstreamMarkFrame):
            self._marks.append(frame)
        await super().process_frame(frame, direction)
        if is_interruption:
            # What Pipecat has dropped will never be played.
            dropped, self._marks = self._marks, []
            await self._clear()
            for mark in dropped:
                await self._answer(mark)

    async def _clear(self) -> None:
        call = self._call
        self._cleared += 1
        if call.backlog > self._behind_spared:
            self.was_spared += 1
        elif self._is_dirty and call.is_open:
            try:
                heard = call.clear()
            except LocalProtocolError as error:
                await self.push_error(f"not cleared: {error}")
                return
            self._is_dirty = False
            self._behind_spared = math.inf
            self.create_task(self._publish(heard))

    async def _publish(self, heard: asyncio.Future[e.PlayoutCleared | None]) -> None:
        cleared = await heard
        if cleared is not None:
            await self.broadcast_frame(
                CallstreamHeardFrame,
                heard=cleared.heard,
                discarded=cleared.discarded,
                is_estimated=cleared.is_estimated,
            )

    # The end of speech

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        """Push a frame; the news that the bot has stopped waits until the caller has heard the last of it."""
        if isinstance(frame, BotStoppedSpeakingFrame) and self._hold(frame, direction):
            return
        if isinstance(frame, BotStartedSpeakingFrame):
            if self._held:
                # It speaks on before it was silent: neither news is true.
                self._held.clear()
                # What is held from now on waits for another mark.
                self._held = []
                self._is_speaking_on = True
                return
            if self._is_speaking_on:
                self._is_speaking_on = False
                return
            if self._call.is_open:
                # What was played until now (tones, a background) is no part of what the bot says.
                self._call.say(c.EndUtterance())
        await super().push_frame(frame, direction)

    def _hold(self, frame: Frame, direction: FrameDirection) -> bool:
        if self._held:
            self._held.append((frame, direction))
            return True
        call = self._call
        if not call.is_open:
            return False
        before = call.backlog
        if before <= 0:
            # What comes next is another utterance all the same.
            call.say(c.EndUtterance())
            return False
        heard: Awaitable[object]
        try:
            heard = call.end_utterance()
        except LocalProtocolError:
            # Too many marks are open: by the clock, then.
            heard = asyncio.sleep(before)
        self._behind_spared += call.backlog - before
        self._held.append((frame, direction))
        self.create_task(self._release(heard, self._held))
        return True

    async def _release(self, heard: Awaitable[object], held: list[tuple[Frame, FrameDirection]]) -> None:
        await heard
        frames, held[:] = held[:], []
        for frame, direction in frames:
            await super().push_frame(frame, direction)

    # Everything else that the caller or the platform gets

    async def write_transport_frame(self, frame: Frame) -> None:
        """Place a mark behind the audio before it."""
        if isinstance(frame, CallstreamMarkFrame):
            with contextlib.suppress(ValueError):
                self._marks.remove(frame)
            if not await self._say(c.PlaceMark(frame.mark)):
                await self._answer(frame)

    async def _answer(self, frame: CallstreamMarkFrame) -> None:
        """Tell of a mark that will not be placed, from where the others are told of."""
        await self._transport.input().push_frame(CallstreamMarkReachedFrame(mark=frame.mark, was_played=False))

    async def send_message(self, frame: Any) -> None:
        """Say the core's command in a message frame; anybody else's messages are nothing that a telephone takes."""
        if isinstance(frame.message, c.Command):
            await self._say(frame.message)

    def _supports_native_dtmf(self) -> bool:
        return self._call.session.capabilities.sends_digits

    async def _write_dtmf_native(self, frame: Any) -> None:
        for button in frame.buttons or ():
            await self._say(c.SendDigit(button.value))

    async def _say(self, command: c.Command) -> bool:
        # An exception would end the task that plays, and with it the bot's voice.
        try:
            self._call.say(command)
        except LocalProtocolError as error:
            await self.push_error(f"not said: {error}")
            return False
        return True

    # The end

    async def stop(self, frame: EndFrame) -> None:
        """Play out, hang up when the last of it was heard, and see the socket closed."""
        self._transport.is_leaving = True
        self._wrote_at = self._call.now
        await super().stop(frame)
        call = self._call
        if call.is_open:
            try:
                call.say(c.HangUp(c.When.AFTER_PLAYOUT))
            except LocalProtocolError:
                # Nothing plays out now.
                self._hang_up()
        elif call.session.state is State.RINGING:
            self._hang_up()
        await self._wait_gone(call.backlog + _GOODBYE)

    async def cancel(self, frame: CancelFrame) -> None:
        """Hang up now."""
        self._transport.is_leaving = True
        self._hang_up()
        await super().cancel(frame)
        await self._wait_gone(_CLOSE_TIMEOUT)

    async def cleanup(self) -> None:
        """Leave nothing behind."""
        await super().cleanup()
        self._hang_up()
        await self._wait_gone(_CLOSE_TIMEOUT)

    def _hang_up(self) -> None:
        if self._call.session.state not in (State.CLOSED, State.ENDING):
            self._call.say(c.HangUp())

    async def _wait_gone(self, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                await self._call.wait_gone()
        except TimeoutError:
            self._call.fail(1001, "the call did not end in time")


def _is_spared(frame: Frame) -> bool:
    return isinstance(frame, _SPARED) or not getattr(frame, "interruptible", True)
