"""From the pipeline to the caller's ear."""

from __future__ import annotations

import asyncio
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
from callstream_pipecat.frames import CallstreamHeardFrame, CallstreamMarkFrame

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
        self._transport = transport
        self.was_spared = 0
        """Interruptions that cleared nothing, for the sake of audio that must be heard."""
        self._call = transport.call
        self._encode = encode
        self._look_ahead = params.look_ahead
        self._patience = params.stop_patience
        self._cleared = 0
        self._is_dirty = False
        self._spared_until = 0.0
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
        deadline = call.now + self._patience
        while call.is_open and (wait := call.backlog - self._look_ahead) > 0:
            if call.now > deadline:
                self.dropped += 1
                return False
            # Nobody wakes us for room, which comes with time.
            await asyncio.sleep(min(wait, _LOOK))
        is_spared = not getattr(frame, "interruptible", True) or isinstance(frame, _SPARED)
        if not call.is_open or self._encode is None or (cleared != self._cleared and not is_spared):
            return False
        try:
            call.say(c.SendAudio(self._encode.feed(frame.audio)))
        except LocalProtocolError:
            self.dropped += 1
            return False
        self._is_dirty = True
        if is_spared:
            self._spared_until = call.now + call.backlog
        return True

    # Interruptions

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle a frame; after Pipecat has dropped its own queue, clear the platform's."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._clear()

    def _clear(self) -> None:
        call = self._call
        self._cleared += 1
        if call.now < self._spared_until:
            self.was_spared += 1
            return
        if not self._is_dirty or call.session.state is State.CLOSED:
            return
        self._is_dirty = False
        try:
            heard = call.clear()
        except LocalProtocolError:
            # In the middle of a goodbye that nothing interrupts.
            return
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
                self._is_speaking_on = True
                return
            if self._is_speaking_on:
                self._is_speaking_on = False
                return
        await super().push_frame(frame, direction)

    def _hold(self, frame: Frame, direction: FrameDirection) -> bool:
        if self._held:
            self._held.append((frame, direction))
            return True
        if not self._call.is_open or self._call.backlog <= 0:
            return False
        try:
            mark = self._call.end_utterance()
        except LocalProtocolError:
            return False
        self._held.append((frame, direction))
        self.create_task(self._release(mark, self._held))
        return True

    async def _release(self, mark: asyncio.Future[e.MarkReached], held: list[tuple[Frame, FrameDirection]]) -> None:
        await mark
        frames, held[:] = held[:], []
        for frame, direction in frames:
            await super().push_frame(frame, direction)

    # Everything else that the caller or the platform gets

    async def write_transport_frame(self, frame: Frame) -> None:
        """Place a mark behind the audio before it."""
        if isinstance(frame, CallstreamMarkFrame) and self._call.is_open:
            self._call.say(c.PlaceMark(frame.mark))

    async def send_message(self, frame: Any) -> None:
        """Say the core's command in a message frame; anybody else's messages are nothing that a telephone takes."""
        if isinstance(frame.message, c.Command) and self._call.ended is None:
            self._call.say(frame.message)

    def _supports_native_dtmf(self) -> bool:
        return self._call.session.capabilities.sends_digits

    async def _write_dtmf_native(self, frame: Any) -> None:
        for button in getattr(frame, "buttons", None) or [frame.button]:
            self._call.say(c.SendDigit(button.value))

    # The end

    async def stop(self, frame: EndFrame) -> None:
        """Play out, hang up when the last of it was heard, and see the socket closed."""
        await super().stop(frame)
        call = self._call
        self._transport.is_leaving = True
        if call.is_open:
            call.say(c.HangUp(c.When.AFTER_PLAYOUT))
        await self._wait_gone(call.backlog + _GOODBYE)

    async def cancel(self, frame: CancelFrame) -> None:
        """Hang up now."""
        self._transport.is_leaving = True
        self._hang_up()
        await super().cancel(frame)
        await self._wait_gone(_CLOSE_TIMEOUT)

    async def cleanup(self) -> None:
        """Leave nothing behind."""
        # Up to 1.12, an interruption in the middle of the end leaves tasks that nothing else ends.
        await super().cancel(CancelFrame())
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
