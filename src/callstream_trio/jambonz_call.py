"""One call of a simulated jambonz on real sockets: those for control, and one for the audio of each `listen`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import attrs
import trio

from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.jambonz import ControlPlatform, PlatformState
from callstream_core.jambonz import JambonzProfile as ControlProfile
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.running import Phase, Running
from callstream_core.outputs import CloseLink, Transmit
from callstream_core.websocket import STRICT
from callstream_trio.dial import DialFailed, DialSettings, connect, open_platform_link
from callstream_trio.hub import Hub, clock
from callstream_trio.jambonz_sockets import AudioEnd, ControlSocket, Stream
from callstream_trio.link import Link
from callstream_trio.listening import audio_order

# Sockets of one call at once: an application can order them faster than it closes them.
_MAX_STREAMS = 8


class Watcher(Protocol):
    """Who wants to know how the call goes, and makes the ends of its audio."""

    def note(self, output: h.PlatformOutput, now: float) -> None:
        """Take what jambonz says, hears or does."""
        ...

    def note_link(self) -> None:
        """Take note that a control socket is open."""
        ...

    def note_refusal(self, error: DialFailed) -> None:
        """Take note that a control socket could not be had."""
        ...

    def note_lost(self, code: int | None, reason: str) -> None:
        """Take note that the application closed a control socket, or that it broke."""
        ...

    def note_unanswered(self) -> None:
        """Take note that the application did not answer jambonz's close of a control socket."""
        ...

    def note_settled(self) -> None:
        """Take note that all has been said and done for now: verbs run, or have ended. Nothing may happen here."""
        ...

    async def make_audio(self, profile: AudioProfile) -> AudioEnd:
        """Return who talks on an audio socket that is about to be opened."""
        ...

    def note_audio(self, end: AudioEnd) -> None:
        """Take note that an audio socket is open."""
        ...

    def note_no_audio(self, why: str, status: int | None) -> None:
        """Take note that an audio socket could not be had; `status` is the HTTP status if there was one."""
        ...

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        ...


