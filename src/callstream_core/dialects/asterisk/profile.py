"""One Asterisk: which generation of the driver, and how the call was dialled."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence

import attrs

from callstream_core.audio import AudioFormat
from callstream_core.dialect import Capabilities, Clock, Patience, PlayoutTraits, Support
from callstream_core.dialects.asterisk.formats import FORMATS
from callstream_core.events import CALLER, Direction, SessionOpened
from callstream_core.websocket import Fragments, WebSocketRules, asterisk_rules


class Generation(enum.IntEnum):
    """Driver generations, by what is new in each."""

    G1 = 10
    """20.16, 21.11, 22.6, 23.0: plain text only."""
    G2_21 = 20
    """21.12: a parser that works, but no `channel_id` in plain text."""
    G2 = 21
    """20.17, 22.7, 23.1: `channel_id` in plain text."""
    G3 = 30
    """20.18, 22.8, 23.2, certified-22.8: JSON, marks, errors."""
    G4 = 40
    """20.19, 22.9, 23.3: media direction; no silence is made any more."""
    G5 = 50
    """20.20, 22.10, 23.4: small fragmented messages are tolerated."""
    G6 = 60
    """20.21, 22.11, 23.5: an idle tick plays the unfinished frame; the close is echoed."""


class Syntax(enum.Enum):
    """The two syntaxes of control messages; one per call, in both directions."""

    PLAIN = "plain-text"
    JSON = "json"


XOFF_LEVEL = 900
XON_LEVEL = 800
MAX_QUEUE = 1000
# A message may come in ten TCP reads at most; 8 kB are six segments of an ordinary network.
_MAX_MESSAGE = 8000


def capabilities_of(
    frame_size: int, *, is_packets: bool, syntax: Syntax, has_channel_id: bool, is_unbuffered: bool = False
) -> Capabilities:
    """Return what a channel can do. An unbuffered one hands frames on as they come: the application paces them."""
    is_paced = is_packets or is_unbuffered
    support = Support.EMULATED if is_paced else Support.NATIVE
    return Capabilities(
        clock=Clock.APP if is_paced else Clock.PLATFORM,
        marks=support,
        clear=support,
        pause=support,
        # Without a channel id it may be generation 1, whose REPORT_QUEUE_DRAINED does nothing.
        drained=support if has_channel_id else Support.EMULATED,
        has_status=True,
        has_flow_control=True,
        has_direction=syntax is Syntax.JSON and not is_packets,
        is_raw=True,
        max_message=_MAX_MESSAGE // frame_size * frame_size if 0 < frame_size <= _MAX_MESSAGE else _MAX_MESSAGE,
        max_queue=XOFF_LEVEL,
        call_continues=None,
    )


@attrs.frozen(kw_only=True)
class AsteriskProfile:
    """What a simulated Asterisk is, or what an application knows about a real one beforehand."""

    generation: Generation = Generation.G5
    syntax: Syntax = Syntax.PLAIN
    """Dial option `f()`, or the global setting."""
    format: str = attrs.field(default="ulaw")
    """Dial option `c()`: Asterisk's name of the codec."""
    passthrough: bool = False
    """Dial option `p`. Codecs of unknown packet size pass through anyway."""
    auto_answer: bool = True
    """False with dial option `n`."""
    direction: Direction = Direction.BOTH
    """Dial option `d()`."""
    is_server: bool = False
    """True where the application connected to Asterisk (`WebSocket/INCOMING`)."""
    connection_id: str = "callstream"
    """The client section's name, or a UUID for INCOMING."""
    channel: str = "WebSocket/callstream/0x7f0000000001"
    channel_id: str = "1700000000.1"
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """Channel variables in the order in which they were set."""
    merges_ticks: bool = False
    """Lose playout slots when ticks come late, as the real timer does on a busy machine."""

    @format.validator
    def _check_format(self, _attribute: object, name: str) -> None:
        if name not in FORMATS:
            raise ValueError(f"unknown codec {name!r}; Asterisk knows {', '.join(FORMATS)}")

    def __attrs_post_init__(self) -> None:
        if self.syntax is Syntax.JSON and self.generation < Generation.G3:
            raise ValueError(f"generation {self.generation.name} speaks plain text only; JSON came with G3")
        if self.direction is not Direction.BOTH and self.generation < Generation.G4:
            raise ValueError(f"generation {self.generation.name} knows no media direction; it came with G4")

    @property
    def audio(self) -> AudioFormat:
        """The channel's format, as announced."""
        return FORMATS[self.format]

    @property
    def is_packets(self) -> bool:
        """Whether the channel passes packets through, by option or because of its codec."""
        return self.passthrough or self.audio.is_packets

    @property
    def has_channel_id(self) -> bool:
        """Whether events name the channel's unique id."""
        return self.syntax is Syntax.JSON or self.generation >= Generation.G2

    @property
    def rules(self) -> WebSocketRules:
        """What the WebSocket layer of this generation enforces."""
        if self.generation < Generation.G3:
            fragments = Fragments.REASSEMBLE
        elif self.generation < Generation.G5:
            fragments = Fragments.REFUSE
        else:
            fragments = Fragments.ASTERISK
        return asterisk_rules(fragments)

    @property
    def playout(self) -> PlayoutTraits:
        """How this generation plays."""
        is_early = self.generation < Generation.G4
        return PlayoutTraits(
            format=self.audio,
            is_packets=self.is_packets,
            # The timer takes whole ticks per second: 33 of 30 ms.
            period=1 / (1000 // round(self.audio.ptime * 1000)),
            xoff_level=XOFF_LEVEL,
            xon_level=XON_LEVEL,
            max_queue=MAX_QUEUE,
            fills_silence=is_early,
            pads_short_frames=is_early,
            leaks_leftover=self.generation >= Generation.G6,
            merges_ticks=self.merges_ticks,
        )

    @property
    def patience(self) -> Patience:
        """Asterisk waits for ever: the dialplan decides."""
        return Patience()

    @property
    def tracks(self) -> Sequence[str]:
        """One caller."""
        return (CALLER,)

    @property
    def crashes_on_pong(self) -> bool:
        """Issue 2085 of the driver: a pong that nobody asked for, sent to the server side, ends the process."""
        return self.generation is Generation.G6 and self.is_server

    def for_call(self, number: int) -> AsteriskProfile:
        """Return the profile of one of many calls, with ids of its own."""
        return attrs.evolve(
            self,
            channel=f"WebSocket/{self.connection_id}/0x{0x7F0000000000 + 0x1C0 * (number + 1):x}",
            channel_id=f"{self.channel_id.partition('.')[0]}.{number + 1}",
        )

    def opening(self) -> SessionOpened:
        """Return MEDIA_START as an event."""
        audio = self.audio
        ids = {"connection_id": self.connection_id, "channel": self.channel}
        if self.has_channel_id:
            ids["channel_id"] = self.channel_id
        variables = {
            "MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE": str(audio.frame_size),
            "MEDIA_WEBSOCKET_CONNECTION_ID": self.connection_id,
        }
        variables = {name: value for name, value in variables.items() if name not in self.variables}
        variables |= self.variables
        return SessionOpened(
            dialect="asterisk",
            profile=self.syntax.value,
            ids=ids,
            call_id=ids.get("channel_id", self.channel),
            caller_format=audio,
            reply_format=audio,
            variables=dict(reversed(variables.items())) if self.syntax is Syntax.JSON else {},
            capabilities=capabilities_of(
                audio.frame_size,
                is_packets=audio.is_packets,
                syntax=self.syntax,
                has_channel_id=self.has_channel_id,
            ),
        )


@attrs.define
class ClientSection:
    """A section of websocket_client.conf, as far as it shapes the request: its URI and what `v()` adds to it."""

    uri: str
    is_sticky: bool = False
    """True as in every real Asterisk: parameters of one call stay for later calls that give none."""
    _parameters: str = ""

    def uri_for(self, parameters: str = "") -> str:
        """Return the URI of the next call, dialled with option `v(parameters)`."""
        if not re.fullmatch(r"([A-Za-z0-9\-_.+=,]|%[0-9A-Fa-f]{2})*", parameters):
            raise ValueError(f"{parameters!r}: v() takes letters, digits, '-_.+', '%hh', and ',' between pairs")
        query = parameters.replace(",", "&")
        if self.is_sticky:
            query = self._parameters = query or self._parameters
        if not query:
            return self.uri
        return f"{self.uri}{'&' if '?' in self.uri else '?'}{query}"
