"""A thin Trio shell around callstream_core: a server for calls, and the caller that plays the platform."""

from callstream_trio.admission import Admission, Basic, HeaderToken, QueryToken
from callstream_trio.call import Call, CallEnded, CallLimits, CallStats
from callstream_trio.caller import Caller, dial
from callstream_trio.carry import carry
from callstream_trio.collector import spare_calls
from callstream_trio.control import Control
from callstream_trio.dial import DialFailed, DialSettings, join, joined
from callstream_trio.hub import Hub, clock
from callstream_trio.jambonz import JambonzSettings
from callstream_trio.jambonz_caller import JambonzCaller, dial_jambonz
from callstream_trio.server import Handler, Server, ServerLimits, ServerSettings, serve, serve_verbs
from callstream_trio.simulate import CallPlan, run_calls
from callstream_trio.sinks import Bridge, Echo, Sink

__all__ = [
    "Admission",
    "Basic",
    "Bridge",
    "Call",
    "CallEnded",
    "CallLimits",
    "CallPlan",
    "CallStats",
    "Caller",
    "Control",
    "DialFailed",
    "DialSettings",
    "Echo",
    "Handler",
    "HeaderToken",
    "Hub",
    "JambonzCaller",
    "JambonzSettings",
    "QueryToken",
    "Server",
    "ServerLimits",
    "ServerSettings",
    "Sink",
    "carry",
    "clock",
    "dial",
    "dial_jambonz",
    "join",
    "joined",
    "run_calls",
    "serve",
    "serve_verbs",
    "spare_calls",
]
