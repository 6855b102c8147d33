"""A thin Trio shell around callstream_core: a server for calls, and the caller that plays the platform."""

from callstream_trio.admission import Admission, Basic, HeaderToken, QueryToken
from callstream_trio.call import Call, CallEnded, CallLimits, CallStats
from callstream_trio.hub import Hub, clock
from callstream_trio.server import Handler, Server, ServerLimits, ServerSettings, serve
from callstream_trio.sinks import Echo, Sink

__all__ = [
    "Admission",
    "Basic",
    "Call",
    "CallEnded",
    "CallLimits",
    "CallStats",
    "Echo",
    "Handler",
    "HeaderToken",
    "Hub",
    "QueryToken",
    "Server",
    "ServerLimits",
    "ServerSettings",
    "Sink",
    "clock",
    "serve",
]
