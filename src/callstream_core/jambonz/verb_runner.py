"""Run a stack of verbs as jambonz does: one at a time, each with its hook, each interrupted in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callstream_core.jambonz import gathering
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.far_end import FarEnd
from callstream_core.jambonz.orders import Unusable
from callstream_core.jambonz.running import Call, Phase, Running, playing_time
from callstream_core.jambonz.table import NEEDS, Needs
from callstream_core.jambonz.values import Hook, Object, Verb

_HTTP = ("http:", "https:")


class VerbRunner:
    """The stack, and the verb that runs."""

    def __init__(self, call: Call) -> None:
        self.stack: list[Verb] = []
        self.running: Running | None = None
        self.allowed: frozenset[str] | None = None
        """The verbs that a stack may have which takes another's place, where not all: others are left out."""
        self.far = FarEnd(call)
        self._call = call

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` is due."""
        return self.running.deadline if self.running else None

    # The stack

    def advance(self, now: float) -> None:
        """Start verbs until one takes time."""
        call = self._call
        while self.running is None and self.stack and not call.is_over:
            verb = self.stack.pop(0)
            self.running = Running(verb, now)
            call.starts()
            self._notify("starting")
            if self._meets_needs(verb, now):
                _START.get(type(verb), VerbRunner._start_long)(self, verb, now)
            else:
                # A skipped verb never finishes.
                self.running = None
        if self.running is None and not self.stack and not call.is_over:
            call.rest(now)

    def abandon(self) -> None:
        """Run nothing any more, without a word."""
        self.stack.clear()
        self.running = None

    def permitted(self, verbs: tuple[Verb, ...]) -> tuple[Verb, ...]:
        """Return those of `verbs` that may run."""
        return tuple(verb for verb in verbs if self.allowed is None or verb.word in self.allowed)

    def append(self, verbs: tuple[Verb, ...], now: float) -> None:
        """Run these behind the others."""
        self.stack.extend(verbs)
        self.advance(now)

    def interrupt(self, verbs: tuple[Verb, ...], now: float) -> None:
        """Run these instead of all others; nothing happens where none of them may run."""
        permitted = self.permitted(verbs)
        if permitted or not verbs:
            self.stack = list(permitted)
            self.kill(now)
            self.advance(now)

    def _meets_needs(self, verb: Verb, now: float) -> bool:
        needs = NEEDS.get(verb.word, Needs.NOTHING)
        is_answered = self._call.leg.answered_at is not None
        if isinstance(verb, v.Config) and any(getattr(verb, name) is not None for name in _MEDIA_OPTIONS):
            needs = Needs.MEDIA
        if needs is Needs.MEDIA and not is_answered:
            self._call.answer(now, is_early=getattr(verb, "early_media", None) is True)
        return not (needs is Needs.ANSWERED and not is_answered) and not (needs is Needs.UNANSWERED and is_answered)

    def _notify(self, event: str) -> None:
        assert self.running is not None
        verb = self.running.verb
        named = {} if verb.id is None else {"id": verb.id}
        self._call.notify({"event": event, **named, "name": self.running.label})

    def _notify_inside(self, event: str, **extra: Any) -> None:
        assert self.running is not None
        verb = self.running.verb
        named = {} if verb.id is None else {"id": verb.id}
        self._call.notify({"event": event, "verb": verb.word, **named, **extra})

    def _finish(self) -> None:
        self._notify("finished")
        self.running = None

    # What verbs do

    def _start_at_once(self, _verb: Verb, _now: float) -> None:
        self._finish()

    def _start_pause(self, verb: v.Pause, now: float) -> None:
        assert self.running is not None
        self.running.deadline = now + max(verb.length, 0)

    def _start_playback(self, verb: v.Play | v.Say, now: float) -> None:
        assert self.running is not None
        self._notify_inside("start-playback")
        seconds = playing_time(verb, self._call.profile)
        self.running.deadline = None if seconds is None else now + seconds

    def _start_gather(self, verb: v.Gather, now: float) -> None:
        assert self.running is not None
        self.running.deadline = now + (gathering.DEFAULT_TIMEOUT if verb.timeout is None else verb.timeout)

    def _start_listen(self, verb: v.Listen, now: float) -> None:
        assert self.running is not None
        self.running.deadline = None if verb.max_length is None else now + verb.max_length

    def _start_long(self, _verb: Verb, _now: float) -> None:
        """Run until something happens."""

    def _start_config(self, verb: v.Config, _now: float) -> None:
        self._call.configure(verb)
        self._finish()

    def _start_tag(self, verb: v.Tag, _now: float) -> None:
        self._call.leg.customer_data = verb.data
        self._finish()

    def _start_hangup(self, verb: v.Hangup, now: float) -> None:
        self._call.hang_up(now, verb.headers)

    def _start_decline(self, verb: v.SipDecline, _now: float) -> None:
        self._call.decline(int(verb.status), verb.reason or "", verb.headers)
        self._finish()

    def _start_leave(self, _verb: v.Leave, now: float) -> None:
        # Outside of a wait hook it throws, and whatever throws ends the call.
        self.throw(now)

    def throw(self, now: float) -> None:
        """End the call because of the running verb, which never finishes."""
        self.running = None
        self._call.hang_up(now)

    def _start_redirect(self, verb: v.Redirect, now: float) -> None:
        assert self.running is not None
        url = _url(verb.action_hook)
        if url.startswith(_HTTP):
            self._ask_http(url, {})
        else:
            self.running.phase = Phase.HOOK
            self.running.asked = self._call.redirect(url, now)

    def _start_dial(self, verb: v.Dial, now: float) -> None:
        assert self.running is not None
        self.far.dial(verb)
        self.running.deadline = now + (60 if verb.timeout is None else verb.timeout)

    def _start_request(self, verb: v.SipRequest, now: float) -> None:
        self._call.put(h.Requested(method=verb.method, headers=verb.headers or {}, body=verb.body))
        self.report({"result": "success", "sip_status": 200}, now)

    def _start_refer(self, verb: v.SipRefer, now: float) -> None:
        self._call.put(h.Requested(method="REFER", headers={"Refer-To": verb.refer_to, **(verb.headers or {})}))
        self.report({"refer_status": 202}, now)

    def _start_message(self, verb: v.Message, now: float) -> None:
        self.report({"message_sid": verb.message_sid or "message-1", "message_status": "success"}, now)

    # Hooks

    def report(self, data: Object, now: float) -> None:
        """Ask the running verb's hook, or go on where it has none."""
        assert self.running is not None
        verb = self.running.verb
        url = _url(getattr(verb, "action_hook", None))
        self.running.deadline = None
        if not url:
            self._finish()
            return
        if isinstance(verb, v.Gather):
            self._call.wait(now, verb.action_hook_delay_action)
        named = {} if verb.id is None else {"verb_id": verb.id}
        found = {**self._call.leg.data(self._call.profile), **data, **named}
        if url.startswith(_HTTP):
            self._ask_http(url, found)
            return
        self.running.phase = Phase.HOOK
        self.running.asked = self._call.ask(w.HookCalled, found, url)

    def _ask_http(self, url: str, data: Object) -> None:
        assert self.running is not None
        self.running.phase, self.running.asked = Phase.HOOK, "http"
        self._call.put(h.HttpRequested(url, data))

    def hear_ack(self, msgid: str, verbs: tuple[Verb, ...] | Unusable | None, now: float) -> None:
        """Take the ack that the running verb waits for."""
        running = self.running
        if running is None or running.asked != msgid:
            return
        if isinstance(verbs, Unusable):
            if isinstance(running.verb, v.Redirect):
                self.throw(now)
                return
            if isinstance(running.verb, v.Gather):
                self._complain(verbs.reason)
        elif (permitted := self.permitted(verbs or ())) and not (
            running.is_killed and isinstance(running.verb, v.Dial)
        ):
            self.stack = list(permitted)
            if isinstance(running.verb, v.Play) and not running.is_killed:
                self._notify_inside("kill-playback")
        self._finish()
        self.advance(now)

    def miss_ack(self, msgid: str, now: float, in_time: bool) -> None:
        """Go on without the ack that the running verb waits for."""
        running = self.running
        if running is None or running.asked != msgid:
            return
        if isinstance(running.verb, v.Redirect):
            self.throw(now)
            return
        if isinstance(running.verb, v.Gather) and in_time:
            self._complain(None)
        self._finish()
        self.advance(now)

    def _complain(self, details: str | None) -> None:
        assert self.running is not None
        text, verb = "invalid actionHook response", self.running.verb
        named = {} if verb.id is None else {"id": verb.id}
        because = {} if details is None else {"details": details}
        self._call.ask(w.ErrorReported, {"msg": text, **because, "verb": "gather", **named})
        self._call.tell_status(self._call.leg, error=text, **({} if details is None else {"reason": details}))

    # Interruptions and what happens

    def kill(self, now: float) -> None:
        """End the running verb in its own way; one whose hook waits for an ack goes on waiting."""
        running = self.running
        if running is None:
            return
        was_killed, running.is_killed = running.is_killed, True
        verb = running.verb
        if running.phase is Phase.HOOK:
            if isinstance(verb, v.Play) and not was_killed:
                self._notify_inside("kill-playback")
            return
        match verb:
            case v.Play():
                self._notify_inside("kill-playback")
                self.report(self._played(now), now)
            case v.Say():
                self._notify_inside("kill-playback")
                self._finish()
            case v.Dial():
                self.far.hang_up(now)
                self.report(self.far.result(), now)
            case v.Listen():
                self.report({"dial_call_duration": int(now - running.since)}, now)
            case v.Gather() | v.Pause():
                self._finish()
            case _:
                self.report(_KILLED.get(type(verb), {}), now)

    def _played(self, now: float) -> Object:
        assert self.running is not None
        seconds = now - self.running.since
        return {
            "playback_seconds": int(seconds),
            "playback_milliseconds": round(seconds * 1000),
            "playback_last_offset_pos": "0",
            "reason": "playCompleted",
        }

    def handle_timeout(self, now: float) -> None:
        """End the running verb, if its time is over; so all that take no time."""
        while (running := self.running) is not None and running.deadline is not None and running.deadline <= now:
            self._end_due(running, now)
            self.advance(now)

    def _end_due(self, running: Running, now: float) -> None:
        match running.verb:
            case v.Play():
                self.report(self._played(now), now)
            case v.Say():
                self._notify_inside("stop-playback")
                self._finish()
            case v.Gather():
                self.report(gathering.keys(running.digits), now)
            case v.Listen():
                self.report({"dial_call_duration": int(now - running.since)}, now)
            case v.Dial():
                self.far.hang_up(now)
                self.report(self.far.result(), now)
            case _:
                self._finish()

    def sense(self, stimulus: h.KeyPressed | h.CallerSpoke, now: float) -> None:
        """Take a key that was pressed, or what was said."""
        running = self.running
        if running is None or running.phase is Phase.HOOK:
            return
        if isinstance(stimulus, h.KeyPressed):
            self._press(running, stimulus, now)
        elif isinstance(running.verb, v.Gather) and gathering.takes_speech(running.verb):
            self._hear_speech(running.verb, stimulus, now)

    def _press(self, running: Running, key: h.KeyPressed, now: float) -> None:
        verb = running.verb
        if isinstance(verb, v.Listen) and verb.finish_on_key and key.digit in verb.finish_on_key:
            self.report({"dial_call_duration": int(now - running.since), "digits": key.digit}, now)
        elif isinstance(verb, v.Gather) and gathering.takes_keys(verb):
            self._gather(running, verb, key, now)
        self.advance(now)

    def _gather(self, running: Running, verb: v.Gather, key: h.KeyPressed, now: float) -> None:
        if verb.dtmf_bargein:
            self._notify_inside("dtmf-bargein-detected", dtmf=key.digit, duration=key.duration)
        if gathering.take_key(running, verb, key.digit):
            self.report({"digits": running.digits, "reason": "dtmfDetected"}, now)
        elif verb.inter_digit_timeout is not None:
            running.deadline = now + verb.inter_digit_timeout

    def _hear_speech(self, verb: v.Gather, spoken: h.CallerSpoke, now: float) -> None:
        data = gathering.speech(spoken)
        if spoken.is_final:
            self.report(data, now)
            self.advance(now)
        elif url := _url(verb.partial_result_hook):
            self._call.ask(w.HookCalled, {**self._call.leg.data(self._call.profile), **data}, url)

    def end_verb(self, data: Object, now: float) -> None:
        """Let the running verb come to its own end."""
        if self.running is not None and self.running.phase is Phase.RUNNING:
            if isinstance(self.running.verb, v.Dial):
                # However it ends: nobody is left on the line.
                self.far.hang_up(now)
                data = {**self.far.result(), **data}
            self.report(data, now)
            self.advance(now)


def _url(hook: Any) -> str:
    if isinstance(hook, Hook):
        return hook.url
    return hook if isinstance(hook, str) else ""


_MEDIA_OPTIONS = ("barge_in", "record", "listen", "amd", "transcribe", "boost_audio_signal")
_KILLED: dict[type, Object] = {
    v.Llm: {"completion_reason": "normal conversation end"},
    v.Enqueue: {"queue_result": "leave"},
    v.Dequeue: {"dequeue_result": "complete"},
}
_START: dict[type, Callable[[VerbRunner, Any, float], None]] = {
    **dict.fromkeys((v.Answer, v.Alert, v.Dub, v.Dtmf), VerbRunner._start_at_once),
    v.Pause: VerbRunner._start_pause,
    v.Play: VerbRunner._start_playback,
    v.Say: VerbRunner._start_playback,
    v.Gather: VerbRunner._start_gather,
    v.Listen: VerbRunner._start_listen,
    v.Stream: VerbRunner._start_listen,
    v.Config: VerbRunner._start_config,
    v.Tag: VerbRunner._start_tag,
    v.Hangup: VerbRunner._start_hangup,
    v.SipDecline: VerbRunner._start_decline,
    v.Leave: VerbRunner._start_leave,
    v.Redirect: VerbRunner._start_redirect,
    v.Dial: VerbRunner._start_dial,
    v.SipRequest: VerbRunner._start_request,
    v.SipRefer: VerbRunner._start_refer,
    v.Message: VerbRunner._start_message,
}
