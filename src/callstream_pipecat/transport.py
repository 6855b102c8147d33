"""A Pipecat transport for one call."""

from __future__ import annotations

from typing import Any

from pipecat.transports.base_transport import BaseTransport, TransportParams
from pydantic import Field

from callstream_asyncio import Call
from callstream_core import events as e
from callstream_core.audio import linear
from callstream_core.resample import Converter
from callstream_pipecat.input import CallstreamInput
from callstream_pipecat.output import CallstreamOutput


class CallstreamParams(TransportParams):
    """Pipecat's parameters, with defaults for the telephone, and a few more."""

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_out_10ms_chunks: int = 2
    audio_out_end_silence_secs: int = 0
    """A hang-up waits for the last word anyhow."""
    look_ahead: float = Field(default=0.3, ge=0, le=5)
    """Seconds of speech that may be on their way to the caller's ear: how long the event loop may stand still
    without a gap, and how far Pipecat's idea of what was said may run ahead."""
    stop_patience: float = Field(default=5.0, ge=0, lt=10)
    """Seconds that a chunk waits while the platform takes none, and all of a goodbye. It is dropped then, and counted;
    Pipecat gives a transport up that takes ten."""
    fills_silence: bool = True
    """Push silence while the platform sends nothing, so that turns end in time. Not where each party has a track."""
    max_waiting: int = Field(default=500, ge=1)
    """Pieces of caller audio that wait for the pipeline; what comes then is dropped, and counted."""


class CallstreamTransport(BaseTransport):
    """Carries one call into a pipeline and out of it.

    Events: `on_client_connected(transport, call)`; `on_client_disconnected(transport, call)` when the other side has
    ended the call; `on_call_ended(transport, closed)` at every end; `on_call_event(transport, event)` for everything
    that becomes no frame.

    Raises:
        Unsupported: for calls whose audio only a codec of your own can read (opus, g722, …).
    """

    def __init__(self, call: Call, params: CallstreamParams | None = None, **names: Any) -> None:
        super().__init__(**names)
        info = call.info
        reply = info.reply_format
        self.call = call
        self.is_leaving = False
        """Whether the pipeline has ended the call."""
        self.params = (params or CallstreamParams()).model_copy()
        self.params.audio_in_sample_rate = info.caller_format.rate
        self.params.audio_in_channels = 1
        self.params.audio_out_sample_rate = (reply or info.caller_format).rate
        self.params.audio_out_channels = 1
        if reply is None:
            self.params.audio_out_enabled = False
        # Refused here, if at all: later is too late.
        Converter(info.caller_format, linear(info.caller_format.rate))
        self._encode = Converter(linear(reply.rate), reply) if reply else None
        for name in ("on_client_connected", "on_client_disconnected", "on_call_ended", "on_call_event"):
            self._register_event_handler(name)
        self._input: CallstreamInput | None = None
        self._output: CallstreamOutput | None = None

    @property
    def rates(self) -> dict[str, int]:
        """The call's sample rates, as `PipelineParams` wants them."""
        return {
            "audio_in_sample_rate": self.params.audio_in_sample_rate,
            "audio_out_sample_rate": self.params.audio_out_sample_rate,
        }

    def input(self) -> CallstreamInput:
        """Return the processor that the caller's audio comes from."""
        if self._input is None:
            self._input = CallstreamInput(self, self.params, name=self._input_name)
        return self._input

    def output(self) -> CallstreamOutput:
        """Return the processor that plays to the caller."""
        if self._output is None:
            self._output = CallstreamOutput(self, self._encode, self.params, name=self._output_name)
        return self._output

    async def tell(self, name: str, *arguments: object) -> None:
        """Call the handlers of an event."""
        await self._call_event_handler(name, *arguments)

    async def tell_ended(self, closed: e.SessionClosed) -> None:
        """Call the handlers of the end."""
        if closed.initiator is e.Side.PLATFORM:
            await self.tell("on_client_disconnected", self.call)
        await self.tell("on_call_ended", closed)
