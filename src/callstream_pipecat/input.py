"""From the call into the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from pipecat.frames.frames import (
    ClientConnectedFrame,
    InputAudioRawFrame,
    InputTransportMessageFrame,
    StartFrame,
)
from pipecat.transports.base_input import BaseInputTransport

from callstream_asyncio import Inbox
from callstream_core import events as e
from callstream_core.audio import linear
from callstream_core.resample import Converter
from callstream_pipecat.frames import frame_of

if TYPE_CHECKING:
    from callstream_pipecat.transport import CallstreamParams, CallstreamTransport


class CallstreamInput(BaseInputTransport):
    """Pushes the caller's audio, digits and marks; keeps hearing until the call is over, whatever the pipeline does."""

    def __init__(self, transport: CallstreamTransport, params: CallstreamParams, **names: Any) -> None:
        super().__init__(params, **names)
        self.inbox: Inbox | None = None
        self._transport = transport
        self._has_tracks = transport.call.session.capabilities.has_tracks
        self._format = transport.call.info.caller_format
        self._streams: dict[str, Converter] = {}
        self._unfiltered = 0
        self._task: Any = None

    @property
    def dropped(self) -> int:
        """Pieces of audio that the pipeline did not take in time."""
        return self._unfiltered + (self.inbox.dropped if self.inbox else 0)

    async def start(self, frame: StartFrame) -> None:
        """Begin to hear."""
        await super().start(frame)
        if self._task is not None:
            return
        await self.set_transport_ready(frame)
        await self._transport.tell("on_client_connected", self._transport.call)
        await self.push_frame(ClientConnectedFrame())
        fills_silence = self._params.fills_silence and not self._has_tracks
        self.inbox = Inbox(self._transport.call, fills_silence=fills_silence, max_waiting=self._params.max_waiting)
        self._task = self.create_task(self._run(self.inbox))

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
            # When the pipeline has ended, the call is heard on, for the sake of what is still played.
            if self._audio_task is not None:
                await self._push_audio(event)
        elif isinstance(event, e.SessionClosed):
            await self._transport.tell_ended(event)
        elif (frame := frame_of(event)) is None:
            if isinstance(event, e.TrackEnded):
                self._streams.pop(event.track, None)
            await self._transport.tell("on_call_event", event)
        elif isinstance(frame, InputTransportMessageFrame):
            await self.broadcast_frame(InputTransportMessageFrame, message=frame.message)
        else:
            await self.push_frame(frame)

    async def _push_audio(self, event: e.AudioReceived) -> None:
        stream = self._streams.get(event.track)
        if stream is None:
            # A track has one party's voice, whatever the stream has.
            source = attrs.evolve(self._format, channels=1) if self._has_tracks else self._format
            stream = self._streams[event.track] = Converter(source, linear(self.sample_rate))
        audio = stream.feed(event.data)
        # Pipecat's own queue has no bound, and a filter may be slow.
        if self._audio_in_queue.qsize() >= self._params.max_waiting:
            self._unfiltered += 1
        elif audio:
            frame = InputAudioRawFrame(audio=audio, sample_rate=self.sample_rate, num_channels=1)
            frame.transport_source = event.track if self._has_tracks else None
            await self.push_audio_frame(frame)
