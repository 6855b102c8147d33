"""An echo bot for phone calls, with Pipecat: hear yourself; `#` hangs up when everything was heard."""

import sys

from pipecat.frames.frames import EndWorkerFrame, Frame, InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from callstream_pipecat import CallstreamTransport, create_app, run_pipeline, serve


class Echo(FrameProcessor):
    """Gives back what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            frame = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
        elif isinstance(frame, InputDTMFFrame) and frame.button.value == "#":
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
        await self.push_frame(frame, direction)


async def bot(transport: CallstreamTransport) -> None:
    """Runs for each call, until it is over."""
    await run_pipeline(transport, [Echo()])


if __name__ == "__main__":
    serve(create_app(bot), port=int(sys.argv[1]) if sys.argv[1:] else 8787)
