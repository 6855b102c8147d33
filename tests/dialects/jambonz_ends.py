"""Both ends of jambonz's audio socket, told as a dialogue."""

from __future__ import annotations

import json
from binascii import b2a_base64
from typing import Any

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.jambonz import DIALECT, JambonzProfile
from callstream_core.outputs import CloseLink, FramePlayed, Transmit
from callstream_core.platform_session import PlatformSession

MS = 16
"""Bytes of a millisecond at 8000 samples per second."""
METADATA = '{"sampleRate":8000,"mixType":"mono","callSid":"c-1"}'


def voice(seconds: float, rate: int = 8000) -> bytes:
    return (5000).to_bytes(2, "little") * round(seconds * rate)


class Call:
    """A simulated media server, and what comes of what an application says to it."""

    def __init__(self, **options: Any) -> None:
        self.profile = JambonzProfile(**options)
        self.session = PlatformSession(DIALECT, self.profile)
        self.now = 0.0
        self.said: list[tuple[float, str]] = []
        self.sent: list[bytes] = []
        self.played: list[FramePlayed] = []
        self.notes: list[str] = []
        self.closes: list[int | None] = []
        self._take(self.session.open(0.0))

    def _take(self, outputs: list[Any]) -> None:
        for output in outputs:
            match output:
                case Transmit(str(text)):
                    self.said.append((round(self.now, 3), text))
                case Transmit(bytes(audio)):
                    self.sent.append(audio)
                case FramePlayed():
                    self.played.append(output)
                case CloseLink(code=code):
                    self.closes.append(code)
                case e.PeerMisbehaved(reason):
                    self.notes.append(reason)

    def app(self, *messages: str | bytes | dict[str, Any]) -> None:
        for message in messages:
            text = json.dumps(message) if isinstance(message, dict) else message
            self._take(self.session.receive(text, self.now))

    def mark(self, *names: str) -> None:
        self.app(*({"type": "mark", "data": {"name": name}} for name in names))

    def clip(self, data: bytes, **values: Any) -> None:
        content = b2a_base64(data, newline=False).decode()
        values = {"audioContent": content, "audioContentType": "raw", "sampleRate": 8000, **values}
        self.app({"type": "playAudio", "data": values})

    def say(self, *events: e.Event) -> None:
        for event in events:
            self._take(self.session.send(event, self.now))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.session.next_timeout()) is not None and due <= until + 1e-9:
            self.now = due
            self._take(self.session.handle_timeout(due))
        self.now = until

    def cut(self, code: int | None) -> None:
        self._take(self.session.receive_close(code, self.now))

    @property
    def heard(self) -> float:
        return sum(len(frame.data) for frame in self.played) / 2 / self.profile.reply_audio.rate

    @property
    def marks(self) -> list[tuple[float, str, str]]:
        found = [(at, json.loads(text)["data"]) for at, text in self.said[1:] if '"mark"' in text]
        return [(at, data["name"], data["event"]) for at, data in found]

    @property
    def done(self) -> list[str]:
        return [json.loads(text)["data"].get("id", "") for _, text in self.said if '"playDone"' in text]


class App:
    """An application's end, opened."""

    def __init__(self, profile: JambonzProfile | None = None, metadata: str = METADATA) -> None:
        self.session = AppSession(DIALECT, profile, now=0.0)
        self.opened = self.session.receive(metadata, 0.0)

    def say(self, command: c.Command, now: float = 0.1) -> list[Any]:
        return [o.message if isinstance(o, Transmit) else o for o in self.session.send(command, now)]

    def hear(self, message: str | bytes, now: float = 0.1) -> list[Any]:
        return list(self.session.receive(message, now))


def clips(**options: Any) -> Call:
    """Return a call that plays clips."""
    return Call(is_streaming=False, **options)
