"""How audio leaves: ahead of playout where the platform keeps the clock, packet by packet where we do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs

from callstream_core.audio import AudioFormat, lower_minus_one
from callstream_core.dialect import Capabilities
from callstream_core.flow import Flow
from callstream_core.ledger import Ledger
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.marks import Questions
from callstream_core.outbox import Outbox
from callstream_core.outputs import Output, Transmit
from callstream_core.paced_run import PacedRun
from callstream_core.pacer import Pacer
from callstream_core.timers import NEVER, Timer, TimerTable

# Audio is sent again when this part of the send-ahead, or this many seconds, was played: not for every frame.
_REFILL = 0.25
# Where floats leave a packet due at the present moment: a handled timeout must move.
_SOON = 1e-3


@attrs.frozen(kw_only=True)
class Parts:
    """What a sender works with."""

    audio: AudioFormat
    capabilities: Capabilities
    outbox: Outbox
    questions: Questions
    timers: TimerTable
    settings: PlayoutSettings
    limits: Limits
    run: PacedRun


class Sender(ABC):
    """Moves audio from the outbox to the platform, and says the commands between it. Timer `PUMP` is its own."""

    __slots__ = (
        "_audio",
        "_frame_size",
        "_outbox",
        "_questions",
        "_timers",
        "avoids_minus_one",
        "flow",
        "ledger",
        "max_message",
    )

    def __init__(self, parts: Parts) -> None:
        can, ptime = parts.capabilities, parts.audio.ptime
        self._audio = parts.audio
        self._frame_size = size = parts.audio.frame_size or 1
        self._outbox = parts.outbox
        self._questions = parts.questions
        self._timers = parts.timers
        self.avoids_minus_one = can.mistakes_minus_one
        self.max_message = max(can.max_message // size * size, size)
        rate = self.of_frames(1) / ptime
        self.ledger = Ledger(rate)
        self.flow = Flow(send_ahead=parts.settings.send_ahead, max_queue=can.max_queue, ptime=ptime, rate=rate)

    @property
    @abstractmethod
    def waiting(self) -> int:
        """What waits in the outbox, in the ledger's units."""

    @abstractmethod
    def units(self, size: int) -> int:
        """Return so many bytes that are less than a frame, in the ledger's units: they will be one, or none."""

    @abstractmethod
    def of_frames(self, frames: int) -> int:
        """Return so many frames in the ledger's units."""

    @abstractmethod
    def send(self, now: float, out: list[Output]) -> None:
        """Send what may be sent now, and set the timer for the rest."""

    @abstractmethod
    def add(self, audio: bytes, now: float) -> None:
        """Put whole frames, or a packet, into the outbox."""

    @abstractmethod
    def credit(self, now: float) -> int:
        """Return how many bytes may be sent at once, by whoever has nothing waiting."""

    @abstractmethod
    def resume(self, now: float) -> None:
        """Go on after audio was held back."""

    @abstractmethod
    def lend(self) -> None:
        """Let packets leave by the clock alone, while that is all there is to do: until `recall`."""

    @abstractmethod
    def recall(self) -> None:
        """Count what has left since `lend`."""

    def _next_size(self, now: float, out: list[Output]) -> int:
        """Say the commands whose turn it is; return the size of the audio behind them."""
        while (command := self._outbox.next_command()) is not None:
            out.extend(map(Transmit, command.messages))
            if command.wants_answer:
                self._questions.ask(command, self.ledger, now)
        return self._outbox.next_size()

    def _transmit(self, size: int, units: int, now: float, out: list[Output]) -> None:
        self.ledger.send(units, now)
        audio = self._outbox.take_audio(size)
        out.append(Transmit(lower_minus_one(audio) if self.avoids_minus_one else audio))


