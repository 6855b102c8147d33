"""A call, as a handler sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path

import attrs
import trio

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.audio import AudioFormat, linear
from callstream_core.errors import LocalProtocolError
from callstream_core.outputs import FramePlayed
from callstream_core.resample import Converter
from callstream_trio.admission import Request
from callstream_trio.call_limits import CallEnded, CallLimits, CallStats
from callstream_trio.control import Control
from callstream_trio.hub import clock
from callstream_trio.owner import Carrier, Said
from callstream_trio.sinks import Sink
from callstream_trio.sound import read_pieces
from callstream_trio.tracks import Listening, Track, Tracks
from callstream_trio.waiters import Waiters

__all__ = ["Call", "CallEnded", "CallLimits", "CallStats"]

_LOOK = 0.05


class Call:
    """One live call. Commands take effect at once; waiting is only for the platform's answers, and for room."""

    def __init__(self, limits: CallLimits | None = None) -> None:
        self.limits = limits or CallLimits()
        self.ended: e.SessionClosed | None = None
        """How the call ended, once it has."""
        self.request: Request | None = None
        """The HTTP request of the call's WebSocket: path, query, headers."""
        self.control: Control | None = None
        """jambonz's verbs, commands and hooks; None on other platforms."""
        self._link: Carrier | None = None
        self._info: e.SessionOpened | None = None
        self._sink: Sink | None = None
        self._events: deque[e.Event] | None = None
        self._audio: deque[bytes] | None = None
        self._tracks: Tracks | None = None
        self._unread = 0
        self._clears: list[list[e.PlayoutCleared]] = []
        self._when_ended: Callable[[], None] | None = None
        self._is_gone = False
        self._dropped = CallStats()
        self._waiters = Waiters()

    # The link's side

    def attach(self, link: Carrier, request: Request | None = None) -> None:
        """Take the link that carries this call, and the request that opened it."""
        self._link = link
        self.request = request

    def hear(self, said: Said, now: float) -> Iterable[c.Command]:
        """Take what the session heard."""
        if type(said) is e.AudioReceived:
            if self._sink is not None:
                return self._sink.take(said, now)
            if self._tracks is None:
                self._keep_audio(said.data)
            else:
                self._tracks.keep(said, now)
            self._waiters.wake_readers()
            return ()
        if isinstance(said, e.PlayoutCleared) and self._clears:
            self._clears.pop(0).append(said)
        elif not isinstance(said, FramePlayed):
            if isinstance(said, e.SessionOpened):
                self._info = said
                if said.capabilities.has_tracks:
                    self._tracks = Tracks(self.limits.max_unread_audio)
            else:
                if self._tracks is not None:
                    self._tracks.hear(said)  # type: ignore[arg-type]
                self._keep_event(said)  # type: ignore[arg-type]
            if isinstance(said, e.SessionClosed):
                self._end(said)
        self._waiters.wake()
        return ()

    def refused(self) -> None:
        """Count a reply of the sink that the session would not take."""
        self._dropped.sink_refused += 1

    def closed(self) -> None:
        """Take note that the socket is gone."""
        self._is_gone = True
        if self._link is not None and self.ended is None:
            lost = "the connection was lost"
            self._end(e.SessionClosed(initiator=e.Side.PLATFORM, code=None, reason=lost, is_clean=False))
        self._waiters.wake()

    def when_ended(self, act: Callable[[], None]) -> None:
        """Call `act` at the moment the call ends: for those who would not wait for it in a task of their own."""
        self._when_ended = act

    def _end(self, ended: e.SessionClosed) -> None:
        self.ended = ended
        if self._when_ended is not None:
            self._when_ended()

    def _keep_event(self, event: e.Event) -> None:
        if self._events is None:
            self._events = deque()
        if len(self._events) >= self.limits.max_events:
            self._dropped.events_dropped += 1
            if isinstance(event, e.Tolerated | e.MessageIgnored):
                # Remarks on the peer's manners push out nothing that matters.
                return
            self._events.popleft()
        self._events.append(event)

    def _keep_audio(self, data: bytes) -> None:
        if self._audio is None:
            self._audio = deque()
        self._audio.append(data)
        self._unread += len(data)
        caller = self.info.caller_format
        bound = self.limits.max_unread_audio / caller.ptime
        size = bound * caller.frame_size if caller.frame_size else float("inf")
        while self._unread > size or len(self._audio) > 2 * bound:
            self._unread -= len(self._audio.popleft())
            self._dropped.audio_dropped += 1

    # Read-outs

    @property
    def is_open(self) -> bool:
        """Whether the call was announced and is not over."""
        return self._info is not None and self.ended is None

    @property
    def info(self) -> e.SessionOpened:
        """What the platform announced: ids, formats, variables, capabilities."""
        if self._info is None:
            raise CallEnded("the call was never announced")
        return self._info

    @property
    def session(self) -> AppSession:
        """The engine underneath."""
        session = self._link.session if self._link else None
        if not isinstance(session, AppSession):
            raise CallEnded("the call is over")
        return session

    @property
    def position(self) -> float:
        """Seconds of our audio that the caller has heard."""
        return self.session.heard(clock())

    @property
    def backlog(self) -> float:
        """Seconds of our audio that the caller has not heard yet."""
        return self.session.backlog(clock())

    @property
    def stats(self) -> CallStats:
        """Counters of this call."""
        link = self._link
        session = link.session if link else None
        return attrs.evolve(
            self._dropped,
            audio_dropped=self._dropped.audio_dropped + (self._tracks.all_dropped if self._tracks else 0),
            dropped_by_track=self._tracks.dropped if self._tracks else {},
            messages_received=link.messages_received if link else 0,
            messages_sent=link.messages_sent if link else 0,
            tolerated=dict(session.counters) if session else {},
        )

    @property
    def tracks(self) -> list[str]:
        """The parties that are there now, where each has a track of its own."""
        return self._tracks.open if self._tracks else []

    # Commands

    def say(self, command: c.Command) -> None:
        """Say any command, at once."""
        if self._link is None or self.ended is not None:
            raise CallEnded("the call is over")
        self._link.say(command)

    def offer(self, command: c.Command) -> bool:
        """Say a command for another call's sake, at once; tell whether this one took it. Raise nothing."""
        return self._link is not None and self.ended is None and self._link.offer(command)

    async def answer(self) -> None:
        """Take the call. Harmless where the platform has answered by itself, or only lets us listen."""
        if self._info is not None and self._info.capabilities.is_tap:
            await trio.lowlevel.checkpoint()
        else:
            await self._say(c.Answer())

    async def reject(self, reason: str = "") -> None:
        """Refuse the call."""
        await self._say(c.Reject(reason))

    async def play(self, data: bytes) -> None:
        """Play audio in the reply format; wait while enough is sent ahead already."""
        reply = self.info.reply_format
        if reply is None or reply.is_packets:
            await self._wait(self._excess)
            await self._say(c.SendAudio(data))
            return
        step = max(int(self.limits.max_ahead / reply.ptime) * reply.frame_size, reply.frame_size)
        for start in range(0, len(data), step):
            await self._wait(self._excess)
            await self._say(c.SendAudio(data[start : start + step]))

    def _excess(self) -> float:
        """Return the seconds of audio that must have left before more may wait."""
        reply = self.info.reply_format
        session = self.session
        if reply is None or reply.is_packets:
            excess = session.backlog(clock()) - self.limits.max_ahead
            return excess if session.room else max(excess, _LOOK)
        return reply.seconds(session.pending) - self.limits.max_ahead

    async def play_file(self, path: str | Path) -> None:
        """Play a sound file (WAV, FLAC, OGG, …), converted to the call's format, as one utterance."""
        pieces = read_pieces(Path(path), self._reply_format())
        while piece := await trio.to_thread.run_sync(next, pieces, b""):
            await self.play(piece)
        await self._say(c.EndUtterance())

    def _reply_format(self) -> AudioFormat:
        if self.info.reply_format is None:
            raise CallEnded("this platform only listens")
        return self.info.reply_format

    async def end_utterance(self, name: str | None = None) -> None:
        """Pad the last frame with silence and, with a name, place a mark behind it."""
        await self._say(c.EndUtterance(name))

    async def mark(self, name: str) -> None:
        """Place a mark; `MarkReached` tells when everything before it was played."""
        await self._say(c.PlaceMark(name))

    async def clear(self) -> e.PlayoutCleared:
        """Drop everything that the caller has not heard; return how much of the utterance he did hear."""
        answer: list[e.PlayoutCleared] = []
        self._clears.append(answer)
        try:
            self.say(c.ClearPlayout())
        except BaseException:
            # Not by value: two answers that are still missing are equal.
            self._clears.pop()
            raise
        await self._wait(lambda: 0.0 if answer else _LOOK)
        return answer[0]

    async def pause(self) -> None:
        """Stop playing; what is queued stays."""
        await self._say(c.PausePlayout())

    async def resume(self) -> None:
        """Play on."""
        await self._say(c.ResumePlayout())

    async def drained(self) -> None:
        """Wait until the caller has heard everything."""
        await trio.lowlevel.checkpoint()
        while self.session.backlog(clock()) > 0:
            await self._wait_until(clock() + self.session.backlog(clock()))

    async def hang_up(self) -> None:
        """End the call now."""
        await self._say(c.HangUp())

    def close(self, code: int, reason: str = "") -> None:
        """End the call by closing the WebSocket with a code of ours."""
        if self._link is not None and self.ended is None:
            self._link.fail(code, reason)

    async def finish(self) -> e.SessionClosed:
        """Play out what is queued, then hang up; return how the call ended."""
        self.say(c.HangUp(c.When.AFTER_PLAYOUT))
        while self.ended is None:
            await self._waiters.news()
        return self.ended

    def connect(self, sink: Sink | None) -> None:
        """Give the caller's audio to a sink from now on, without waking any task; None ends that.

        What waited to be read goes to the sink first.
        """
        waiting, self._audio, self._unread = self._audio, None, 0
        self._sink = sink
        if sink is None or self._link is None:
            return
        now = clock()
        pieces = [(e.AudioReceived(data), now) for data in waiting or ()]
        for piece, at in (*pieces, *(self._tracks.empty() if self._tracks else ())):
            for command in sink.take(piece, at):
                try:
                    self.say(command)
                except LocalProtocolError:
                    self.refused()

    async def wait_ended(self) -> e.SessionClosed:
        """Wait for the end of the call."""
        while self.ended is None:
            await self._waiters.news()
        return self.ended

    async def wait_opened(self) -> bool:
        """Wait for the announcement; False if the connection ends before it."""
        while self._info is None and self.ended is None:
            await self._waiters.news()
        return self._info is not None

    async def wait_gone(self) -> None:
        """Wait until the socket is closed."""
        while not self._is_gone:
            await self._waiters.news()

    # Hearing

    def __aiter__(self) -> AsyncIterator[e.Event]:
        """Iterate over everything that is not audio; the last event is `SessionClosed`."""
        # No generator, so that a loop may be left at any time and begun again.
        return self

    async def __anext__(self) -> e.Event:
        """Wait for the next event."""
        while not self._events:
            if self.ended is not None:
                raise StopAsyncIteration
            await self._waiters.news()
        return self._events.popleft()

    def audio(self, rate: int | None = None, *, track: str | None = None) -> AsyncIterator[bytes]:
        """Iterate over the caller's audio until the call ends: as it comes, or as 16-bit linear mono at `rate`.

        Where each party has a track of its own, name one: the iteration ends with it. Pieces that waited are given
        as one.
        """
        if track is None and self.info.capabilities.has_tracks:
            raise ValueError("every party has a track of its own: call.audio(track=…), as TrackStarted names them")
        chosen = None if track is None else self._find(track)
        source = chosen.format if chosen else self.info.caller_format
        convert = Converter(source, linear(rate)).feed if rate is not None else None
        return Listening(self.next_audio if chosen is None else partial(self._next_of, chosen), convert)

    def _find(self, track: str) -> Track:
        if self._tracks is None:
            raise ValueError("this call's audio is not in tracks: call.audio() without one")
        return self._tracks.find(track)

    async def _next_of(self, track: Track) -> bytes:
        while not track.size and not track.is_ended and self.ended is None:
            await self._waiters.audio()
        return track.take()

    async def next_audio(self) -> bytes:
        """Wait for caller audio, and return all that waits, or one packet; nothing when the call is over."""
        data = b""
        while not data:
            while not self._audio:
                if self.ended is not None:
                    return b""
                await self._waiters.audio()
            if self.info.caller_format.is_packets:
                data = self._audio.popleft()
                self._unread -= len(data)
            else:
                data = b"".join(self._audio)
                self._audio.clear()
                self._unread = 0
        return data

    async def _say(self, command: c.Command) -> None:
        self.say(command)
        await trio.lowlevel.checkpoint()

    async def _wait(self, missing: Callable[[], float]) -> None:
        """Wait until nothing is `missing`: it tells in how many seconds it is worth asking again, or 0."""
        while (wait := missing()) > 0:
            if self.ended is not None:
                raise CallEnded(f"the call is over: {self.ended.reason}")
            # Nobody is woken for room: it comes as audio is played, and that can be foretold.
            await self._wait_until(clock() + max(wait, _LOOK))

    async def _wait_until(self, deadline: float) -> None:
        if self._link is not None:
            await self._waiters.wait_until(self._link, deadline)
