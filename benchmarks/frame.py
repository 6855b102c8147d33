"""What one frame, or one message of call control, costs in the core alone: no sockets, no event loop."""

from __future__ import annotations

import math
import statistics
import time
from array import array
from collections.abc import Callable
from itertools import count, islice

from callstream_core import AppSession, PlatformSession, dialects
from callstream_core.commands import Answer, PlaceMark, SendAudio
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import AsteriskProfile, Syntax
from callstream_core.dialects.jambonz import JambonzProfile
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.events import AudioReceived, MarkReached
from callstream_core.jambonz import ControlSession, orders, verbs, words
from callstream_core.jambonz.codec import encode_event
from callstream_core.outputs import Transmit
from callstream_core.websocket import FrameDecoder, FrameEncoder

Work = Callable[[int], None]


def _profile(name: str) -> Profile:
    if name == "sinch":
        return SinchProfile()
    if name == "jambonz":
        return JambonzProfile()
    return AsteriskProfile(format=name, syntax=Syntax.JSON)


def _open(name: str) -> tuple[AppSession, PlatformSession]:
    """Return both ends of an answered call: to Sinch, to jambonz, or to Asterisk with this codec."""
    profile = _profile(name)
    dialect = dialects.get(profile.opening().dialect)
    platform = PlatformSession(dialect, profile)
    app = AppSession(dialect)
    for output in platform.open(0.0):
        if isinstance(output, Transmit):
            app.receive(output.message, 0.0)
    for output in app.send(Answer(), 0.0):
        platform.receive(output.message, 0.0)  # type: ignore[union-attr]
    return app, platform


def _receive(name: str, frame: bytes) -> Work:
    app, _ = _open(name)
    moments = count(1)

    def work(frames: int) -> None:
        receive = app.receive
        for moment in islice(moments, frames):
            receive(frame, moment * 0.02)

    return work


def _send(name: str, frame: bytes) -> Work:
    app, _ = _open(name)
    moments = count(1)

    def work(frames: int) -> None:
        send = app.send
        for moment in islice(moments, frames):
            send(SendAudio(frame), moment * 0.02)

    return work


def _send_with_marks(name: str, frame: bytes) -> Work:
    """A mark every second, reached a frame later: the platform says so, or the session's own clock does."""
    app, _ = _open(name)
    profile = _profile(name)
    answers = dialects.get(profile.opening().dialect).codec(profile).encode_event(MarkReached("m"))
    moments = count(1)

    def work(frames: int) -> None:
        send = app.send
        for moment in islice(moments, frames):
            now = moment * 0.02
            if moment % 50 == 1:
                send(PlaceMark("m"), now)
            send(SendAudio(frame), now)
            if moment % 50 == 1:
                for answer in answers:
                    app.receive(answer, now)
                app.handle_timeout(now)

    return work


def _echo(name: str, frame: bytes) -> Work:
    app, _ = _open(name)

    moments = count(1)

    def work(frames: int) -> None:
        receive, send = app.receive, app.send
        for moment in islice(moments, frames):
            now = moment * 0.02
            for event in receive(frame, now):
                send(SendAudio(event.data), now)  # type: ignore[union-attr]

    return work


def _whole(name: str, frame: bytes) -> Work:
    """Echo from the bytes of the socket to the bytes of the socket."""
    app, _ = _open(name)
    decoder, encoder = FrameDecoder(masked=True), FrameEncoder()
    wire = FrameEncoder(mask=lambda: b"\x1a\x2b\x3c\x4d").message(frame)

    moments = count(1)

    def work(frames: int) -> None:
        for moment in islice(moments, frames):
            now = moment * 0.02
            for message in decoder.feed(wire):
                for event in app.receive(message, now):  # type: ignore[arg-type]
                    for output in app.send(SendAudio(event.data), now):  # type: ignore[union-attr]
                        encoder.message(output.message)  # type: ignore[union-attr]

    return work


def _platform(name: str, frame: bytes) -> Work:
    """The simulated platform: take a frame, play it at its tick."""
    _, platform = _open(name)
    moments = count(1)

    def work(frames: int) -> None:
        for moment in islice(moments, frames):
            platform.receive(frame, moment * 0.02)
            platform.handle_timeout(moment * 0.02 + 0.019)

    return work


