"""What befalls a simulated call, and what its platform does beyond the control socket."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from callstream_core.jambonz.orders import Ack, Order
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.jambonz.values import Object, Verb
from callstream_core.jambonz.words import ControlClosed, Notice
from callstream_core.outputs import CloseLink, Transmit

# What a simulation tells the platform


@attrs.frozen
class CallerHungUp:
    """The caller sends BYE, or cancels a call that rings."""

    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class KeyPressed:
    """The caller presses a key."""

    digit: str
    duration: int = 100
    """Milliseconds."""
    is_callee: bool = False
    """The dialled party presses it, while verbs run on its leg."""


@attrs.frozen
class CallerSpoke:
    """The recognizer has understood the caller."""

    transcript: str
    confidence: float = 1.0
    is_final: bool = True
    is_callee: bool = False
    """The dialled party says it, while verbs run on its leg."""


@attrs.frozen
class FarEndRang:
    """The dialled party rings."""

    status: int = 180


@attrs.frozen
class FarEndAnswered:
    """The dialled party answers."""


@attrs.frozen
class FarEndRefused:
    """The dialled party does not want to talk."""

    status: int = 486
    reason: str = "Busy Here"


@attrs.frozen
class FarEndHungUp:
    """The dialled party hangs up."""

    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class FarEndPromoted:
    """The dialled party's leg becomes a call of its own: it was referred, or its caller has left it behind."""


@attrs.frozen
class VerbEnded:
    """The running verb comes to its own end; `data` is what its hook reports besides the call."""

    data: Object = attrs.field(factory=dict)


@attrs.frozen
class SpeechConnected:
    """The vendor of streamed speech is connected."""


@attrs.frozen
class SpeechRefused:
    """The vendor of streamed speech cannot be reached."""

    vendor: str = "elevenlabs"


@attrs.frozen
class SpeechInterrupted:
    """The caller interrupts streamed speech."""


@attrs.frozen
class LlmSaid:
    """The model's vendor sends an event."""

    event: Object


@attrs.frozen
class LlmCalledTool:
    """The model calls a tool."""

    tool_call_id: str
    name: str
    args: Any = None


@attrs.frozen
class HttpAnswered:
    """The web server of an http hook has answered."""

    verbs: tuple[Verb, ...] | None = None


MachineHappening = SpeechConnected | SpeechRefused | SpeechInterrupted | LlmSaid | LlmCalledTool
"""What happens to streamed speech or to a model."""
Happening = (
    CallerHungUp
    | KeyPressed
    | CallerSpoke
    | FarEndRang
    | FarEndAnswered
    | FarEndRefused
    | FarEndHungUp
    | FarEndPromoted
    | VerbEnded
    | MachineHappening
    | HttpAnswered
)


class Refusal(enum.Enum):
    """Why a socket could not be opened, by what retries it (`#rp=`)."""

    CONNECTION = "ct"
    """Refused, reset, timed out before the handshake."""
    HANDSHAKE = "rt"
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    SUBPROTOCOL = "-"
    """The server accepted, and chose no subprotocol: never retried."""


# What the platform does


@attrs.frozen
class DialLink:
    """Open a WebSocket to the application; tell how it went by `link_opened` or `link_refused`."""

    url: str
    headers: Mapping[str, str]
    subprotocol: str


@attrs.frozen
class OnLink:
    """The output belongs to another socket of the call than its first."""

    link: int
    output: DialLink | Transmit | CloseLink


@attrs.frozen(kw_only=True)
class Responded:
    """The platform answered the caller's INVITE."""

    status: int
    reason: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Requested:
    """The platform sent a SIP request to the caller or to its border."""

    method: str
    headers: Mapping[str, Any] = attrs.field(factory=dict)
    body: str | None = None


@attrs.frozen
class HttpRequested:
    """The platform asks an http hook; nothing of it is seen on the socket. Answer by `HttpAnswered`."""

    url: str
    data: Object


@attrs.frozen
class TextSpoken:
    """Streamed text went to the vendor of speech."""

    text: str


@attrs.frozen
class CallBegan:
    """A leg has become a call of its own: run a `ControlPlatform` with this profile for it."""

    profile: JambonzProfile


@attrs.frozen
class Logged:
    """What the platform would only write to its log."""

    text: str


PlatformOutput = (
    Transmit
    | CloseLink
    | DialLink
    | OnLink
    | Ack
    | Order
    | Responded
    | Requested
    | HttpRequested
    | TextSpoken
    | CallBegan
    | Logged
    | ControlClosed
)
Stimulus = Happening | Notice
