"""What a simulated call measures, and what many of them add up to."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from callstream_core.audio import AudioFormat
from callstream_core.outputs import FramePlayed
from callstream_trio.voice import Voice

# A silence longer than this is an application that has nothing to say, not one that is late.
_PAUSE = 0.5
# How far behind the last frame that came back a frame may still be looked for.
_WINDOW = 256
# After so many pieces that are not ours, the application is no echo, and is not searched any more.
_PATIENCE = 500
_MAX_SAMPLES = 1_000_000
_NO_SAMPLES: npt.NDArray[np.float64] = np.empty(0)


@attrs.frozen(kw_only=True)
class Spread:
    """How measurements are distributed, in seconds."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float] | npt.NDArray[np.float64]) -> Spread | None:
        """Return the spread of `values`; None where there are none."""
        if len(values) == 0:
            return None
        p50, p95, p99, most = (float(value) for value in np.percentile(values, (50, 95, 99, 100)))
        return cls(p50=p50, p95=p95, p99=p99, max=most)


@attrs.frozen(kw_only=True)
class ControlReport:
    """The control sockets of a simulated jambonz call."""

    connections: int
    """Control sockets, one after the other."""
    questions: int
    """Messages that wanted an ack."""
    orders: int
    """Commands of the application."""
    audio_sockets: int
    acks: Spread | None
    """Seconds from a message to its ack."""
    samples: npt.NDArray[np.float64] = attrs.field(default=_NO_SAMPLES, eq=False, repr=False)
    """The same, each."""


@attrs.frozen(kw_only=True)
class CallReport:
    """One simulated call. It went as it should if there are no `failures`."""

    number: int
    failures: tuple[str, ...] = ()
    """Each a sentence."""
    set_up: float | None = None
    """Seconds from the first packet to the announced call."""
    first_audio: float | None = None
    """Seconds from the announcement to the first audio of the application."""
    duration: float = 0.0
    frames_sent: int = 0
    frames_received: int = 0
    frames_played: int = 0
    gaps: int = 0
    """Moments at which a frame should have been played while the application was talking, and none was there."""
    marks_placed: int = 0
    marks_answered: int = 0
    """Marks that were reached; a clear drops the others."""
    digits_sent: int = 0
    misbehaved: int = 0
    """Messages that a platform passes over or complains about."""
    ended_by: str = ""
    """"caller", "application", or nobody where the call never came about."""
    close_code: int | None = None
    is_echo: bool = False
    """The application sends back what it hears, so that each frame could be checked."""
    echo_intact: int = 0
    echo_lost: int = 0
    echo_damaged: int = 0
    control: ControlReport | None = None
    """Only of jambonz calls."""
    lateness: Spread | None = None
    samples: npt.NDArray[np.float64] = attrs.field(default=_NO_SAMPLES, eq=False, repr=False)
    """The lateness of every piece of the application's audio."""

    @property
    def is_ok(self) -> bool:
        """Whether everything went as it should."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return attrs.asdict(self, filter=lambda field, _value: field.name != "samples")


@attrs.frozen(kw_only=True)
class Summary:
    """Many simulated calls."""

    calls: int
    ok: int
    set_up: Spread | None
    first_audio: Spread | None
    lateness: Spread | None
    frames_sent: int
    frames_received: int
    frames_played: int
    gaps: int
    marks_placed: int
    marks_answered: int
    misbehaved: int
    echoes: int
    """Calls whose application turned out to echo."""
    echo_intact: int
    echo_lost: int
    echo_damaged: int
    acks: Spread | None = None
    """Of jambonz calls: how soon what jambonz asked was acked."""
    connections: int = 0
    questions: int = 0
    orders: int = 0
    audio_sockets: int = 0
    failures: dict[str, int]
    """How many calls failed for each reason."""

    @property
    def failed(self) -> int:
        """Calls that did not go as they should."""
        return self.calls - self.ok

    @classmethod
    def of(cls, reports: Sequence[CallReport]) -> Summary:
        """Add up the reports of many calls."""
        echoes = [report for report in reports if report.is_echo]
        samples = [report.samples for report in reports if len(report.samples)]

        controls = [report.control for report in reports if report.control is not None]
        acks = [control.samples for control in controls if len(control.samples)]

        def total(name: str, among: Iterable[CallReport | ControlReport] = reports) -> int:
            return sum(getattr(report, name) for report in among)

        return cls(
            calls=len(reports),
            ok=sum(report.is_ok for report in reports),
            set_up=Spread.of([report.set_up for report in reports if report.set_up is not None]),
            first_audio=Spread.of([report.first_audio for report in reports if report.first_audio is not None]),
            lateness=Spread.of(np.concatenate(samples)) if samples else None,
            frames_sent=total("frames_sent"),
            frames_received=total("frames_received"),
            frames_played=total("frames_played"),
            gaps=total("gaps"),
            marks_placed=total("marks_placed"),
            marks_answered=total("marks_answered"),
            misbehaved=total("misbehaved"),
            echoes=len(echoes),
            echo_intact=total("echo_intact", echoes),
            echo_lost=total("echo_lost", echoes),
            echo_damaged=total("echo_damaged", echoes),
            acks=Spread.of(np.concatenate(acks)) if acks else None,
            connections=total("connections", controls),
            questions=total("questions", controls),
            orders=total("orders", controls),
            audio_sockets=total("audio_sockets", controls),
            failures=dict(Counter(failure for report in reports for failure in report.failures).most_common()),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON takes it."""
        return {**attrs.asdict(self), "failed": self.failed}


