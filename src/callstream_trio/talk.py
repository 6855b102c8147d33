"""The audio of a simulated call: what is said on it and when, and what is made of what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.closing import reason_of
from callstream_core.dialect import Profile
from callstream_core.outputs import FramePlayed
from callstream_core.pacer import Pacer
from callstream_core.platform_session import PlatformSession
from callstream_trio.hub import Hub
from callstream_trio.link import Link
from callstream_trio.owner import Said
from callstream_trio.report import EchoCheck, Meter, Spread
from callstream_trio.voice import Voice, said_format

# Between two voices' places in the test signal: audio that reaches the wrong call shows as damaged.
STRIDE = 37


class Listener(Protocol):
    """Who wants to know what becomes of a talk."""

    def hear_word(self, said: Said, now: float) -> None:
        """Take whatever is heard besides audio."""
        ...

    def talk_closed(self) -> None:
        """Take note that the socket is gone."""
        ...

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        ...


class Talk:
    """One socket's audio. Owner of its link, and one of the hub's deadlines of its own for what it says when."""

    def __init__(
        self, hub: Hub, profile: Profile, voice: Voice, place: int, listener: Listener, *, records: bool
    ) -> None:
        traits = profile.playout
        self.profile = profile
        self.scheduled: float | None = None
        self.frames_sent = 0
        self.echo = EchoCheck(voice, place)
        self.meter = Meter(
            traits.format,
            is_packets=traits.is_packets,
            period=traits.period,
            silence=bytes(2 * traits.format.frame_samples) if traits.fills_silence else None,
        )
        self.heard: list[FramePlayed] | None = [] if records else None
        """What was played, if that is wanted."""
        self.ended: e.SessionClosed | None = None
        """How it ended, once it has."""
        self.expects_all = False
        """Who was heard to the end gets back all that he said; one who is hung up on cannot expect that."""
        self._hub = hub
        self._listener = listener
        self._tracks = profile.tracks
        self._ptime = said_format(profile).ptime
        self._pacer = Pacer(self._ptime, max_burst_packets=1000)
        self._frames = 0
        self._link: Link | None = None
        self._is_ours = False

    def attach(self, link: Link) -> None:
        """Take the link that carries it."""
        self._link = link

    # What is said

    def begin(self, now: float, until: float) -> None:
        """Talk until a moment."""
        if self.profile.direction is not e.Direction.OUT:
            self._frames = max(round((until - now) / self._ptime), 0)
        self._pacer.begin(now)
        self._schedule()

    def _schedule(self) -> None:
        if self.frames_sent < self._frames:
            self._hub.schedule(self, self._pacer.next_due)

    def handle_deadline(self, now: float) -> None:
        """Say what is due."""
        for _ in range(self._pacer.take(now, self._frames - self.frames_sent)):
            if self.ended is not None:
                return
            said = self.frames_sent
            frame = self.echo.frame(said)
            self.frames_sent += 1
            self.echo.sent = self.frames_sent
            for place, track in enumerate(self._tracks):
                # Each party has its own place in the signal, too.
                self._say(e.AudioReceived(frame if place == 0 else self.echo.frame(said + place * STRIDE), track))
        self._schedule()

    def press(self, digit: str) -> None:
        """Press a key."""
        self._say(e.DigitReceived(digit))

    def hang_up(self) -> None:
        """End it, as the platform."""
        self._is_ours = self._is_ours or self.ended is None
        self._say(e.SessionEnding())

    def _say(self, event: e.Event) -> None:
        if self._link is not None and self.ended is None:
            self._link.say(event)

    def may_end(self, *, is_patient: bool) -> bool:
        """Whether everything was said and, by an echo, given back, as far as one is patient with it."""
        is_said = self.frames_sent == self._frames
        if self.echo.is_echo and is_patient:
            # A frame that has arrived is played within two ticks.
            return is_said and self.echo.is_complete and not self._queue_length()
        return is_said

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        self._listener.abandon(error)

    # The link's side

    def hear(self, said: Said, now: float) -> tuple[()]:
        """Take what the session heard."""
        kind = type(said)
        if kind is c.SendAudio:
            pieces = self.meter.pieces(said.data)  # type: ignore[union-attr]
            self.meter.arrived(said.data, len(pieces), now)  # type: ignore[union-attr]
            for piece in pieces:
                self.echo.take(piece)
        elif kind is FramePlayed:
            self.meter.played(said)  # type: ignore[arg-type]
            if self.heard is not None:
                self.heard.append(said)  # type: ignore[arg-type]
        else:
            self._hear_word(said, now)
        return ()

    def _hear_word(self, said: Said, now: float) -> None:
        match said:
            case c.PlaceMark() | c.StopBuffering():
                self.meter.marked(self._queue_length())
            case c.ClearPlayout():
                self.meter.cleared()
            case e.SessionClosed():
                self.ended = said
                self.meter.finish()
        self._listener.hear_word(said, now)

    def _queue_length(self) -> int:
        session = self._link.session if self._link else None
        return session.playout.queue_length if isinstance(session, PlatformSession) else 0

    def refused(self) -> None:
        """Nothing is said in reply here."""

    def closed(self) -> None:
        """Take note that the socket is gone."""
        self._listener.talk_closed()

    # What is made of it

    @property
    def lost(self) -> int:
        """Frames that an echo did not give back."""
        return self.echo.lost(has_ended=self.expects_all) if self.echo.is_echo else 0

    def failures(self) -> list[str]:
        """Say what went wrong."""
        found = []
        if self.echo.is_echo:
            lost = self.lost
            if lost:
                found.append(f"the echo lost {'a frame' if lost == 1 else 'frames'}")
            if self.echo.foreign:
                found.append("the echo damaged what it gave back")
        closed = self.ended
        if closed is None or self._link is None:
            return found
        if self._is_ours:
            if not self._link.is_close_heard:
                found.append("the application did not answer the close of the WebSocket")
        elif closed.initiator is e.Side.PLATFORM:
            found.append(f"the application broke the WebSocket: {closed.reason} (close code {closed.code})")
        elif closed.code is None:
            found.append(f"the connection was lost: {closed.reason}")
        elif closed.code not in (1000, 1005):
            found.append(f"the application closed with {closed.code}: {reason_of(closed.code, closed.reason)}")
        return found


def figures(talks: Sequence[Talk], opened_at: float) -> dict[str, Any]:
    """Return what a call's talks add up to, by the names of `CallReport`."""
    meters = [talk.meter for talk in talks]
    echoes = [talk.echo for talk in talks if talk.echo.is_echo]
    arrivals = [meter.first_arrival for meter in meters if meter.first_arrival is not None]
    samples = [talk.meter.lateness(is_steady=talk.echo.is_echo) for talk in talks]
    late = np.concatenate(samples) if samples else np.empty(0)
    return {
        "first_audio": max(min(arrivals) - opened_at, 0.0) if arrivals else None,
        "frames_sent": sum(talk.frames_sent * len(talk.profile.tracks) for talk in talks),
        "frames_received": sum(meter.frames_received for meter in meters),
        "frames_played": sum(meter.frames_played for meter in meters),
        "gaps": sum(talk.meter.gaps(is_steady=talk.echo.is_echo) for talk in talks),
        "marks_placed": sum(meter.marks_placed for meter in meters),
        "marks_answered": sum(meter.marks_answered for meter in meters),
        "is_echo": bool(echoes),
        "echo_intact": sum(echo.intact for echo in echoes),
        "echo_lost": sum(talk.lost for talk in talks),
        "echo_damaged": sum(echo.foreign for echo in echoes),
        "lateness": Spread.of(late),
        "samples": late,
    }
