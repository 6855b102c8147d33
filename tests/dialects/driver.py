"""A call to a simulated Asterisk, told as a dialogue: this in, exactly that out, tick by tick."""

from __future__ import annotations

import json
from typing import Any

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import DIALECT, AsteriskProfile, Generation, Syntax
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.platform_session import PlatformSession
from callstream_core.websocket import Close, Failure, FrameDecoder, FrameEncoder, Incoming, Ping, Pong

G1, G2_21, G2, G3, G4, G5, G6 = Generation
ALL = tuple(Generation)
SINCE_G2 = ALL[1:]
SINCE_G3 = ALL[3:]
SINCE_G4 = ALL[4:]

JSON, PLAIN = Syntax.JSON, Syntax.PLAIN
CHANNEL_ID = "1795196411.3"

Heard = list[str]
"""What a step gave: texts as they are; `core 160`, a frame for the caller; `silence`, a frame that the driver made
up; `audio 160`, a message for the application; `close 1000`; `answered`; `pong 6869`."""


class Call:
    """One channel of the driver. Ticks come when asked for; everything else happens halfway between two of them."""

    def __init__(self, generation: Generation = G5, syntax: Syntax | None = None, **options: Any) -> None:
        if syntax is None:
            syntax = JSON if generation >= G3 else PLAIN
        self.profile = AsteriskProfile(
            generation=generation, syntax=syntax, **({"channel_id": CHANNEL_ID, "connection_id": "conn1"} | options)
        )
        self.session = PlatformSession(DIALECT, self.profile)
        self.sent = b""
        """All audio that the application sent."""
        self.played = b""
        """All audio that reached the core, but for silence that the driver made up."""
        self.played_at: list[float] = []
        self.warnings: list[str] = []
        self.period = self.profile.playout.period
        self._origin = 0.0
        self._tick = 0
        self.opened = self._heard(self.session.open(0.0))

    @property
    def idle(self) -> Heard:
        """What a tick gives that finds nothing."""
        return ["silence"] if self.profile.generation < G4 else []

    @property
    def now(self) -> float:
        return self._origin + (self._tick + 0.5) * self.period

    @property
    def next_tick(self) -> float:
        return self._origin + (self._tick + 1) * self.period

    # What the application does

    def app(self, *said: str | bytes | int, at: float | None = None) -> Heard:
        """Let the application say texts, or audio: so many bytes of it, no two frames alike."""
        heard: Heard = []
        for message in said:
            if isinstance(message, int):
                start = len(self.sent)
                message = bytes((n * 7 + n // 160) % 251 for n in range(start, start + message))
            if isinstance(message, bytes):
                self.sent += message
            heard += self._heard(self.session.receive(message, self.now if at is None else at))
        return heard

    def cut(self) -> Heard:
        """Let the connection go away."""
        return self._heard(self.session.receive_close(None, self.now))

    # What the core does

    def core(self, *frames: int) -> Heard:
        """Let the core write voice frames of so many bytes."""
        return self.core_event(*(e.AudioReceived(bytes(size)) for size in frames))

    def core_event(self, *events: e.Event) -> Heard:
        return [heard for event in events for heard in self._heard(self.session.send(event, self.now))]

    # What time does

    def ticks(self, count: int) -> list[Heard]:
        """Let ticks pass; return what each of them gave."""
        return [self.tick() for _ in range(count)]

    def tick(self) -> Heard:
        at = self.next_tick
        announced = self.session.next_timeout()
        heard = self._heard(self.session.handle_timeout(at), at)
        self._tick += 1
        assert not heard or announced == at, "a tick that does something is asked for"
        after = self.session.next_timeout()
        assert after is None or after > at, "a handled tick moves"
        return heard

    def late_tick(self, passed: int) -> Heard:
        """Let so many ticks pass before the last of them is handled; return what that gives."""
        self._tick += passed - 1
        at = self.next_tick
        self._tick += 1
        return self._heard(self.session.handle_timeout(at))

    def restarts(self) -> None:
        """Count ticks from now: the channel has got a new timer."""
        self._origin, self._tick = self.now, 0

    def _heard(self, outputs: list[Output], at: float | None = None) -> Heard:
        heard: Heard = []
        for output in outputs:
            match output:
                case Transmit(str(text)):
                    heard.append(text)
                case Transmit(bytes(audio)):
                    heard.append(f"audio {len(audio)}")
                case FramePlayed(data=data, at=played_at):
                    assert at is None or played_at == at
                    if data == bytes(2 * self.profile.audio.frame_samples) and self.idle:
                        heard.append("silence")
                    else:
                        heard.append(f"core {len(data)}")
                        self.played += data
                        self.played_at.append(played_at)
                case CloseLink(code):
                    heard.append(f"close {code}")
                case c.Answer():
                    heard.append("answered")
                case e.PeerMisbehaved(reason):
                    self.warnings.append(reason)
        return heard

    # The words

    def event(self, name: str, **values: Any) -> str:
        """Return an event as this channel says it."""
        if self.profile.syntax is JSON:
            values = {"event": name, "channel_id": CHANNEL_ID, **values}
            return json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        if "correlation_id" in values:
            return f"{name} {values['correlation_id']}".rstrip(" ")
        if self.profile.has_channel_id and values:
            values = {"channel_id": CHANNEL_ID, **values}
        return " ".join((name, *(f"{key}:{str(value).lower()}" for key, value in values.items())))

    def status(self, length: int, *, full: bool = False, bulk: bool = False, paused: bool = False) -> str:
        return self.event(
            "STATUS",
            queue_length=length,
            xon_level=800,
            xoff_level=900,
            queue_full=full,
            bulk_media=bulk,
            media_paused=paused,
        )

    def mark(self, name: str) -> str:
        return self.event("MEDIA_MARK_PROCESSED", correlation_id=name)

    def completed(self, name: str) -> str:
        return self.event("MEDIA_BUFFERING_COMPLETED", correlation_id=name)

    def error(self, text: str) -> str:
        if self.profile.syntax is JSON:
            return self.event("ERROR", error_text=text)
        return f"ERROR channel_id:{CHANNEL_ID} error_text:{text}"

    def say(self, command: str, argument: str = "", **values: Any) -> str:
        """Return a command in this channel's syntax."""
        if self.profile.syntax is PLAIN:
            return f"{command} {argument}" if argument else command
        named = {"correlation_id": argument} if argument else {}
        return json.dumps({"command": command, **named, **values}, separators=(",", ":"))


class WireCall(Call):
    """The same, with the application's end of the WebSocket: its bytes go in."""

    def __init__(self, generation: Generation = G5, syntax: Syntax | None = None, **options: Any) -> None:
        super().__init__(generation, syntax, **options)
        self._frames = FrameDecoder(masked=self.profile.is_server, rules=self.profile.rules)
        self._encoder = FrameEncoder()

    def wire(self, data: bytes) -> Heard:
        return [heard for incoming in self._frames.feed(data) for heard in self._incoming(incoming)]

    def _incoming(self, incoming: Incoming) -> Heard:
        session = self.session
        match incoming:
            case Ping(payload):
                assert self._encoder.pong(payload) == bytes((0x8A, len(payload))) + payload
                return [f"pong {payload.hex()}"]
            case Pong():
                return self._heard(session.receive_pong(self.now))
            case Close(code):
                return self._heard(session.receive_close(1005 if code is None else code, self.now))
            case Failure(code, reason):
                return self._heard(session.fail(code, reason, self.now))
            case str() | bytes():
                return self._heard(session.receive(incoming, self.now))
