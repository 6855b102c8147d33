"""jambonz call control (`ws.jambonz.org`): verbs, hooks, acks and commands, for both ends of the socket.

`ControlSession` is the application's end of one socket, `ControlPlatform` a simulated jambonz with all sockets of one
call. `verbs` and `parts` hold what a call can be told to do, `words` what jambonz says, `results`
what hooks report, `orders` what it is told, and
`happenings` what befalls a simulated call.
"""

from callstream_core.jambonz import happenings, orders, parts, results, verbs, words
from callstream_core.jambonz.call_memory import CallMemory
from callstream_core.jambonz.codec import SUBPROTOCOL
from callstream_core.jambonz.control_platform import ControlPlatform
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.control_state import ControlState, choose_subprotocol
from callstream_core.jambonz.limits import ControlLimits, ControlSettings
from callstream_core.jambonz.phone_call import PlatformState
from callstream_core.jambonz.profile import JambonzProfile

__all__ = [
    "SUBPROTOCOL",
    "CallMemory",
    "ControlLimits",
    "ControlPlatform",
    "ControlSession",
    "ControlSettings",
    "ControlState",
    "JambonzProfile",
    "PlatformState",
    "choose_subprotocol",
    "happenings",
    "orders",
    "parts",
    "results",
    "verbs",
    "words",
]
