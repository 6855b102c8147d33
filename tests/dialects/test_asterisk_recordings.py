"""Recordings of a real Asterisk, replayed into the driver's end: it must say what the real one said.

Texts, closes and pongs must be the same in the same order, and so must the sizes of audio; where the channel itself
echoes, also the order of audio and notices. Tolerances, each for a reason:

* Times: at most `LATE` earlier than recorded, for the recorder saw a message only when its process had a turn; at
  most one tick later, for the phase of the channel's timer is only known from what it made the driver say.
* Ticks may have been lost, `LOST` of them at most: a notice that came whole ticks late shows it.
* A caller's frame that was on its way when the application hung up does not count.
* `queue_length` within `RACE`, and only while the application was sending frame by frame, in step with the timer:
  which of the two came first is then the race of that very moment.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from callstream_core import events as e
from callstream_core import transcript
from callstream_core.dialects.asterisk import DIALECT
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.platform_session import PlatformSession
from callstream_core.transcript import Line
from callstream_core.websocket import Close, Failure, FrameDecoder, Incoming, Ping, Pong
from tests.dialects.recordings import (
    APP,
    FILES,
    FOLDER,
    ONE_READ_TOO_MANY,
    PLATFORM,
    Recording,
    load,
    with_bytes,
)

TICK = 0.02
LATE = 0.04
LOST = 0.02
RACE = 2

TICK_DRIVEN = re.compile(r"MEDIA_MARK_PROCESSED|MEDIA_BUFFERING_COMPLETED|QUEUE_DRAINED|MEDIA_XON")
CORE_DRIVEN = re.compile(r'DTMF_END|\{"event":"DTMF_END"')
QUEUE_LENGTH = re.compile(r'queue_length"?:(\d+)')


@attrs.frozen
class Said:
    """One thing that the platform's end said: a text, a close, a pong, or the size of some audio."""

    at: float
    what: str | int


