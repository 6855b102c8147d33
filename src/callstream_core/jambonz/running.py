"""The verb that runs, and what it needs of its call."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import parts
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.profile import JambonzProfile, Leg
from callstream_core.jambonz.values import Object, Verb


class Phase(enum.Enum):
    """How far the running verb is."""

    RUNNING = "running"
    HOOK = "its hook waits for an ack"


@attrs.define
class Running:
    """The verb that runs."""

    verb: Verb
    since: float
    phase: Phase = Phase.RUNNING
    deadline: float | None = None
    asked: str | None = None
    """The message whose ack it waits for."""
    is_killed: bool = False
    digits: str = ""

    @property
    def label(self) -> str:
        """The name under which statuses tell of it."""
        vendor = getattr(self.verb, "vendor", None)
        if isinstance(self.verb, v.Llm) and vendor in _LLM_LABELS:
            return _LLM_LABELS[vendor]
        return self.verb.word


_LLM_LABELS = {
    "openai": "Llm_OpenAI_s2s",
    "voiceagent": "Llm_VoiceAgent_s2s",
    "deepgram": "Llm_VoiceAgent_s2s",
    "ultravox": "Llm_Ultravox_s2s",
    "elevenlabs": "Llm_Elevenlabs_s2s",
    "google": "Llm_Google_s2s",
}


class Call(Protocol):
    """What verbs need of the call that they run in."""

    profile: JambonzProfile
    leg: Leg

    @property
    def is_over(self) -> bool:
        """Whether the phone call has ended."""
        ...

    def put(self, output: h.PlatformOutput) -> None:
        """Hand out an output."""
        ...

    def notify(self, data: Object) -> None:
        """Send a `verb:status`, if they are on."""
        ...

    def ask(self, kind: type[w.Notice], data: Object, hook: str | None = None) -> str:
        """Send a message; return its msgid."""
        ...

    def tell_status(self, leg: Leg, **extra: Any) -> None:
        """Send a `call:status`."""
        ...

    def answer(self, now: float, is_early: bool = False) -> None:
        """Answer the caller."""
        ...

    def configure(self, config: v.Config) -> None:
        """Apply a `config`."""
        ...

    def redirect(self, url: str, now: float) -> str:
        """Ask a hook for a new stack; return the msgid of the question."""
        ...

    def hang_up(self, now: float, headers: Mapping[str, Any] | None = None) -> None:
        """End the call from jambonz's side."""
        ...

    def decline(self, status: int, reason: str, headers: Mapping[str, Any] | None) -> None:
        """Refuse the call."""
        ...

    def starts(self) -> None:
        """Note that a verb starts."""
        ...

    def wait(self, now: float, delay: parts.HookDelay | None = None) -> None:
        """Note that a hook is asked for what comes next; the verb has a `delay` of its own, or none."""
        ...

    def rest(self, now: float) -> None:
        """Note that no verb runs, and none follows."""
        ...


def playing_time(verb: v.Play | v.Say, profile: JambonzProfile) -> float | None:
    """Return the seconds that it takes; None where it ends only when something happens."""
    if verb.loop == "forever" or (isinstance(verb, v.Say) and verb.stream):
        return None
    if isinstance(verb, v.Play):
        urls = (verb.url,) if isinstance(verb.url, str) else verb.url
        seconds = sum(profile.clips.get(str(url), profile.clip_duration) for url in urls)
    else:
        texts = (verb.text or "",) if isinstance(verb.text, str | None) else verb.text
        seconds = sum(len(str(text)) for text in texts) * profile.character_duration
    return seconds * (verb.loop if isinstance(verb.loop, int | float) else 1)
