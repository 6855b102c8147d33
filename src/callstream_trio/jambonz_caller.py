"""The other end of jambonz calls, for your tests: a call with all its sockets, and everything that may happen to it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import trio

from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.jambonz import ControlPlatform, JambonzProfile
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz.running import Phase, Running
from callstream_core.jambonz.values import Verb
from callstream_trio.caller import Caller
from callstream_trio.dial import DialFailed, DialSettings
from callstream_trio.hub import Hub
from callstream_trio.jambonz_call import JambonzCall
from callstream_trio.jambonz_sockets import AudioEnd
from callstream_trio.listening import hooked

_MAX_HEARD = 65536
_PATIENCE = 2.0

Wanted = TypeVar("Wanted", bound=Verb)


class JambonzCaller:
    """A simulated jambonz and its caller. `audio` is that of the `listen` that runs, or ran last."""

    def __init__(
        self, hub: Hub, profile: JambonzProfile, *, dialling: DialSettings | None = None, channel_rate: int = 8000
    ) -> None:
        self.audio: Caller | None = None
        self.heard: deque[h.PlatformOutput] = deque(maxlen=_MAX_HEARD)
        """What jambonz said, heard and did."""
        self.sockets = 0
        """Control sockets so far."""
        self.refusals: list[DialFailed] = []
        """Control sockets that could not be had."""
        self.audio_refusals: list[tuple[str, int | None]] = []
        """Audio sockets that could not be had: why, and the HTTP status if there was one."""
        self._hub = hub
        self._call = JambonzCall(hub, profile, self, dialling=dialling, channel_rate=channel_rate)
        self._met: Running | None = None
        self._failure: Exception | None = None
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Call the application, and return when no socket is left."""
        try:
            await self._call.run()
        finally:
            self._changed.unpark_all()
        if self._failure is not None:
            raise self._failure

    # Read-outs

    @property
    def platform(self) -> ControlPlatform:
        """The engine underneath: the call's state, and the verb that runs."""
        return self._call.platform

    @property
    def is_over(self) -> bool:
        """Whether no socket is left."""
        return self._call.is_over

    # What happens to the call

    def happen(self, *stimuli: h.Stimulus) -> None:
        """Let something happen: one of `callstream_core.jambonz.happenings`."""
        for stimulus in stimuli:
            self._call.happen(stimulus)

    def press(self, digits: str) -> None:
        """Press keys; a verb hears them, and the application, where `passDtmf` tells it."""
        for digit in digits:
            if self.audio is not None and self.audio.ended is None:
                self.audio.press(digit)
            self.happen(h.KeyPressed(digit))

    def speak(self, transcript: str) -> None:
        """Say something that the recognizer understands."""
        self.happen(h.CallerSpoke(transcript))

    def hang_up(self) -> None:
        """End the call."""
        self.happen(h.CallerHungUp())

    def vanish(self) -> None:
        """Break the control socket; jambonz dials again, and says `session:reconnect`."""
        self._call.vanish()

    # What it waits for

    async def until(self, is_true: Callable[[], object]) -> None:
        """Wait until something holds that the call's course can change, or no socket is left."""
        while not is_true() and not self.is_over:
            await self._changed.park()

    async def verb(self, kind: type[Wanted]) -> Wanted:
        """Wait until a verb of this kind runs that was not waited for before, and return it."""
        found: Running | None = None

        def is_met() -> bool:
            nonlocal found
            running = self.platform.call.runner.running
            if running is None or running is self._met or running.phase is not Phase.RUNNING:
                return False
            found = running if isinstance(running.verb, kind) else None
            return found is not None

        await self.until(is_met)
        if found is None:
            raise RuntimeError(f"the call is over, and {kind.word} never ran")
        self._met = found
        assert isinstance(found.verb, kind)
        return found.verb

    async def wait_audio(self) -> Caller:
        """Wait for an audio socket."""
        await self.until(lambda: self.audio is not None)
        if self.audio is None:
            raise RuntimeError("the call is over, and had no audio")
        return self.audio

    async def wait_over(self) -> None:
        """Wait until no socket is left."""
        await self.until(lambda: False)

    # What the call tells

    def note(self, output: h.PlatformOutput, _now: float) -> None:
        """Keep what jambonz said, heard or did."""
        self.heard.append(output)

    def note_link(self) -> None:
        """Count a control socket."""
        self.sockets += 1

    def note_refusal(self, error: DialFailed) -> None:
        """Keep why a control socket could not be had."""
        self.refusals.append(error)

    def note_lost(self, _code: int | None, _reason: str) -> None:
        """It shows in what is said next."""

    def note_unanswered(self) -> None:
        """No harm is done."""

    def note_settled(self) -> None:
        """Let those who wait look again."""
        self._changed.unpark_all()

    async def make_audio(self, _profile: AudioProfile) -> AudioEnd:
        """Return a caller that does what a test tells it."""
        return Caller(self._hub)

    def note_audio(self, end: AudioEnd) -> None:
        """Take the audio that is open."""
        assert isinstance(end, Caller)
        self.audio = end
        self._changed.unpark_all()

    def note_no_audio(self, why: str, status: int | None) -> None:
        """Keep why an audio socket could not be had."""
        self.audio_refusals.append((why, status))

    def abandon(self, error: Exception) -> None:
        """Raise a fault of our own where the call runs."""
        self._failure = error
        self._call.drop()


@asynccontextmanager
async def dial_jambonz(
    url: str,
    *,
    profile: JambonzProfile | None = None,
    hub: Hub | None = None,
    settings: DialSettings | None = None,
    channel_rate: int = 8000,
) -> AsyncIterator[JambonzCaller]:
    """Call an application as jambonz does: by its control socket, and the audio sockets that it orders.

    A name and a password in `url` are those of the hook. Leaving the block hangs up. Whether the application can be
    reached shows in the call: `refusals`, and what the caller was answered.
    """
    async with AsyncExitStack() as stack:
        if hub is None:
            hub = await stack.enter_async_context(Hub().running())
        caller = JambonzCaller(hub, hooked(url, profile), dialling=settings, channel_rate=channel_rate)
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.run)
            try:
                yield caller
            except Exception as error:
                # Not the call's: it is raised again outside the nursery, which would put it into a group.
                failure = error
            with trio.move_on_after(_PATIENCE):
                caller.hang_up()
                await caller.wait_over()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