class AheadSender(Sender):
    """Fills the platform's queue, which plays by a clock of its own. The ledger counts bytes."""

    __slots__ = ()

    @property
    def waiting(self) -> int:
        """Bytes of audio."""
        return self._outbox.size

    def units(self, size: int) -> int:
        """Return the bytes themselves."""
        return size

    def of_frames(self, frames: int) -> int:
        """Return their bytes."""
        return frames * self._frame_size

    def add(self, audio: bytes, _now: float) -> None:
        """Put audio into the outbox."""
        self._outbox.add_audio(audio)

    def credit(self, now: float) -> int:
        """Return the bytes that the platform's queue takes."""
        return self.flow.room(self.ledger.unheard(now))

    def resume(self, now: float) -> None:
        """Nothing to do: there is room, or there is none."""

    def lend(self) -> None:
        """Nothing to do: how much there is room for is for us to say."""

    def recall(self) -> None:
        """Nothing to do."""

    def send(self, now: float, out: list[Output]) -> None:
        """Send as far ahead as the platform allows."""
        room = self.credit(now)
        while waiting := self._next_size(now, out):
            piece = min(waiting, self.max_message)
            size = min(piece, room // self._frame_size * self._frame_size)
            if size:
                self._transmit(size, size, now, out)
                room -= size
            if size < piece:
                self._watch_room(now)
                return

    def _watch_room(self, now: float) -> None:
        ahead = self.flow.max_ahead / self.ledger.rate
        if not self.ledger.is_held:
            wait = self.ledger.backlog(now) - ahead + min(ahead * _REFILL, _REFILL)
            self._timers.set(Timer.PUMP, now + max(wait, self._audio.ptime))


class PacedSender(Sender):
    """Sends each packet in its turn: the clock is ours. The ledger counts packets."""

    __slots__ = ("_pacer", "_run")

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._pacer = Pacer(parts.audio.ptime, max_burst_packets=parts.limits.max_burst_packets)
        self._run = parts.run

    @property
    def _size(self) -> int:
        """Bytes of a packet: audio leaves frame by frame, however it came; packets stay as they are."""
        return self.max_message if self._audio.is_packets else self._frame_size

    @property
    def waiting(self) -> int:
        """Packets."""
        return self._outbox.pieces if self._audio.is_packets else self._outbox.size // self._frame_size

    def units(self, size: int) -> int:
        """Return 1 where a packet is begun."""
        return 1 if size else 0

    def of_frames(self, frames: int) -> int:
        """Return the frames themselves."""
        return frames

    def resume(self, now: float) -> None:
        """Go on after packets were held back: their slots are gone."""
        self._pacer.resume(now)

    def add(self, audio: bytes, now: float) -> None:
        """Put audio into the outbox; the first of it is due at once."""
        if not self._outbox.pieces:
            self._pacer.begin(now)
        self._outbox.add_audio(audio, joins=not self._audio.is_packets)

    def credit(self, _now: float) -> int:
        """Return 0: every packet has its turn."""
        return 0

    def send(self, now: float, out: list[Output]) -> None:
        """Send what is due."""
        pacer = self._pacer
        count = pacer.take(now, self.waiting) if self._outbox.pieces else 0
        while waiting := self._next_size(now, out):
            if not count:
                self._timers.set(Timer.PUMP, pacer.next_due if pacer.next_due > now else now + _SOON)
                return
            count -= 1
            self._transmit(min(waiting, self._size), 1, now, out)

    def lend(self) -> None:
        """Let packets leave by the clock alone, while that is all there is to do: until `recall`.

        `PUMP` is set only while nothing holds packets back.
        """
        pacer, due = self._pacer, self._timers.pump
        if due != pacer.next_due or pacer.is_resting or self.avoids_minus_one:
            return
        # Not the last packet of a piece: what comes behind it is for us to say. Nothing else may be due before them.
        most = min((self._outbox.next_size() - 1) // self._size, self._timers.before_others(due, pacer.ptime))
        if most > 0:
            self._run.begin(
                *self._outbox.lend(),
                size=self._size,
                most=most,
                due=due,
                ptime=pacer.ptime,
                max_burst=pacer.max_burst_packets,
                dry_at=self.ledger.dry_at,
            )

    def recall(self) -> None:
        """Count what has left since `lend`."""
        run, pacer = self._run, self._pacer
        due = run.due
        if due < NEVER and (count := run.end()):
            self._outbox.skip(count * self._size)
            self.ledger.catch_up(count, due - pacer.ptime, run.dry_at)
            pacer.skip(count, due)
            self._timers.set(Timer.PUMP, due)
