"""Drive a simulated jambonz, and write down what it says in few words."""

from __future__ import annotations

import json
from typing import Any

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz.control_platform import ControlPlatform
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.outputs import CloseLink, Transmit

OPENING = [{"verb": "config", "notifyEvents": True}]


def brief(message: dict[str, Any]) -> str:
    """Return a message of jambonz in few words."""
    data = message["data"]
    match message["type"]:
        case "call:status":
            leg = " of B" if data.get("parent_call_sid") else ""
            return f"cs {data['call_status']}{leg}" + (f" error {data['error']}" if "error" in data else "")
        case "verb:status":
            return f"{data['event']} {data.get('id', data.get('name', data.get('verb')))}"
        case "verb:hook" | "session:redirect" | "dial:confirm" as kind:
            return f"{kind.partition(':')[2]} {message['hook']}"
        case "jambonz:error":
            return f"error {data['msg']}: {data.get('details', '')}"
        case "tts:tokens-result":
            return f"result {data['id']} {data['status']} {data.get('reason', '')}".strip()
        case "tts:streaming-event":
            return str(data["event_type"])
        case kind:
            return str(kind)


class Sim:
    """One simulated call on a virtual clock; sockets open at once unless told otherwise."""

    def __init__(self, profile: JambonzProfile | None = None, *, opens: bool = True, **options: Any) -> None:
        self.platform = ControlPlatform(profile or JambonzProfile(**options))
        self.now = 0.0
        self.said: list[str] = []
        """What it said since it was last asked."""
        self.log: list[tuple[float, str]] = []
        self.outputs: list[h.PlatformOutput] = []
        self.messages: list[tuple[int, dict[str, Any]]] = []
        self.opens = opens
        self._take(self.platform.begin(0.0))

    def _take(self, outputs: list[h.PlatformOutput]) -> None:
        for output in outputs:
            link, what = (output.link, output.output) if isinstance(output, h.OnLink) else (0, output)
            self.outputs.append(what)
            where = f"@{link} " if link else ""
            if isinstance(what, Transmit):
                message = json.loads(str(what.message))
                self.messages.append((link, message))
                self._note(where + brief(message))
            elif isinstance(what, CloseLink):
                self._note(f"{where}close {what.code}")
            elif isinstance(what, h.DialLink):
                self._note(f"{where}dial")
                if self.opens:
                    self._take(self.platform.link_opened(self.now, link))

    def _note(self, text: str) -> None:
        self.said.append(text)
        self.log.append((round(self.now, 3), text))

    def heard(self) -> list[str]:
        """Return what was said since the last time."""
        said, self.said = self.said, []
        return said

    def run(self, until: float) -> list[str]:
        """Let time pass; return what was said."""
        while (at := self.platform.next_timeout()) is not None and at <= until:
            self.now = max(self.now, at)
            self._take(self.platform.handle_timeout(self.now))
        self.now = max(until, self.now)
        return self.heard()

    def wait(self, seconds: float) -> list[str]:
        """Let time pass."""
        return self.run(self.now + seconds)

    def say(self, message: Any, link: int = 0) -> list[str]:
        """Say something as the application."""
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        self._take(self.platform.receive(raw, self.now, link))
        return self.heard()

    def ack(self, *data: Any, msgid: str | None = None, link: int | None = None) -> list[str]:
        """Ack the last question, or the one of `msgid`; without an argument, without data."""
        if link is None:
            link = self.messages[-1][0] if self.messages else 0
        found = {"type": "ack", "msgid": msgid or self.question["msgid"]}
        return self.say(found | ({"data": list(data[0])} if data else {}), link)

    @property
    def question(self) -> dict[str, Any]:
        """The last message that wants an ack."""
        wanted = ("session:", "verb:hook", "dial:confirm")
        return next(m for _, m in reversed(self.messages) if m["type"].startswith(wanted))

    def order(self, name: str, data: Any = None, **more: Any) -> list[str]:
        """Say a command as the application."""
        found = {"type": "command", "command": name, **more} | ({} if data is None else {"data": data})
        return self.say(found)

    def close(self, code: int | None, link: int = 0) -> list[str]:
        """Close a socket as the application."""
        self._take(self.platform.receive_close(code, self.now, link=link))
        return self.heard()

    def refuse(self, refusal: h.Refusal, link: int = 0) -> list[str]:
        """Let the dialling of a socket fail."""
        self._take(self.platform.link_refused(refusal, self.now, link))
        return self.heard()

    def happen(self, stimulus: h.Stimulus) -> list[str]:
        """Let something happen to the call."""
        self._take(self.platform.send(stimulus, self.now))
        return self.heard()

    def hang_up(self) -> list[str]:
        """Let the caller hang up."""
        return self.happen(h.CallerHungUp({"X-Bye": "1"}))

    def did(self, kind: type) -> list[Any]:
        """Return the outputs of one kind so far."""
        return [output for output in self.outputs if isinstance(output, kind)]

    @property
    def rejection(self) -> str | None:
        """Why the call was rejected."""
        found = [response for response in self.did(h.Responded) if "X-Reason" in response.headers]
        return found[-1].headers["X-Reason"] if found else None


def begun(*verbs: dict[str, Any], notifies: bool = True, **options: Any) -> Sim:
    """Return a call whose first ack held these verbs, just before the first of them starts."""
    sim = Sim(**options)
    sim.ack([*(OPENING if notifies else []), *verbs])
    sim.heard()
    return sim


def running(*verbs: dict[str, Any], notifies: bool = True, **options: Any) -> Sim:
    """Return a call whose first verb has started; what was said till then is forgotten."""
    sim = begun(*verbs, notifies=notifies, **options)
    sim.wait(0.021)
    return sim


ANSWER = {"verb": "answer"}


def pause(length: float = 1, name: str | None = None) -> dict[str, Any]:
    """Return a pause."""
    return {"verb": "pause", "length": length} | ({"id": name} if name else {})


def play(name: str = "p", hook: str | None = "/played") -> dict[str, Any]:
    """Return a play; a file takes 0.3 s."""
    return {"verb": "play", "id": name, "url": "a.wav"} | ({"actionHook": hook} if hook else {})
