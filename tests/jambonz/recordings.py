"""Recordings of a real jambonz's control sockets, and both ends driven by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from callstream_core import transcript
from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import Refused, decode_order
from callstream_core.jambonz.control_platform import ControlPlatform
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.control_state import ControlOutput, ControlState
from callstream_core.jambonz.limits import ControlSettings
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.outputs import CloseLink, Transmit
from tests.jambonz.sim import brief

FOLDER = Path(__file__).parent.parent / "transcripts" / "jambonz"
FILES = sorted(
    path for kind in ("control-*", "e2e-control-*", "peer-*-engine-*") for path in FOLDER.glob(f"{kind}.jsonl")
)
"""Bare scripted applications; both sockets of a call at once; the official packages for applications."""
SCRIPTED = sorted(FOLDER.glob("peer-*-sim-*.jsonl"))
"""The official packages before a script that says what jambonz may say, and what it never would."""


def lines_of(path: Path) -> list[transcript.Line]:
    """Return a recording."""
    lines = list(transcript.read(path.read_text().splitlines()))
    spoken = {line.more["conn"] for line in lines if line.kind != "close" or line.code == 1006}
    # Several scenarios were recorded in a row, and their sockets counted through; last closes reach into the next.
    lines = [line for line in lines if line.more["conn"] in spoken]
    order = sorted({int(line.more["conn"]) for line in lines})
    return [attrs.evolve(line, more={"conn": order.index(int(line.more["conn"])) + 1}) for line in lines]


def connection_of(line: transcript.Line) -> int:
    """Return the number of the socket."""
    return int(line.more["conn"])


# The application's end


def plain(message: str | bytes) -> Any:
    """Return a message of the application, so that equal ones compare."""
    found = json.loads(message)
    if isinstance(found, dict) and found.get("command") == "redirect" and isinstance(found.get("data"), list):
        found.setdefault("queueCommand", False)
    if isinstance(found, dict) and found.get("command") in ("tts:flush", "tts:clear"):
        found.pop("data", None)
    if isinstance(found, dict) and found.get("command") != "redirect":
        # Said by the official packages, and used by nobody.
        found.pop("queueCommand", None)
    if isinstance(found, dict) and isinstance(found.get("data"), dict):
        if isinstance(found["data"].get("whisper"), dict):
            found["data"]["whisper"] = [found["data"]["whisper"]]
        if found.get("command") == "mute:status" and not isinstance(found["data"], dict):
            found["data"] = {"mute_status": found["data"]}
    elif isinstance(found, dict) and found.get("command") == "mute:status":
        found["data"] = {"mute_status": found["data"]}
    return found


class AppReplay:
    """Lets the application's end hear a recording, and say what the application said."""

    def __init__(self, path: Path) -> None:
        self.said: list[Any] = []
        """What was sent, without the acks that the session made by itself."""
        self.expected: list[Any] = []
        self.refused: list[str] = []
        self.heard: list[ControlOutput] = []
        self._sessions: dict[int, ControlSession] = {}
        self._last: ControlSession | None = None
        for line in lines_of(path):
            self._play(line)

    def _session(self, line: transcript.Line) -> ControlSession:
        number = connection_of(line)
        if number not in self._sessions:
            self._sessions[number] = ControlSession(settings=ControlSettings(names_verbs=False), now=line.at)
        return self._sessions[number]

    def _take(self, outputs: list[ControlOutput]) -> None:
        own = {output.msgid for output in outputs if isinstance(output, w.Acked)}
        for output in outputs:
            if not isinstance(output, Transmit):
                self.heard.append(output)
            elif (found := plain(output.message)).get("msgid") not in own:
                self.said.append(found)

    def _play(self, line: transcript.Line) -> None:
        session = self._session(line)
        if session.state is ControlState.CLOSED:
            return
        if line.speaker == "jambonz":
            if line.kind == "close":
                self._take(session.receive_close(line.code, line.at))
            else:
                self._take(session.receive(line.message, line.at))
            if isinstance(self.heard[-1], w.Acked) and isinstance(self.heard[-2], w.SessionReconnected) and self._last:
                session.resume(self._last.memory)
            self._last = session
            return
        if line.kind == "close":
            code = line.code if line.code not in (1005, 1006, None) else None
            self._take(session.receive_close(None, line.at) if code is None else session.fail(code, "", line.at))
            return
        if line.kind == "binary" and line.data is None:
            return
        try:
            command = decode_order(line.message)
        except Refused:
            return
        try:
            self._take(session.send(command, line.at))
        except LocalProtocolError as error:
            self.refused.append(str(error))
        else:
            self.expected.append(plain(line.message))


