"""For the stock transport: translation and nothing else."""

from __future__ import annotations

from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
)
from pipecat.serializers.base_serializer import FrameSerializer

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core import events as e
from callstream_core.audio import AudioFormat, linear
from callstream_core.errors import LocalProtocolError, Malformed, Unsupported
from callstream_core.framer import Framer
from callstream_core.resample import Converter
from callstream_pipecat.frames import CallstreamMarkFrame, frame_of


class CallstreamSerializer(FrameSerializer):
    """Translates between a dialect's messages and frames, for transports that take a serializer.

    It only translates. The platform's stop is not obeyed, the bot is said to have stopped before it was heard, a
    hang-up cuts what is queued, calls that want an answer stay unanswered, and audio before the announcement is
    lost: a serializer sends one message per frame and none of its own. Calls with a codec of their own or with
    several parties stay silent, with a warning. `CallstreamTransport` has none of these limits.
    """

    def __init__(self, dialect: str = "asterisk", profile: Any = None) -> None:
        super().__init__()
        self.opened: e.SessionOpened | None = None
        """What the platform announced."""
        self.malformed = 0
        """Messages that could not be read."""
        self._codec = dialects.get(dialect).codec(profile)
        self._decode: Converter | None = None
        self._encode: Converter | None = None
        self._framer: Framer | None = None
        self._rates = (0, 0)

    async def setup(self, setup: Any) -> None:
        """Take the pipeline's sample rates."""
        self._rates = (setup.audio_in_sample_rate, setup.audio_out_sample_rate)
        if self.opened is not None:
            self._begin(self.opened)

    def _begin(self, opened: e.SessionOpened) -> None:
        self.opened = opened
        try:
            self._convert(opened)
        except Unsupported as error:
            # The receive loop would not survive an exception.
            logger.warning("this call stays silent: {}", error)

    def _convert(self, opened: e.SessionOpened) -> None:
        heard, said = self._rates
        reply = opened.reply_format
        if self._codec.capabilities.has_tracks:
            raise Unsupported("each party has a track of its own; CallstreamTransport tells them apart")
        if heard:
            self._decode = Converter(opened.caller_format, linear(heard))
        if said and reply is not None:
            self._encode = Converter(linear(said), reply)
            # Platforms drop what is no whole frame, and after resampling nothing is.
            self._framer = Framer(reply.frame_size)

    async def deserialize(self, data: str | bytes) -> Frame | None:
        """Return the first thing that a message says, if it is something for the pipeline."""
        try:
            events = self._codec.decode_event(data)
        except Malformed:
            self.malformed += 1
            return None
        for event in events:
            if isinstance(event, e.SessionOpened):
                self._begin(event)
            if isinstance(event, e.AudioReceived):
                audio = self._decode.feed(event.data) if self._decode else b""
                return InputAudioRawFrame(audio=audio, sample_rate=self._rates[0], num_channels=1) if audio else None
            if (frame := frame_of(event)) is not None:
                return frame
        return None

    async def serialize(self, frame: Frame) -> str | bytes | None:
        """Return the message that says `frame`, if there is one."""
        command = self._command(frame)
        if command is None or self.opened is None:
            return None
        try:
            messages = self._codec.encode_command(command)
        except LocalProtocolError:
            return None
        return messages[-1] if messages else None

    def _command(self, frame: Frame) -> c.Command | None:
        if isinstance(frame, OutputAudioRawFrame):
            audio = self._framer.feed(self._encode.feed(frame.audio)) if self._encode and self._framer else b""
            return c.SendAudio(audio) if audio else None
        if isinstance(frame, InterruptionFrame):
            return c.ClearPlayout()
        if isinstance(frame, EndFrame | CancelFrame):
            return c.HangUp()
        if isinstance(frame, CallstreamMarkFrame):
            return c.PlaceMark(frame.mark)
        message = getattr(frame, "message", None)
        return message if isinstance(message, c.Command) else None

    @property
    def format(self) -> AudioFormat | None:
        """The format of the call's reply audio, once announced."""
        return self.opened.reply_format if self.opened else None
