"""The other end, for your tests: call an application as its platform would, and hear what the caller hears."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.audio import AudioFormat
from callstream_core.dialect import Profile
from callstream_core.machine import State
from callstream_core.outputs import FramePlayed
from callstream_core.pacer import Pacer
from callstream_core.platform_session import PlatformSession
from callstream_trio.dial import DialSettings, open_platform_link
from callstream_trio.hub import Hub, clock
from callstream_trio.link import Link
from callstream_trio.owner import Said
from callstream_trio.voice import said_format

Heard = c.Command | FramePlayed | e.PeerMisbehaved | e.SessionClosed
"""What a caller hears: commands, frames as they are played, mistakes of the application, the end."""

_MAX_HEARD = 65536
_MAX_AUDIO = 64 * 1024 * 1024
_CLOSE_TIMEOUT = 2.0


class Caller:
    """The platform end of one call. What it says takes effect at once; audio leaves frame by frame, in its own time."""

    def __init__(self, hub: Hub) -> None:
        self.heard_audio = bytearray()
        """Everything that was played to the caller so far, without the silence between."""
        self.ended: e.SessionClosed | None = None
        """How the call ended, once it has."""
        self.dropped = 0
        """What nobody iterated over in time."""
        self.scheduled: float | None = None
        self._hub = hub
        self._heard: deque[Heard] = deque()
        self._link: Link | None = None
        self._waiting: dict[str, deque[bytes]] = {}
        self._pacer: Pacer | None = None
        self._is_gone = False
        self._changed = trio.lowlevel.ParkingLot()

    # Read-outs

    @property
    def session(self) -> PlatformSession:
        """The engine underneath."""
        session = self._link.session if self._link else None
        if not isinstance(session, PlatformSession):
            raise RuntimeError("the call is not connected")
        return session

    @property
    def format(self) -> AudioFormat:
        """What one party says, as the call's audio is announced."""
        return said_format(self.session.profile)

    @property
    def is_answered(self) -> bool:
        """Whether the application has taken the call, or the platform itself."""
        return self.session.is_answered

    # What the caller does

    def say_audio(self, data: bytes, *, track: str | None = None) -> None:
        """Speak, in the call's format: as the first party, or on the track of another. The last frame is filled up."""
        audio = self.format
        if self._pacer is None:
            self._pacer = Pacer(audio.ptime, max_burst_packets=1000)
        waiting = self._waiting.setdefault(track or self.session.profile.tracks[0], deque())
        if self.session.profile.playout.is_packets:
            waiting.append(data)
        else:
            data += audio.silence(-len(data) % audio.frame_size)
            for start in range(0, len(data), audio.frame_size):
                waiting.append(data[start : start + audio.frame_size])
        # Where the application has to answer first, the caller waits for that.
        if waiting and self.session.state is not State.RINGING:
            self._talk(clock())

    def _talk(self, now: float) -> None:
        if self._pacer is not None and self.scheduled is None:
            self._pacer.begin(now)
            self._hub.schedule(self, max(self._pacer.next_due, now))

    def press(self, digits: str) -> None:
        """Press keys."""
        for digit in digits:
            self._say(e.DigitReceived(digit))

    def join(self, track: str, **details: str) -> None:
        """Have another party join, where each has a track of its own; `details` are the platform's own words."""
        self._say(e.TrackStarted(track=track, format=self.format, details=details))

    def leave(self, track: str) -> None:
        """Have a party leave, whatever it was about to say."""
        self._waiting.pop(track, None)
        self._say(e.TrackEnded(track))

    def hang_up(self) -> None:
        """End the call."""
        if self.ended is None:
            self._say(e.SessionEnding())

    def vanish(self) -> None:
        """Cut the connection without a word, as a broken line would."""
        if self._link is not None:
            self._link.drop()

    def _say(self, event: e.Event) -> None:
        if self._link is None or self.ended is not None:
            raise RuntimeError("the call is over")
        self._link.say(event)

    # What the caller hears

    def __aiter__(self) -> Caller:
        """Iterate over everything heard; the last is `SessionClosed`. A loop that was left can be taken up again."""
        return self

    async def __anext__(self) -> Heard:
        """Return what is heard next."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._heard:
            if self._is_gone or self.ended is not None:
                raise StopAsyncIteration
            await self._changed.park()
        return self._heard.popleft()

    async def wait_heard(self, size: int) -> None:
        """Wait until so many bytes were played to the caller, or the call has ended."""
        while len(self.heard_audio) < size and not self._is_gone:
            await self._changed.park()

    async def wait_ended(self) -> e.SessionClosed:
        """Wait for the end of the call."""
        while self.ended is None:
            await self._changed.park()
        return self.ended

    async def wait_gone(self) -> None:
        """Wait until the socket is closed."""
        while not self._is_gone:
            await self._changed.park()

    # The link's and the hub's side

    def attach(self, link: Link) -> None:
        """Take the link that carries this call."""
        self._link = link

    def hear(self, said: Said, now: float) -> tuple[()]:
        """Take what the session heard."""
        if isinstance(said, FramePlayed):
            if len(self.heard_audio) < _MAX_AUDIO:
                self.heard_audio += said.data
        elif isinstance(said, e.SessionClosed):
            self.ended = said
            self._waiting.clear()
        elif isinstance(said, c.Answer):
            self._talk(now)
        if len(self._heard) == _MAX_HEARD:
            self._heard.popleft()
            self.dropped += 1
        self._heard.append(said)  # type: ignore[arg-type]
        if self._changed:
            self._changed.unpark_all()
        return ()

    def refused(self) -> None:
        """Nothing is said in reply here."""

    def closed(self) -> None:
        """Take note that the socket is gone."""
        self._is_gone = True
        self._changed.unpark_all()

    def handle_deadline(self, now: float) -> None:
        """Say the frames that are due."""
        pacer, link = self._pacer, self._link
        if pacer is None or link is None:
            return
        for _ in range(pacer.take(now, max(map(len, self._waiting.values()), default=0))):
            for track, waiting in list(self._waiting.items()):
                if waiting and self.ended is None:
                    link.say(e.AudioReceived(waiting.popleft(), track))
        if any(self._waiting.values()):
            self._hub.schedule(self, pacer.next_due)

    def abandon(self, _error: Exception) -> None:
        """Give up after a fault of our own."""
        self._waiting.clear()
        self.vanish()


@asynccontextmanager
async def dial(
    url: str,
    as_platform: str = "asterisk",
    *,
    profile: Profile | None = None,
    hub: Hub | None = None,
    settings: DialSettings | None = None,
) -> AsyncIterator[Caller]:
    """Call an application as a platform would. Leaving the block hangs up.

    `profile` is the platform's own description of the call (for Asterisk, an `AsteriskProfile`). Several calls may
    share a running `hub`.

    Raises:
        DialFailed: if no WebSocket comes about.
    """
    async with AsyncExitStack() as stack:
        if hub is None:
            hub = await stack.enter_async_context(Hub().running())
        caller = Caller(hub)
        link = await open_platform_link(
            url, hub, caller, as_platform=as_platform, profile=profile, settings=settings or DialSettings(attempts=1)
        )
        caller.attach(link)
        try:
            yield caller
        finally:
            await leave(caller, link)


async def leave(caller: Caller, link: Link) -> None:
    """Hang up if that was not done, and see the socket closed."""
    try:
        caller.hang_up()
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await caller.wait_gone()
    finally:
        if not link.is_gone:
            link.drop()
