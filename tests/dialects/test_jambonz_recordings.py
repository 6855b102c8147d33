"""Recordings of jambonz's media server, replayed into both ends."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import transcript
from callstream_core.app_session import AppSession
from callstream_core.dialects.jambonz import DIALECT, JambonzProfile, MixType
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Transmit
from callstream_core.platform_session import PlatformSession
from callstream_core.transcript import Line

FOLDER = Path(__file__).parent.parent / "transcripts" / "jambonz"
FILES = sorted((*FOLDER.glob("audio-*.jsonl"), *FOLDER.glob("e2e-audio-*.jsonl")))
PLATFORM, APP = "jambonz", "app"
TICK = 0.02
# The rig's clock, and how far a real tick may stray.
TOLERANCE = 1.7 * TICK


@attrs.frozen(kw_only=True)
class Recording:
    lines: list[Line]
    profile: JambonzProfile

    def of(self, speaker: str, kind: str) -> list[Line]:
        return [line for line in self.lines if line.speaker == speaker and line.kind == kind]


def load(path: Path) -> Recording:
    """Read a recording, and the verb that it shows. The rig's metadata always says the same of rate and mix."""
    with path.open(encoding="utf-8") as file:
        texts = list(file)
    lines = [_completed(line, json.loads(text)) for line, text in zip(transcript.read(texts), texts, strict=True)]
    name = path.stem
    sizes = [line.size for line in lines if line.speaker == PLATFORM and line.kind == transcript.BINARY]
    is_stereo = "stereo" in name
    rate = {640: 16000, 1920: 48000, 2560: 64000}.get(sizes[-2] if sizes else 320, 8000)
    frame = 320 * rate // 8000
    profile = JambonzProfile(
        sample_rate=8000 if is_stereo else rate,
        mix_type=MixType.STEREO if is_stereo else MixType.MONO,
        is_streaming=not any(word in name for word in ("nonstreaming", "not-streaming", "b26", "b30")),
        mistakes_minus_one=True,
        swallows_marks=True,
        kept=(sizes[0] - frame) / 2 / rate if "slow-accept" in name else 0.0,
        # The feature server's media were faked: every clip took as long.
        clip_duration=0.3 if "e2e" in name else None,
        finish_on_key="#" if "finishonkey" in name else "",
    )
    return Recording(lines=lines, profile=profile)


