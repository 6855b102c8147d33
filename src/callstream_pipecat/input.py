"""From the call into the pipeline."""

from __future__ import annotations

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

from callstream_asyncio import Inbox
from callstream_core import events as e
from callstream_core.resample import Converter
from callstream_pipecat.frames import frame_of

if TYPE_CHECKING:
    from callstream_pipecat.transport import CallstreamParams, CallstreamTransport


class CallstreamInput(BaseInputTransport):
    """Pushes the caller's audio, digits and marks; keeps hearing until the call is over, whatever the pipeline does."""

    def __init__(
        self, transport: CallstreamTransport, decode: Converter, params: CallstreamParams, **names: Any
    ) -> None:
        super().__init__(params, **names)
        self.inbox: Inbox | None = None
        self._transport = transport
        self._decode = decode
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
        self.inbox = Inbox(
            self._transport.call, fills_silence=self._params.fills_silence, max_waiting=self._params.max_waiting
        )
        self._task = self.create_task(self._run(self.inbox))

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

    async def _run(self, inbox: Inbox) -> None:
        event: e.Event | None = None
        while not isinstance(event, e.SessionClosed):
            event = await inbox.next()
            await self._push(event)

    async def _push(self, event: e.Event) -> None:
        if isinstance(event, e.AudioReceived):
            if not self._is_stopped and (audio := self._decode.feed(event.data)):
                await self.push_audio_frame(
                    InputAudioRawFrame(audio=audio, sample_rate=self.sample_rate, num_channels=1)
                )
        elif isinstance(event, e.SessionClosed):
            await self._transport.tell_ended(event)
        elif (frame := frame_of(event)) is None:
            await self._transport.tell("on_call_event", event)
        elif isinstance(frame, InputTransportMessageFrame):
            await self.broadcast_frame(InputTransportMessageFrame, message=frame.message)
        else:
            await self.push_frame(frame)