class EchoCheck:
    """Looks for the caller's own frames in what comes back: each once, in order, intact."""

    __slots__ = ("_expected", "_frames", "_offset", "foreign", "intact", "sent")

    def __init__(self, voice: Voice, offset: int) -> None:
        self._frames = voice.frames
        self._offset = offset
        self._expected = 0
        self.sent = 0
        self.intact = 0
        self.foreign = 0

    def frame(self, number: int) -> bytes:
        """Return the frame that is sent as number `number`."""
        return self._frames[(self._offset + number) % len(self._frames)]

    def take(self, piece: bytes) -> None:
        """Take a frame that came from the application."""
        if self.intact == 0 and self.foreign > _PATIENCE:
            return
        for number in range(self._expected, min(self.sent, self._expected + _WINDOW)):
            if self.frame(number) == piece:
                self._expected = number + 1
                self.intact += 1
                return
        self.foreign += 1

    @property
    def is_echo(self) -> bool:
        """Whether most of what came was ours."""
        return self.intact > max(self.foreign, 3)

    @property
    def is_complete(self) -> bool:
        """Whether the last frame has come back."""
        return self._expected == self.sent

    def lost(self, *, has_ended: bool) -> int:
        """Return how many frames did not come back; while the call lasts, later ones may still be on their way."""
        return (self.sent if has_ended else self._expected) - self.intact


class Meter:
    """Measures one call. Costs little while it runs: the arithmetic comes at the end."""

    def __init__(self, audio: AudioFormat, *, is_packets: bool, period: float, silence: bytes | None) -> None:
        self.audio = audio
        self.first_arrival: float | None = None
        self.frames_received = 0
        self.frames_played = 0
        self.marks_placed = 0
        self.marks_answered = 0
        self._is_packets = is_packets
        self._period = period
        self._silence = silence
        """What the platform itself plays while the application says nothing."""
        self._arrivals = array("d")
        self._lengths = array("d")
        self._played = array("d")
        self._marks: deque[int] = deque(maxlen=4096)

    def pieces(self, data: bytes) -> Sequence[bytes]:
        """Return the frames of one message."""
        size = self.audio.frame_size
        if self._is_packets or len(data) <= size:
            return (data,)
        return [data[start : start + size] for start in range(0, len(data), size)]

    def arrived(self, data: bytes, pieces: int, now: float) -> None:
        """Take note of audio from the application."""
        if self.first_arrival is None:
            self.first_arrival = now
        self.frames_received += pieces
        if len(self._arrivals) < _MAX_SAMPLES:
            self._arrivals.append(now)
            self._lengths.append(pieces * self.audio.ptime if self._is_packets else self.audio.seconds(len(data)))

    def played(self, frame: FramePlayed) -> None:
        """Take note of a frame that the caller hears."""
        if self._silence is not None and frame.data == self._silence:
            return
        marks = self._marks
        while marks and marks[0] <= self.frames_played:
            marks.popleft()
            self.marks_answered += 1
        self.frames_played += 1
        if len(self._played) < _MAX_SAMPLES:
            self._played.append(frame.at)

    def marked(self, queue_length: int) -> None:
        """Take note of a mark behind so many frames."""
        self.marks_placed += 1
        self._marks.append(self.frames_played + queue_length)

    def cleared(self) -> None:
        """Take note that everything queued is gone."""
        self._marks.clear()

    def finish(self) -> None:
        """Take note of the end: marks behind the last frame are answered by then."""
        self.marks_answered += sum(mark <= self.frames_played for mark in self._marks)
        self._marks.clear()

    def lateness(self, *, is_steady: bool) -> npt.NDArray[np.float64]:
        """Return how late each message came, on the grid of the first: its time plus the audio since then.

        Unless the application is steady, each talk after a pause has a grid of its own.
        """
        arrivals, lengths = np.array(self._arrivals), np.array(self._lengths)
        if len(arrivals) == 0:
            return arrivals
        behind = arrivals - (np.cumsum(lengths) - lengths)
        starts = np.zeros(len(arrivals), dtype=np.intp)
        if not is_steady:
            # The audio sent so far may have filled a queue: a pause begins when that has been played.
            done = np.maximum.accumulate(behind) + np.cumsum(lengths)
            is_new = np.flatnonzero(arrivals[1:] - done[:-1] > _PAUSE) + 1
            starts[is_new] = is_new
            starts = np.maximum.accumulate(starts)
        late: npt.NDArray[np.float64] = np.maximum(behind - behind[starts], 0.0)
        return late

    def gaps(self, *, is_steady: bool) -> int:
        """Return the ticks that had nothing to play, pauses aside."""
        steps = np.diff(np.array(self._played))
        if not is_steady:
            steps = steps[steps < _PAUSE]
        return int(np.sum(np.rint(steps / self._period) - 1)) if len(steps) else 0