class Driver:
    """Our driver's end, in the place of the recorded one. The application's bytes go through the frame layer."""

    def __init__(self, recording: Recording, phase: float, lost: Sequence[float] = ()) -> None:
        """Begin a call whose timer was started at `phase`, and lost the ticks after the times `lost`."""
        self.recording = recording
        self.said: list[Said] = []
        self._lost = sorted(lost)
        self._phase = phase
        self._session = PlatformSession(DIALECT, recording.profile)
        self._frames = FrameDecoder(masked=recording.profile.is_server, rules=recording.profile.rules)
        self._codec = DIALECT.codec(None)
        self._has_app_ended = False

    def run(self) -> list[Said]:
        opening = self.recording.opening
        early = b""
        for line, sent in with_bytes(self.recording):
            now = max(line.at, opening.at)
            self._serve_ticks(now)
            if line is opening:
                self._do(self._session.open(now), now)
                if self.recording.profile.direction is not e.Direction.IN:
                    self._session.playout.start(self._phase)
                self._codec.decode_event(line.message)
            elif line.kind == transcript.ELIDED:
                self._elided(line)
            elif line.speaker == PLATFORM:
                self._core(line, now)
            elif "101" in line.note:
                # What comes in one segment with the upgrade is not looked at before something else comes.
                early = sent
            else:
                self._app(line, early + sent, now)
                early = b""
        return self.said

    def _serve_ticks(self, now: float) -> None:
        while (due := self._session.next_timeout()) is not None and due < now:
            if self._lost and self._lost[0] <= due:
                self._lost.pop(0)
                self._session.playout.miss_ticks(1)
            self._do(self._session.handle_timeout(due), due)

    def _do(self, outputs: list[Output], now: float) -> None:
        for output in outputs:
            match output:
                case Transmit(message):
                    self.said.append(Said(now, message if isinstance(message, str) else len(message)))
                case CloseLink(code):
                    self.said.append(Said(now, f"close {code}"))
                case FramePlayed(data=data) if self.recording.is_echo:
                    self._do(self._session.send(e.AudioReceived(data), now), now)

    def _core(self, line: Line, now: float) -> None:
        """Do what the driver does not decide: the caller's audio and digits, and the end of the call."""
        session = self._session
        if line.kind == transcript.BINARY and not self.recording.is_echo:
            if session.state is State.CLOSED:
                return
            self._do(session.send(e.AudioReceived(bytes(line.size)), now), now)
        elif line.kind == transcript.TEXT and CORE_DRIVEN.match(line.text or ""):
            [digit] = self._codec.decode_event(line.message)
            self._do(session.send(digit, now), now)
        elif line.kind == transcript.CLOSE and session.state is not State.CLOSED:
            assert not self._has_app_ended, "the driver should have closed by itself"
            self._do(session.send(e.SessionEnding(), now), now)

    def _elided(self, line: Line) -> None:
        """Spread the audio of a stretch that was left out evenly over it."""
        audio: list[Line] = []
        for speaker in (PLATFORM, APP):
            count, size = line.elided(speaker)
            for n in range(count):
                at = line.at + n * (line.until - line.at) / count
                audio.append(Line(at=at, speaker=speaker, kind=transcript.BINARY, size=size // count))
        for one in sorted(audio, key=lambda one: one.at):
            self._serve_ticks(one.at)
            if one.speaker == PLATFORM:
                self._core(one, one.at)
            else:
                self._hear(bytes(one.size), one.at)

    def _app(self, line: Line, sent: bytes, now: float) -> None:
        if line.kind in ("tcp-abort", transcript.EOF):
            self._has_app_ended = True
            self._do(self._session.receive_close(None, now), now)
        elif line.kind == ONE_READ_TOO_MANY:
            # How often the link reads, no session sees.
            self._has_app_ended = True
            self._do(self._session.fail(1001, "", now), now)
        for heard in self._frames.feed(sent):
            self._hear(heard, now)

    def _hear(self, heard: Incoming, now: float) -> None:
        session = self._session
        match heard:
            case Ping(payload):
                self.said.append(Said(now, f"pong {payload.hex()}"))
            case Pong():
                self._do(session.receive_pong(now), now)
            case Close(code):
                self._has_app_ended = True
                self._do(session.receive_close(1005 if code is None else code, now), now)
            case Failure(code, reason):
                self._has_app_ended = True
                self._do(session.fail(code, reason, now), now)
            case str() | bytes():
                self._has_app_ended |= isinstance(heard, str) and "HANGUP" in heard
                self._do(session.receive(heard, now), now)


# What the recording says


def recorded(recording: Recording) -> list[Said]:
    """Return what the real driver said; of a stretch that was left out, each frame with its average size."""
    said: list[Said] = []
    has_ended = False
    for line in recording.lines:
        if line.speaker == APP:
            has_ended |= line.kind in (transcript.CLOSE, "tcp-abort") or "HANGUP" in (line.text or "")
        elif line.kind == transcript.ELIDED:
            count, size = line.elided(PLATFORM)
            said += [Said(line.at, size // count)] * count
        elif line.kind == transcript.BINARY and not has_ended:
            said.append(Said(line.at, line.size))
        elif line.kind == transcript.TEXT:
            said.append(Said(line.at, line.text or ""))
        elif line.kind == transcript.CLOSE:
            said.append(Said(line.at, f"close {line.code}"))
        elif line.kind == transcript.PONG:
            said.append(Said(line.at, f"pong {(line.data or b'').hex()}"))
    return said


def is_tick(said: Said, recording: Recording) -> bool:
    """Tell whether a tick made the driver say it."""
    if isinstance(said.what, int):
        return recording.is_echo
    return TICK_DRIVEN.search(said.what) is not None


def phases(recording: Recording) -> list[float]:
    """Return when the channel's timer may have been started, just before the call; the likeliest first.

    Ticks show in what they make the driver say, until a new direction starts another timer. Where they hardly show,
    any phase will do that lets the driver say the same.
    """
    turns = (line.at for line in recording.lines if line.speaker == APP and "SET_MEDIA_DIRECTION" in (line.text or ""))
    first_turn = min(turns, default=math.inf)
    ticks = [said.at for said in recorded(recording) if is_tick(said, recording) and said.at < first_turn]
    anywhere = [n * TICK / 10 - TICK for n in range(10)]
    if not ticks:
        return anywhere
    # Relative to the first, and not before or after by more than half a tick.
    offsets = [(at - ticks[0] + TICK / 2) % TICK - TICK / 2 for at in ticks]
    likely = (ticks[0] + statistics.median(offsets)) % TICK - TICK
    nearby = [likely + step * 1e-3 for step in (0, -1, 1, -2, 2, -4, 4)]
    return nearby if len(ticks) > 2 else nearby + anywhere


def replayed(recording: Recording, phase: float) -> list[Said]:
    """Return what our driver says, with the ticks lost that the recording shows to be lost."""
    theirs = [said for said in recorded(recording) if is_tick(said, recording) and isinstance(said.what, str)]
    most = math.ceil(recording.lines[-1].at / TICK * LOST)
    lost: list[float] = []
    while True:
        ours = Driver(recording, phase, lost).run()
        notices = [said for said in ours if is_tick(said, recording) and isinstance(said.what, str)]
        late = (mine.at for mine, real in zip(notices, theirs, strict=False) if real.at - mine.at > 0.9 * TICK)
        first = next(late, None)
        if first is None or len(lost) == most:
            return ours
        lost.append(first - TICK)


def differences(ours: list[Said], recording: Recording) -> list[str]:
    """Return where two accounts differ by more than the tolerances."""
    theirs = recorded(recording)
    found: list[str] = []
    words = [[said for said in account if isinstance(said.what, str)] for account in (ours, theirs)]
    for mine, real in itertools.zip_longest(*words, fillvalue=Said(math.nan, "nothing")):
        is_same = without_level(mine) == without_level(real)
        if not is_same or abs(level(mine) - level(real)) > race_at(real.at, recording):
            found.append(f"{mine} instead of {real}")
        elif not real.at - LATE <= mine.at <= real.at + TICK:
            found.append(f"{mine} at another time than {real}")
    audio = [[said.what for said in account if isinstance(said.what, int)] for account in (ours, theirs)]
    if audio[0] != audio[1]:
        found.append(f"audio: {audio[0]} instead of {audio[1]}")
    at_ticks = [[said.what for said in account if is_tick(said, recording)] for account in (ours, theirs)]
    if at_ticks[0] != at_ticks[1]:
        found.append(f"at ticks: {at_ticks[0]} instead of {at_ticks[1]}")
    return found


def without_level(said: Said) -> str:
    return QUEUE_LENGTH.sub("queue_length", str(said.what))


def level(said: Said) -> int:
    found = QUEUE_LENGTH.search(str(said.what))
    return int(found[1]) if found else 0


def race_at(at: float, recording: Recording) -> int:
    """Return by how many frames the queue may differ: none, unless frames were coming in step with the timer."""
    audio = (line for line in recording.lines if line.speaker == APP and line.kind == transcript.BINARY)
    last = [line for line in audio if line.at < at][-2:]
    is_streaming = len(last) == 2 and at - last[0].at < 3 * TICK and 0.25 * TICK < last[1].at - last[0].at < 2 * TICK
    return RACE if is_streaming else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_driver_says_what_the_real_one_said(path: Path) -> None:
    recording = load(path)
    found: list[str] = []
    for phase in phases(recording):
        found = differences(replayed(recording, phase), recording)
        if not found:
            break
    assert found == []


def test_a_replay_notices_a_wrong_driver() -> None:
    recording = load(FOLDER / "flush-json.jsonl")
    phase = phases(recording)[0]
    assert differences(replayed(recording, phase), recording) == []
    for change in ({"format": "slin"}, {"channel_id": "7"}, {"passthrough": True}):
        other = attrs.evolve(recording, profile=attrs.evolve(recording.profile, **change))
        assert differences(replayed(other, phase), recording) != []


def test_a_replay_finds_ticks_that_were_lost() -> None:
    recording = load(FOLDER / "drained-plain.jsonl")
    [phase, *_] = phases(recording)
    busy = Driver(recording, phase, lost=[1.0]).run()
    heard = [transcript.Line(at=said.at, speaker=PLATFORM, kind=transcript.TEXT, text=str(said.what)) for said in busy]
    lines = [line for line in recording.lines if line.speaker == APP or line.kind == transcript.OPEN]
    shown = attrs.evolve(recording, lines=sorted([*lines, *heard[:-1]], key=lambda line: line.at))
    assert replayed(shown, phase) == busy
    assert Driver(shown, phase).run() != busy


@pytest.mark.parametrize(("pieces", "end"), [(10, "close 1000"), (11, "close 1001")])
def test_a_replay_knows_messages_that_came_in_pieces(pieces: int, end: str) -> None:
    recording = load(FOLDER / "message-too-big-json.jsonl")
    sizes = [8004 // pieces] * (pieces - 1)
    sizes.append(8004 - sum(sizes))
    raw = [Line(at=0.5 + n / 1000, speaker=APP, kind="raw", size=size) for n, size in enumerate(sizes)]
    texts = [
        Line(at=0.6, speaker=APP, kind=transcript.TEXT, text='{"command":"PAUSE_MEDIA"}'),
        Line(at=0.6, speaker=APP, kind=transcript.TEXT, text='{"command":"GET_STATUS"}'),
        Line(at=0.6, speaker=APP, kind=transcript.TEXT, text='{"command":"HANGUP"}'),
    ]
    pieced = attrs.evolve(recording, lines=[recording.lines[0], recording.opening, texts[0], *raw, *texts[1:]])
    said = [str(said.what) for said in Driver(pieced, 0.0).run()]
    assert said[-1] == end
    assert [text for text in said if '"queue_length":50' in text] == ([said[-2]] if pieces == 10 else [])
