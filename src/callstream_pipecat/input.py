"""From the call into the pipeline."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    InputAudioRawFrame,
    InputTransportMessageFrame,
    StartFrame,
)
from pipecat.transports.base_input import BaseInputTransport

from callstream_core import events as e
from callstream_core.resample import Converter
from callstream_pipecat.frames import frame_of

if TYPE_CHECKING:
    from callstream_pipecat.transport import CallstreamParams, CallstreamTransport

_FRAME = 0.02
_SILENT_AFTER = 0.04
# A timer that comes so late was held up, and so was the caller's audio.
_LATE = 0.01


class CallstreamInput(BaseInputTransport):
    """Pushes the caller's audio, digits and marks; keeps hearing until the call is over, whatever the pipeline does."""

    def __init__(
        self, transport: CallstreamTransport, decode: Converter, params: CallstreamParams, **names: Any
    ) -> None:
        super().__init__(params, **names)
        self.dropped = 0
        """Pieces of caller audio that the pipeline did not take in time."""
        self._transport = transport
        self._decode = decode
        self._limit = params.max_waiting
        self._fills_silence = params.fills_silence
        self._waiting: deque[e.Event] = deque()
        self._arrived = asyncio.Event()
        self._task: Any = None
        self._is_stopped = False

    async def start(self, frame: StartFrame) -> None:
        """Begin to hear."""
        await super().start(frame)
        if self._task is not None:
            return
        await self.set_transport_ready(frame)
        await self._transport.tell("on_client_connected", self._transport.call)
        await self.push_frame(ClientConnectedFrame())
        await self._push(self._transport.call.info)
        self._transport.call.listen(self._hear)
        self._task = self.create_task(self._run())

    async def stop(self, frame: EndFrame) -> None:
        """Push no more audio; the call is heard on, for the sake of what is still played."""
        self._is_stopped = True
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """Push no more audio."""
        self._is_stopped = True
        await super().cancel(frame)

    async def cleanup(self) -> None:
        """Leave nothing behind."""
        await super().cleanup()
        if self._task is not None:
            task, self._task = self._task, None
            await self.cancel_task(task)

    def _hear(self, event: e.Event) -> None:
        if isinstance(event, e.SessionOpened):
            return
        if len(self._waiting) >= self._limit and isinstance(event, e.AudioReceived):
            self.dropped += 1
            return
        self._waiting.append(event)
        self._arrived.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        silent_at = loop.time() + _SILENT_AFTER
        while True:
            if not self._waiting:
                self._arrived.clear()
                due = silent_at if self._fills_silence and not self._is_stopped else None
                try:
                    async with asyncio.timeout_at(due):
                        await self._arrived.wait()
                except TimeoutError:
                    late = loop.time() - silent_at
                    if late < _LATE:
                        silent_at += _FRAME
                        await self._push_silence()
                    else:
                        silent_at = loop.time() + _FRAME
                    continue
            event = self._waiting.popleft()
            if isinstance(event, e.AudioReceived):
                silent_at = loop.time() + _SILENT_AFTER
            await self._push(event)
            if isinstance(event, e.SessionClosed):
                return

    async def _push(self, event: e.Event) -> None:
        if isinstance(event, e.AudioReceived):
            if not self._is_stopped and (audio := self._decode.feed(event.data)):
                await self._push_audio(audio)
        elif isinstance(event, e.SessionClosed):
            await self._transport.tell_ended(event)
        elif (frame := frame_of(event)) is None:
            await self._transport.tell("on_call_event", event)
        elif isinstance(frame, InputTransportMessageFrame):
            await self.broadcast_frame(InputTransportMessageFrame, message=frame.message)
        else:
            await self.push_frame(frame)

    async def _push_silence(self) -> None:
        await self._push_audio(bytes(2 * round(self.sample_rate * _FRAME)))

    async def _push_audio(self, audio: bytes) -> None:
        await self.push_audio_frame(InputAudioRawFrame(audio=audio, sample_rate=self.sample_rate, num_channels=1))