# The platform's end

_UNSURE = frozenset({"duration", "playback_seconds", "playback_milliseconds", "dial_call_duration"})
_FAR_IDS = frozenset({"call_sid", "call_id", "sbc_callid", "dial_call_sid", "dial_sbc_callid", "from", "to"})


def profile_of(lines: list[transcript.Line]) -> JambonzProfile:
    """Return a jambonz like the recorded one."""
    said = [json.loads(line.message) for line in lines if line.speaker == "jambonz" and line.kind == "text"]
    call: dict[str, Any] = next((found["data"] for found in said if found["type"] == "session:new"), {})
    headers = call.get("sip", {}).get("headers", {})
    names = {
        "caller": "from",
        "called": "to",
        "caller_name": "caller_name",
        "call_sid": "call_sid",
        "account_sid": "account_sid",
        "application_sid": "application_sid",
        "trace_id": "trace_id",
        "call_id": "call_id",
        "sbc_callid": "sbc_callid",
        "originating_ip": "originating_sip_ip",
        "originating_trunk": "originating_sip_trunk_name",
        "sip_address": "local_sip_address",
        "env_vars": "env_vars",
    }
    known: dict[str, Any] = {name: call[key] for name, key in names.items() if key in call}
    return JambonzProfile(
        url="ws://app/#rc=2" if not said else "ws://app/",
        has_status_hook=not said or any(found["type"] == "call:status" for found in said),
        is_outbound=bool(said) and said[0]["type"] == "call:status",
        sip_headers=headers,
        clips={"http://media/long.wav": 60.0},
        attach_delay=_attach_delay(lines),
        **known,
    )


def _attach_delay(lines: list[transcript.Line]) -> float:
    """Return how long that jambonz took from the first ack to its first word."""
    acked = next((line.at for line in lines if line.speaker == "app" and line.kind != "close"), 0.0)
    return next((line.at - acked for line in lines if line.speaker == "jambonz" and line.at > acked > 0), 0.01)


def stimuli_of(found: dict[str, Any]) -> Iterator[h.Stimulus]:
    """Return what must have happened for jambonz to say this."""
    data = found["data"]
    is_far = "parent_call_sid" in data
    match found["type"], data.get("call_status"):
        case "call:status", "completed" | "no-answer" if not is_far and data.get("call_termination_by") == "caller":
            yield h.CallerHungUp(data.get("headers", {}))
        case "call:status", "ringing" if is_far or "call_sid" not in found:
            yield h.FarEndRang()
        case "call:status", "in-progress" if is_far or "call_sid" not in found:
            yield h.FarEndAnswered()
        case "call:status", "completed" if is_far and "headers" in data:
            yield h.FarEndHungUp(data["headers"])
        case "tts:streaming-event", _ if data["event_type"] == "stream_open":
            yield h.SpeechConnected()
        case "tts:streaming-event", _ if data["event_type"] == "user_interruption":
            yield h.SpeechInterrupted()
        case "verb:hook", _ if found["hook"] == "/listen-done":
            yield h.VerbEnded({"dial_call_duration": 0})
        case "verb:hook", "in-progress" if found["hook"] == "/done":
            yield h.VerbEnded({key: data[key] for key in ("dial_call_duration", "digits") if key in data})


