"""Sans-IO protocol engines for phone audio over WebSockets: no I/O, no clock, no event loop."""

from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.audio import AudioFormat, linear
from callstream_core.dialect import Capabilities, Clock, Dialect, Support
from callstream_core.dialects import detect
from callstream_core.errors import LocalProtocolError, PendingAudioFull, Unsupported
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import State
from callstream_core.platform_session import PlatformSession

__all__ = [
    "AppSession",
    "AudioFormat",
    "Capabilities",
    "Clock",
    "Dialect",
    "Limits",
    "LocalProtocolError",
    "PendingAudioFull",
    "PlatformSession",
    "PlayoutSettings",
    "State",
    "Support",
    "Unsupported",
    "detect",
    "dialects",
    "linear",
]