def _completed(line: Line, found: dict[str, Any]) -> Line:
    """Return a line with what was kept of its audio; the rest repeats the first sample."""
    if line.kind != transcript.BINARY or not found.get("cut"):
        return line
    kept = base64.b64decode(found["bytes"])
    missing = line.size - len(kept)
    return attrs.evolve(line, data=kept + kept[:2] * (missing // 2) + bytes(missing % 2))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def recording(request: pytest.FixtureRequest) -> Recording:
    return load(request.param)


def test_all_recordings_are_here() -> None:
    assert len(FILES) > 30


# The application's end


def test_the_application_hears_everything(recording: Recording) -> None:
    app = AppSession(DIALECT, now=0.0)
    heard: list[Any] = []
    sent = texts = 0
    for line in recording.lines:
        if line.speaker != PLATFORM:
            continue
        if line.kind == transcript.CLOSE:
            heard += app.receive_close(line.code, line.at)
        else:
            sent += len(line.message) if line.kind == transcript.BINARY else 0
            texts += line.kind == transcript.TEXT
            heard += app.receive(line.message, line.at)
    assert not [output for output in heard if isinstance(output, e.PeerMisbehaved)]
    assert sum(len(output.data) for output in heard if isinstance(output, e.AudioReceived)) == sent
    known = (e.SessionOpened, e.MarkReached, e.DigitReceived, e.ClipPlayed, e.MessageIgnored)
    assert sum(isinstance(output, known) for output in heard) == texts
    if recording.lines[-1].kind == transcript.CLOSE and recording.lines[-1].speaker == PLATFORM:
        assert isinstance(heard[-1], e.SessionClosed)
        assert app.state is State.CLOSED


# The platform's end


def replay(recording: Recording) -> list[tuple[float, str | bytes]]:
    """Say to the simulation what the application said, and when; return what it says."""
    opening = next(line for line in recording.lines if line.kind == transcript.TEXT)
    # The rig told the same rate and mix whatever it sent; metadata can do that.
    info = json.loads(opening.text or "")
    platform = PlatformSession(DIALECT, attrs.evolve(recording.profile, call_info=info))
    said: list[tuple[float, str | bytes]] = []

    def take(outputs: list[Any], at: float) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                said.append((at, output.message))
            elif isinstance(output, CloseLink):
                said.append((at, f"close {output.code}"))

    # The media server's ticks show in its audio.
    first = next((line.at for line in recording.of(PLATFORM, transcript.BINARY)), opening.at + TICK)
    take(platform.open(first - TICK), opening.at)
    for line in recording.lines:
        while (due := platform.next_timeout()) is not None and due <= line.at:
            take(platform.handle_timeout(due), due)
        if line.speaker == APP and line.kind == transcript.CLOSE:
            take(platform.receive_close(line.code, line.at), line.at)
        elif line.speaker == APP:
            take(platform.receive(line.message, line.at), line.at)
        elif platform.state is State.OPEN and line is not opening:
            take(_happened(platform, line, recording.profile), line.at)
    return said


def _happened(platform: PlatformSession, line: Line, profile: JambonzProfile) -> list[Any]:
    """Have the caller do what the recording shows of him, and the call end as it did."""
    message = line.message
    if line.kind == transcript.CLOSE:
        return platform.send(e.SessionEnding(), line.at) if line.code == 1000 else []
    if isinstance(message, bytes):
        frame = profile.audio.frame_size
        tracks = profile.tracks
        audio = bytes((frame if len(message) > 2 * frame else len(message)) // len(tracks))
        return [out for track in tracks for out in platform.send(e.AudioReceived(audio, track), line.at)]
    if '"dtmf"' in message:
        found = json.loads(message)
        return platform.send(e.DigitReceived(found["dtmf"], int(found["duration"]) / 8000), line.at)
    return platform.send(e.MessageIgnored(message), line.at) if "bye" in message else []


def test_the_simulation_says_the_same(recording: Recording) -> None:
    if not recording.of(PLATFORM, transcript.TEXT):
        assert [line.kind for line in recording.lines] == [transcript.CLOSE], "no WebSocket came about"
        return
    said = replay(recording)
    texts = [(at, message) for at, message in said if isinstance(message, str)]
    wanted = [(line.at, line.message) for line in recording.of(PLATFORM, transcript.TEXT)]
    closes = recording.of(PLATFORM, transcript.CLOSE)
    # A rig that stops is no close; an application's own close may go unanswered there.
    wanted += [(line.at, f"close {line.code}") for line in closes if line.code == 1000]
    if not any('"playDone"' in str(message) for _, message in wanted):
        # The media server alone leaves clips to others, who tell of them.
        texts = [(at, text) for at, text in texts if '"playDone"' not in text]
    if not closes or closes[-1].code != 1000:
        texts = [(at, text) for at, text in texts if not text.startswith("close")]
    assert [_shape(text) for _, text in texts] == [_shape(text) for _, text in wanted]
    for (at, text), (wanted_at, _) in zip(texts, wanted, strict=True):
        # What the rig says to a hang-up, its script decides.
        if not text.startswith("close"):
            assert at == pytest.approx(wanted_at, abs=TOLERANCE), text


def _shape(message: object) -> object:
    """Return a message without the numbers that the rig's faked media account for."""
    text = str(message)
    return json.loads(text)["data"].get("id") if '"playDone"' in text else text


def test_the_uplink_has_the_same_sizes(recording: Recording) -> None:
    wanted = [line.size for line in recording.of(PLATFORM, transcript.BINARY) if line.size]
    if wanted and not recording.of(APP, transcript.TEXT) and not recording.of(APP, transcript.CLOSE):
        said = [len(message) for _, message in replay(recording) if isinstance(message, bytes)]
        assert said == wanted
        at = [line.at for line in recording.of(PLATFORM, transcript.BINARY)]
        ticks = (at[-1] - at[0]) / TICK + 1
        frames = sum(wanted[1:]) / recording.profile.audio.frame_size + 1
        assert frames == pytest.approx(ticks, abs=1.5)


# An official package before a script


def test_what_an_official_package_says_to_audio_is_understood() -> None:
    with (FOLDER / "peer-sdk-audio-sim.jsonl").open(encoding="utf-8") as file:
        texts = list(file)
    lines = [
        line for line in map(_completed, transcript.read(texts), map(json.loads, texts)) if line.more["conn"] == 34
    ]
    app = AppSession(DIALECT, now=0.0)
    platform = PlatformSession(DIALECT, JambonzProfile())
    platform.open(0.0)
    heard: list[Any] = []
    obeyed: list[Any] = []
    for line in lines:
        if line.kind == transcript.CLOSE:
            heard += app.receive_close(line.code, line.at) if line.speaker == PLATFORM else []
        elif line.speaker == PLATFORM:
            heard += app.receive(line.message, line.at)
        else:
            obeyed += platform.receive(line.message, line.at)
    kinds = [e.SessionOpened, e.AudioReceived, e.AudioReceived, e.DigitReceived]
    # A mark that this application did not place, and a clip where it thinks of a stream, are told all the same.
    assert [type(event) for event in heard[:4]] == kinds
    assert isinstance(heard[-1], e.SessionClosed)
    assert [type(event) for event in obeyed if not isinstance(event, Transmit)] == [
        c.SendAudio,
        c.PlaceMark,
        e.PeerMisbehaved,
        c.ForgetMarks,
        c.ClearPlayout,
        c.HangUp,
        CloseLink,
        e.SessionClosed,
    ]