class PlatformReplay:
    """Lets the platform's end hear what the application said, when it said it."""

    def __init__(
        self,
        path: Path,
        happens: dict[float, h.Stimulus | str] | None = None,
        refusal: h.Refusal = h.Refusal.CONNECTION,
        **options: Any,
    ) -> None:
        self.lines = lines_of(path)
        self.platform = ControlPlatform(attrs.evolve(profile_of(self.lines), **options))
        self._refusal = refusal
        self._infers = not happens
        self.said: dict[int, list[str]] = {}
        self.expected: dict[int, list[str]] = {}
        self.data: dict[int, list[dict[str, Any]]] = {}
        self.expected_data: dict[int, list[dict[str, Any]]] = {}
        self._asked: dict[int, list[str]] = {}
        self._links: list[int] = []
        self._recorded: dict[str, tuple[int, int]] = {}
        self._counts: dict[int, int] = {}
        spoken = {connection_of(line) for line in self.lines if line.kind != "close"}
        self._refused = {connection_of(line) for line in self.lines} - spoken
        self._now = 0.0
        self._take(self.platform.begin(self.lines[0].at), self.lines[0].at)
        events: list[tuple[float, Any]] = [*(happens or {}).items(), *((line.at, line) for line in self.lines)]
        for at, what in sorted(events, key=lambda item: item[0]):
            if isinstance(what, transcript.Line):
                self._play(what)
                continue
            self._run(at)
            is_message = isinstance(what, str)
            self._take(self.platform.receive(what, at) if is_message else self.platform.send(what, at), at)
        self._run(self.lines[-1].at + 0.5)

    def _run(self, until: float) -> None:
        while (at := self.platform.next_timeout()) is not None and at <= until:
            self._now = max(at, self._now)
            self._take(self.platform.handle_timeout(self._now), self._now)
        self._now = max(until, self._now)

    def _take(self, outputs: list[h.PlatformOutput], now: float) -> None:
        for output in outputs:
            link, what = (output.link, output.output) if isinstance(output, h.OnLink) else (0, output)
            if isinstance(what, h.DialLink):
                self._links.append(link)
                number = len(self._links)
                if number not in self._refused:
                    self._take(self.platform.link_opened(now, link), now)
            elif isinstance(what, Transmit):
                number = self._number(link)
                found = json.loads(str(what.message))
                self.said.setdefault(number, []).append(brief(found))
                self.data.setdefault(number, []).append(found)
                if _wants_ack(found):
                    self._asked.setdefault(number, []).append(found["msgid"])
            elif isinstance(what, CloseLink) and what.code is not None:
                self.said.setdefault(self._number(link), []).append(f"close {what.code}")

    def _number(self, link: int) -> int:
        """Return the number of the newest socket of a link, counted as the recording counts."""
        return max(number for number, name in enumerate(self._links, 1) if name == link)

    def _play(self, line: transcript.Line) -> None:
        number = connection_of(line)
        if line.speaker == "jambonz":
            if line.kind == "close":
                self.expected.setdefault(number, []).append(f"close {line.code}")
                return
            found = json.loads(line.message)
            self.expected.setdefault(number, []).append(brief(found))
            self.expected_data.setdefault(number, []).append(found)
            if _wants_ack(found):
                self._counts[number] = self._counts.get(number, 0) + 1
                self._recorded[found["msgid"]] = (number, self._counts[number] - 1)
            for stimulus in stimuli_of(found) if self._infers else ():
                # What had just been due was due for jambonz, too.
                self._run(line.at - 0.02)
                self._take(self.platform.send(stimulus, line.at), line.at)
            return
        self._run(line.at)
        if number > len(self._links) or self.platform.state.value == "closed":
            return
        link = self._links[number - 1]
        if line.kind == "close":
            if number in self._refused:
                self._take(self.platform.link_refused(self._refusal, line.at, link), line.at)
            else:
                code = None if line.code == 1006 else line.code
                self._take(self.platform.receive_close(code, line.at, link=link), line.at)
        elif line.kind == "text" or line.data is not None:
            self._take(self.platform.receive(self._translated(line.message), line.at, link), line.at)

    def _translated(self, message: str | bytes) -> str | bytes:
        try:
            found = json.loads(message)
        except ValueError:
            return message
        if isinstance(found, dict) and found.get("msgid") in self._recorded:
            number, index = self._recorded[found["msgid"]]
            asked = self._asked.get(number, [])
            found["msgid"] = asked[index] if index < len(asked) else "none"
            text = json.dumps(found)
            return text if isinstance(message, str) else text.encode()
        return message


def _wants_ack(found: dict[str, Any]) -> bool:
    return bool(w.NOTICES[found["type"]].needs_ack)


def determined(found: dict[str, Any]) -> dict[str, Any]:
    """Return what of a message does not depend on the clock or on names that jambonz draws."""
    data = found["data"]
    if not isinstance(data, dict):
        return {"data": data}
    unsure = _UNSURE | (_FAR_IDS if "parent_call_sid" in data or "dial_call_sid" in data else frozenset())
    known = {key: value for key, value in data.items() if key not in unsure}
    if "yyyy" in str(known.get("customerData")) or "trimmed" in str(known.get("customerData")):
        # The recorder cut it.
        known["customerData"] = "long"
    if found["type"] == "session:new":
        known = {key: value for key, value in known.items() if key not in ("sip", "has_recording", "participants")}
    if "parent_call_sid" in data:
        known = {key: value for key, value in known.items() if key not in ("originating_sip_ip", "parent_call_sid")}
    return {"type": found["type"], "hook": found.get("hook"), "top": "call_sid" in found, "data": known}
