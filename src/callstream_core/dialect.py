"""All that a dialect provides: a codec, a transition table, capabilities, and how its platform plays audio."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from callstream_core.audio import AudioFormat
from callstream_core.commands import Command
from callstream_core.events import Direction, Event, PeerMisbehaved, SessionOpened, Side
from callstream_core.machine import Rows, Table, rows_for
from callstream_core.websocket import WebSocketRules


class Clock(enum.Enum):
    """Who decides when a piece of reply audio is played."""

    PLATFORM = "platform"
    """The platform queues what we send and plays it by its own clock."""
    APP = "app"
    """We send each packet when its time has come."""


class Support(enum.Enum):
    """How an ability comes about."""

    NATIVE = "native"
    EMULATED = "emulated"
    """The session does it itself, and says so: `is_estimated`."""
    NONE = "none"


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a platform can do, as far as its opening tells. Engines read these, never a dialect's name."""

    clock: Clock = Clock.PLATFORM
    marks: Support = Support.NATIVE
    clear: Support = Support.NATIVE
    pause: Support = Support.NATIVE
    drained: Support = Support.NATIVE
    has_status: bool = False
    """The platform tells its queue level when asked."""
    has_flow_control: bool = False
    """The platform says when its queue is full and when it takes audio again."""
    has_direction: bool = False
    is_raw: bool = False
    """A binary message is caller audio as it stands, and reply audio is a binary message as it stands."""
    sample_size: int = 1
    """Bytes of one sample; a binary message that is not made of whole samples goes through the codec all the same."""
    sends_digits: bool = False
    """The application can send DTMF."""
    max_message: int = 8000
    """Bytes of reply audio in one message."""
    max_queue: int | None = None
    """Frames that may wait on the platform before it says stop, or throws audio away."""
    holds_first: float = 0.0
    """Seconds of audio that the platform wants to have before it plays anything at all."""
    holds_back: float = 0.0
    """Seconds at the end of what was sent, and less, that it plays only when more follows, and that no clear reaches:
    the session fills up an utterance with silence, and pushes the rest out after a clear."""
    max_marks: int | None = None
    """Marks that may be unanswered at once; the platform drops more without a word."""
    answers_cleared: bool = False
    """The platform itself answers each mark that a clear hits."""
    mistakes_minus_one: bool = False
    """The platform takes the sample -1 for a mark, wherever it is in what is not played yet when a mark comes. The
    session never sends it, and plays -2 instead."""
    plays_clips: bool = False
    """The platform plays whole clips (`PlayClip`, `ClearPlayout`), and no stream."""
    heartbeat: float | None = None
    """Seconds of our own silence after which the platform wants a sign of life."""
    unusable: str | None = None
    """Why no application can talk on this call: the session rejects it at once."""
    call_continues: bool | None = False
    """Whether the phone call goes on when the socket closes."""
    is_tap: bool = False
    """The platform only lets us listen: it takes no audio and no command, not even an answer."""
    has_tracks: bool = False
    """Each party's audio is a track of its own, announced by `TrackStarted`."""
    quiet_opening: float | None = None
    """Seconds after which a missing opening is remarked on, and waited for: the socket may be there long before
    anybody speaks. None: a missing opening ends the session, after `Limits.opening_timeout`."""
    unannounced_rates: tuple[int, ...] = ()
    """The sample rates that may be, where only the platform's settings tell which: its audio is held against the
    clock."""
    platform_closes: bool = True
    """The platform closes the socket when the call has ended."""


class Codec(Protocol):
    """Translates between messages and words for one session; it may remember what the wire needs."""

    @property
    def capabilities(self) -> Capabilities:
        """What the peer can do, as far as the messages so far have shown."""
        ...

    def encode_event(self, event: Event) -> Sequence[str | bytes]:
        """Return the messages that say `event`; none where this platform has no such message."""
        ...

    def decode_event(self, message: str | bytes) -> Sequence[Event]:
        """Return what the platform said. Raise `Malformed` where it cannot be read."""
        ...

    def encode_command(self, command: Command) -> Sequence[str | bytes]:
        """Return the messages that say `command`. Raise `LocalProtocolError` where it would not arrive."""
        ...

    def decode_command(self, message: str | bytes) -> Sequence[Command | PeerMisbehaved]:
        """Return what the application said, and what was wrong with it though it can be understood.

        Raise `Malformed` where the platform would refuse it.
        """
        ...

    def refusal(self, command: Command, direction: Direction) -> str | None:
        """Return why the platform would refuse `command` now, in its own words, or None."""
        ...

    def closing_code(self, code: int | None) -> int | None:
        """Return the code with which the platform answers a close from the application."""
        ...