class JambonzCall:
    """Does what a `ControlPlatform` wants; the hub serves all sockets and deadlines, and tasks only dial."""

    def __init__(
        self,
        hub: Hub,
        profile: ControlProfile,
        watcher: Watcher,
        *,
        dialling: DialSettings | None = None,
        channel_rate: int = 8000,
    ) -> None:
        self.platform = ControlPlatform(profile)
        self.scheduled: float | None = None
        self._hub = hub
        self._watcher = watcher
        self._dialling = attrs.evolve(dialling or DialSettings(), attempts=1)
        self._channel_rate = channel_rate
        self._dials: dict[int, trio.CancelScope] = {}
        self._sockets: dict[int, ControlSocket] = {}
        """Where control messages go; nearly always there is one."""
        self._open_links: set[Link] = set()
        self._streams: list[Stream] = []
        self._streaming: Running | None = None
        self._nursery: trio.Nursery | None = None
        self._over = trio.Event()

    @property
    def is_over(self) -> bool:
        """Whether no socket is left."""
        return self._over.is_set()

    @property
    def has_audio(self) -> bool:
        """Whether the `listen` that runs has its socket."""
        return any(stream.running is self._streaming and stream.link is not None for stream in self._streams)

    async def run(self) -> None:
        """Call the application, and return when no socket is left."""
        async with trio.open_nursery() as self._nursery:
            try:
                self._follow(self.platform.begin(clock()))
                await self._over.wait()
            finally:
                self.drop()
            self._nursery.cancel_scope.cancel()

    # What happens to the call

    def happen(self, stimulus: h.Stimulus) -> None:
        """Let something happen; it is passed over when the call has ended."""
        if self.platform.state not in (PlatformState.IDLE, PlatformState.CLOSED):
            self._follow(self.platform.send(stimulus, clock()))

    def vanish(self) -> None:
        """Break the control socket that runs the verbs."""
        if self._sockets:
            self._sockets[max(self._sockets)].drop()

    def drop(self) -> None:
        """Cut all sockets without a word, and be done."""
        self._over.set()
        # The hub forgets us.
        self.scheduled = None
        for link in [*self._open_links, *(stream.link for stream in self._streams if stream.link)]:
            link.drop()

    # The hub's side

    def handle_deadline(self, now: float) -> None:
        """Let jambonz do what is due; one that was cut off would dial for ever."""
        if not self.is_over:
            self._follow(self.platform.handle_timeout(now))

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        self._watcher.abandon(error)
        self.drop()

    # What jambonz wants

    def _follow(self, outputs: Iterable[h.PlatformOutput]) -> None:
        now = clock()
        for output in outputs:
            self._watcher.note(output, now)
            link, order = (output.link, output.output) if isinstance(output, h.OnLink) else (0, output)
            if isinstance(order, h.DialLink):
                self._dial(link, order)
            elif isinstance(order, Transmit | CloseLink):
                self._say(link, order)
        self._settle()

    def _say(self, number: int, order: Transmit | CloseLink) -> None:
        if number in self._dials:
            # Nothing is said on a socket that is being opened; jambonz has lost its patience.
            self._dials.pop(number).cancel()
        elif number in self._sockets:
            self._sockets[number].say(order)

    def _settle(self) -> None:
        """After any input: open and close audio, have the next deadline scheduled, and see whether all is over."""
        if self.is_over:
            return
        self._follow_streams()
        due = self.platform.next_timeout()
        if due is not None and (self.scheduled is None or due < self.scheduled):
            self._hub.schedule(self, due)
        self._watcher.note_settled()
        if self.platform.state is not PlatformState.CLOSED:
            return
        for socket in list(self._sockets.values()):
            if not socket.is_closing:
                # jambonz leaves its last word on an open socket; a simulation goes away.
                socket.drop()
        if not self._open_links and not self._dials and not self._streams:
            self._over.set()

    # Control sockets

    def _dial(self, number: int, order: h.DialLink) -> None:
        scope = self._dials[number] = trio.CancelScope()
        if self._nursery is not None and not self.is_over:
            self._nursery.start_soon(self._open, number, order, scope)

    async def _open(self, number: int, order: h.DialLink, scope: trio.CancelScope) -> None:
        headers = (*order.headers.items(), *self._dialling.headers)
        settings = attrs.evolve(self._dialling, headers=headers, needs_subprotocol=True)
        with scope:
            try:
                sock, tls, early = await connect(order.url, settings, (order.subprotocol,))
            except DialFailed as error:
                if self._is_wanted(number, scope):
                    self._watcher.note_refusal(error)
                    self._follow(self.platform.link_refused(_refusal(error), clock(), number))
                return
            if not self._is_wanted(number, scope):
                sock.close()
                return
            socket = self._sockets[number] = ControlSocket(self, number)
            link = Link(self._hub, sock, socket, socket, is_client=True, tls=tls, rules=STRICT)
            self._open_links.add(link)
            socket.attach(link)
            link.start(early)
            self._watcher.note_link()
            self._follow(self.platform.link_opened(clock(), number))
            socket.announce()

    def _is_wanted(self, number: int, scope: trio.CancelScope) -> bool:
        """Whether jambonz still waits for this socket; it does no more."""
        if self._dials.get(number) is not scope:
            return False
        del self._dials[number]
        return True

    def hear(self, socket: ControlSocket, message: str | bytes, now: float) -> None:
        """Take what a control socket has brought."""
        self._follow(self.platform.receive(message, now, socket.number))

    def hear_close(self, socket: ControlSocket, code: int | None, reason: str, now: float) -> None:
        """Take the end of a control socket; jambonz may have another by now."""
        if self._sockets.get(socket.number) is not socket:
            return
        del self._sockets[socket.number]
        if not self.platform.call.is_over and not socket.is_closing:
            self._watcher.note_lost(code, reason)
        self._follow(self.platform.receive_close(code, now, link=socket.number))

    def forget_socket(self, link: Link, *, is_silent: bool) -> None:
        """Take note that a control socket is gone; `is_silent`, without an answer to jambonz's close."""
        if is_silent:
            self._watcher.note_unanswered()
        self._open_links.discard(link)
        self._settle()

    # Audio sockets

    def _follow_streams(self) -> None:
        running = self.platform.call.runner.running
        is_listening = running is not None and isinstance(running.verb, v.Listen) and running.phase is Phase.RUNNING
        streaming = running if is_listening else None
        is_over = self.platform.call.is_over
        if streaming is not self._streaming:
            self._streaming = streaming
            if streaming is not None and self._nursery is not None:
                self._begin_stream(streaming, self._nursery)
        for stream in list(self._streams):
            if stream.running is not streaming and (is_over or not stream.is_tapped):
                stream.hang_up()

    def _begin_stream(self, running: Running, nursery: trio.Nursery) -> None:
        stream = Stream(self, running)
        if len(self._streams) < _MAX_STREAMS:
            self._streams.append(stream)
            nursery.start_soon(self._stream, stream)
        else:
            nursery.start_soon(self._refuse, stream, f"{_MAX_STREAMS} audio sockets are open already; close them", None)

    async def _stream(self, stream: Stream) -> None:
        """Open the audio socket of a verb."""
        call, verb = self.platform.call, stream.running.verb
        assert isinstance(verb, v.Listen)
        with stream.scope:
            try:
                order = audio_order(verb, call.leg, call.profile, channel_rate=self._channel_rate)
                end = stream.end = await self._watcher.make_audio(order.profile)
                settings = attrs.evolve(self._dialling, headers=(*order.headers, *self._dialling.headers))
                link = await open_platform_link(
                    order.url, self._hub, stream, as_platform="jambonz", profile=order.profile, settings=settings
                )
            except (DialFailed, ValueError) as error:
                await self._refuse(stream, str(error), getattr(error, "status", None))
                return
            stream.link = link
            end.attach(link)
            self._watcher.note_audio(end)
            # It may not be wanted any more.
            self._settle()
        if stream.link is None:
            self.forget(stream)

    async def _refuse(self, stream: Stream, why: str, status: int | None) -> None:
        self._watcher.note_no_audio(why, status)
        self.end_verb(stream, {})
        self.forget(stream)

    def end_verb(self, stream: Stream, data: dict[str, Any]) -> None:
        """Let a `listen` come to its end, whose hook reports this."""
        if stream.running is self._streaming:
            self._follow(self.platform.send(h.VerbEnded(data), clock()))

    def forget(self, stream: Stream) -> None:
        """Take note that an audio socket is gone."""
        if stream in self._streams:
            self._streams.remove(stream)
            self._settle()


def _refusal(error: DialFailed) -> h.Refusal:
    """Return how jambonz sees a failure."""
    status = error.status
    if status is None:
        return h.Refusal.CONNECTION
    if status == 101:
        return h.Refusal.SUBPROTOCOL
    return h.Refusal.CLIENT_ERROR if status < 500 else h.Refusal.SERVER_ERROR