def _tap(fragment: bytes) -> Work:
    """Hear a party of a tapped call: JSON and base64, several of the others' frames in one message."""
    yeastar = dialects.get("yeastar")
    app, platform = AppSession(yeastar), PlatformSession(yeastar)
    platform.open(0.0)
    [said] = platform.send(AudioReceived(fragment, platform.profile.tracks[0]), 0.0)
    assert isinstance(said, Transmit)
    moments = count(1)

    def work(frames: int) -> None:
        receive, message = app.receive, said.message
        for moment in islice(moments, frames):
            receive(message, moment * 0.08)

    return work


def _asked() -> Work:
    """A hook of jambonz comes in, an ack with verbs goes out."""
    session = _controlled()
    numbers = count(1)
    data = {"call_sid": "c", "call_status": "in-progress", "reason": "dtmfDetected", "digits": "1", "verb_id": "v1"}
    told = encode_event(words.HookCalled(msgid="#", call_sid="c", hook="/menu", data=data))
    answer = (verbs.Say(text="Please hold."), verbs.Gather(input=["digits"], num_digits=1, action_hook="/menu"))

    def work(messages: int) -> None:
        for number in islice(numbers, messages):
            msgid = f"m{number}"
            session.receive(told.replace("#", msgid), number)
            session.send(orders.Ack(msgid, answer), number)

    return work


def _ordered() -> Work:
    """A command goes out."""
    session = _controlled()
    numbers = count(1)
    stack = (verbs.Play(url="https://example.com/beep.wav"),)

    def work(messages: int) -> None:
        for number in islice(numbers, messages):
            session.send(orders.Redirect(stack), number)

    return work


def _controlled() -> ControlSession:
    """Return the application's end of a control socket, on a call that it has taken."""
    session = ControlSession()
    call = {"call_sid": "c", "call_status": "trying"}
    session.receive(encode_event(words.SessionOffered(msgid="m0", call_sid="c", data=call)), 0.0)
    session.send(orders.Ack("m0", (verbs.Answer(),)), 0.0)
    session.receive(encode_event(words.CallStatusChanged(msgid="s0", call_sid="c", data=call)), 0.0)
    return session


def _voice(loudness: float) -> bytes:
    """Return 20 ms of a voice: two sounds, neither in step with the frame."""
    samples = (loudness * (math.sin(n * 0.31) + 0.5 * math.sin(n * 0.083)) for n in range(160))
    return array("h", map(round, samples)).tobytes()


SPEECH = _voice(3000)
"""Among its low bytes is that of the sample -1, which jambonz may not have, but the sample itself is not."""
NOISE = _voice(2)
"""Here it is."""
FRAMES = (("ulaw", b"\x55" * 160), ("slin", SPEECH), ("sinch", SPEECH), ("jambonz", SPEECH))
CASES: dict[str, Callable[[str, bytes], Work]] = {
    "app: receive": _receive,
    "app: send (ledger, framer, flow)": _send,
    "app: send, a mark per second": _send_with_marks,
    "app: receive + send": _echo,
    "app: bytes to bytes (with WebSocket)": _whole,
    "platform: receive + play": _platform,
}


def run(*, rounds: int = 9, frames: int = 5000) -> dict[str, dict[str, float]]:
    """Return the microseconds of processor time per frame or message: median, least and most of all rounds in turns."""
    works = {f"{work}, {name}": case(name, frame) for name, frame in FRAMES for work, case in CASES.items()}
    works["app: send samples of -1, jambonz"] = _send("jambonz", NOISE)
    works["app: receive 80 ms, yeastar"] = _tap(bytes(range(256)) * 5)
    works["app: hook in, ack out, jambonz"] = _asked()
    works["app: command out, jambonz"] = _ordered()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work(frames)
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time_ns()
            work(frames)
            taken[name].append((time.process_time_ns() - start) / frames / 1000)
    return {
        name: {"median": statistics.median(times), "least": min(times), "most": max(times)}
        for name, times in taken.items()
    }