@attrs.frozen(kw_only=True)
class Prebuffer:
    """How a platform holds back a stream of samples, and what it does to the marks in it."""

    first: int
    """Samples that must have come before any is played."""
    release: int
    """Samples that must have come, ever after, before those are queued."""
    piece: int
    """Bytes in which a message is looked at."""
    max_marks: int
    """Marks that may be unanswered; more are dropped in silence."""
    mark_sample: bytes | None = None
    """A sample of the stream itself that is taken for a mark, too."""
    loses_marks: bool = False
    """Only the first mark in the stream survives: resampling smooths the others away."""
    swallows_marks: bool = False
    """As many marks as were in the stream when it was cleared, or they were forgotten, go unheeded afterwards."""


@attrs.frozen(kw_only=True)
class Clips:
    """How a platform plays clips."""

    max_waiting: int
    """Clips that may wait for their turn; more are dropped in silence."""
    interrupts: bool = True
    """A clip that is not to be queued ends the one that is playing; else it comes next."""
    duration: float | None = None
    """Seconds that every clip lasts, whatever is in it; None for as long as it is."""


@attrs.frozen(kw_only=True)
class PlayoutTraits:
    """How a platform queues and plays what the application sends."""

    format: AudioFormat
    is_packets: bool = False
    """Each message is one entry of the queue, whatever its size."""
    period: float
    """Seconds between two ticks; each takes one entry."""
    xoff_level: int | None = None
    """Frames at which the platform says stop, and below which `xon_level` it says go."""
    xon_level: int | None = None
    max_queue: int | None = None
    """A message that arrives when this many frames wait is dropped whole."""
    fills_silence: bool = False
    """An idle tick plays a frame of silence."""
    pads_short_frames: bool = False
    leaks_leftover: bool = False
    """An idle tick, even a paused one, plays an unfinished frame."""
    joins_messages: bool = False
    """Messages are one stream of bytes: a frame may begin in one and end in the next."""
    max_size: int | None = None
    """Bytes that may be queued; of more, the oldest frames are dropped."""
    prebuffer: Prebuffer | None = None
    """Audio is a stream of samples that is held back before it is queued, with marks between them."""
    clips: Clips | None = None
    """Whole clips are played, and no stream."""
    merges_ticks: bool = False
    """A late tick is served once, as timers that merge expirations do; else each tick that has passed is served."""


@attrs.frozen(kw_only=True)
class Patience:
    """How many seconds a platform waits for its application; None is for ever."""

    answer: float | None = None
    """From the opening to the application's answer."""
    silence: float | None = None
    """Between two signs of life after the answer: audio or `KeepAlive`."""
    duration: float | None = None
    """From the answer to the end of the call."""
    last_digits: str = ""
    """Keys with which the caller ends the session."""


class Profile(Protocol):
    """One variant of a platform: what a simulated call looks like. Dialects have classes of their own."""

    @property
    def rules(self) -> WebSocketRules:
        """What this platform's WebSocket layer enforces."""
        ...

    @property
    def playout(self) -> PlayoutTraits:
        """How it plays."""
        ...

    @property
    def patience(self) -> Patience:
        """How long it waits."""
        ...

    @property
    def direction(self) -> Direction:
        """Which media flows at first."""
        ...

    @property
    def auto_answer(self) -> bool:
        """Whether the platform answers the call by itself."""
        ...

    @property
    def tracks(self) -> Sequence[str]:
        """Names of the tracks that carry the caller's audio, or each party's, from the beginning."""
        ...

    @property
    def crashes_on_pong(self) -> bool:
        """Whether a pong that nobody asked for ends this platform's process."""
        ...

    def opening(self) -> SessionOpened:
        """The first event of a call."""
        ...


@attrs.frozen(kw_only=True)
class Dialect:
    """A way in which a platform speaks. `profile` arguments are the dialect's own class, or None for its default."""

    name: str
    table: Table
    codec: Callable[[Any], Codec]
    """Make a codec for one session of a given profile."""
    profile: Callable[[], Profile]
    """Make the default profile."""
    subprotocols: tuple[str, ...] = ()
    """WebSocket subprotocols of this dialect, best first."""
    offered: tuple[str, ...] | None = None
    """Those that the platform offers when it dials; None for all of them."""
    sends_origin: bool = False
    """The platform, though no browser, names the host that it dials as its Origin."""
    attempts: int = 1
    """How often the platform tries to connect, in all, when the application refuses."""
    paths: tuple[str, ...] = ()
    """Paths at which a server takes calls of this dialect."""
    recognizes: Callable[[str], bool]
    """Tell whether a first text message is this dialect's."""
    rows: Mapping[Side, Rows] = attrs.field(init=False, repr=False, eq=False)
    """The table as each end reads it; made once, for all sessions."""

    @rows.default
    def _split_table(self) -> Mapping[Side, Rows]:
        return {side: rows_for(side, self.table) for side in Side}
