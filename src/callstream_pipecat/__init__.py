"""Phone calls for Pipecat: a transport that plays what the caller really hears, and tells how much of it."""

from callstream_pipecat.app import accept, create_app, run_pipeline, serve
from callstream_pipecat.frames import CallstreamHeardFrame, CallstreamMarkFrame, CallstreamMarkReachedFrame
from callstream_pipecat.serializer import CallstreamSerializer
from callstream_pipecat.transport import CallstreamParams, CallstreamTransport

__all__ = [
    "CallstreamHeardFrame",
    "CallstreamMarkFrame",
    "CallstreamMarkReachedFrame",
    "CallstreamParams",
    "CallstreamSerializer",
    "CallstreamTransport",
    "accept",
    "create_app",
    "run_pipeline",
    "serve",
]
