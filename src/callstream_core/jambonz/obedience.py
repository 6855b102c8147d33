"""What a simulated jambonz does with commands, and with what happens to speech and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.phone_call import PhoneCall
from callstream_core.jambonz.speech_buffer import SpeechBuffer
from callstream_core.jambonz.values import Hook, Verb

# From which state of the recording an action leads to which.
_RECORDING = {
    ("off", o.RecordingAction.START): "on",
    ("on", o.RecordingAction.STOP): "off",
    ("paused", o.RecordingAction.STOP): "off",
    ("on", o.RecordingAction.PAUSE): "paused",
    ("paused", o.RecordingAction.RESUME): "on",
}


@attrs.define(eq=False)
class _Asked:
    """What a redirect asks of hooks: new verbs for the caller, and for the party it has dialled."""

    call: str | None = None
    child: str | None = None
    answers: dict[str, tuple[Verb, ...] | o.Unusable | None] = attrs.field(factory=dict)

    @property
    def waits_for(self) -> set[str]:
        """The questions whose ack has not come."""
        return {msgid for msgid in (self.call, self.child) if msgid is not None and msgid not in self.answers}


class Obedience:
    """Obeys commands; what does not fit the call's state is passed over, as nothing tells the application."""

    def __init__(self, call: PhoneCall) -> None:
        self.speech = SpeechBuffer()
        self._call = call
        self._runner = call.runner
        self._recording = "off"
        self._queued = 0
        self._asked: list[_Asked] = []

    def obey(self, order: o.Order, size: int, now: float) -> None:
        """Do what a command wants, which came in a message of this size."""
        if isinstance(order, o.Redirect) and order.queue:
            self._queue(order, size, now)
        else:
            _OBEY.get(type(order), Obedience._pass_over)(self, order, now)

    def _pass_over(self, order: o.Order, _now: float) -> None:
        name = order.name if isinstance(order, o.RawCommand) else type(order).__name__
        self._call.put(h.Logged(f"{name}: no effect"))

    def _queue(self, order: o.Redirect, size: int, now: float) -> None:
        stack, profile = self._runner.stack, self._call.profile
        if not stack:
            self._queued = 0
        if len(stack) + len(order.verbs) > profile.max_stack or self._queued + size > profile.max_stack_size:
            self._pass_over(order, now)
        else:
            self._queued += size
            self._runner.append(order.verbs, now)

    def _redirect(self, order: o.Redirect, now: float) -> None:
        self._call.delay.end()
        self._runner.interrupt(order.verbs, now)

    def _redirect_parent(self, order: o.RedirectParent, now: float) -> None:
        self._runner.interrupt(order.verbs, now)

    def _redirect_by_hook(self, order: o.RedirectByHook, now: float) -> None:
        call, far = self._call, self._runner.far
        call.delay.end()
        asked = _Asked()
        if order.call_hook:
            asked.call = call.ask(w.SessionRedirected, call.leg.data(call.profile), order.call_hook)
        if order.child_call_hook and far.leg is not None and far.is_joined:
            asked.child = call.ask(w.SessionRedirected, far.leg.data(call.profile), order.child_call_hook)
        if asked.waits_for:
            self._asked.append(asked)
        else:
            self._use_answers(asked, now)

    def use_ack(self, msgid: str, verbs: tuple[Verb, ...] | o.Unusable | None, now: float) -> bool:
        """Use the ack of a hook that a command has asked for; False where it is another's."""
        asked = self._find(msgid)
        if asked is None:
            return False
        asked.answers[msgid] = verbs
        if not asked.waits_for:
            self._asked.remove(asked)
            self._use_answers(asked, now)
        return True

    def miss_ack(self, msgid: str) -> bool:
        """Forget what was asked for, as one ack of it is missing; False where it is another's."""
        asked = self._find(msgid)
        if asked is not None:
            self._asked.remove(asked)
        return asked is not None

    def _find(self, msgid: str) -> _Asked | None:
        return next((asked for asked in self._asked if msgid in asked.waits_for), None)

    def _use_answers(self, asked: _Asked, now: float) -> None:
        """Use all answers at once: first the dialled leg's, which makes it a call of its own, then the caller's."""
        child, verbs = (asked.answers.get(name or "") for name in (asked.child, asked.call))
        if isinstance(child, o.Unusable):
            return
        if child is not None and self._runner.far.is_up:
            self._call.promote(child)
        if verbs is None:
            # Nothing for the caller: the running verb ends, and the stack goes on.
            self._runner.kill(now)
            self._runner.advance(now)
        elif not isinstance(verbs, o.Unusable):
            self._runner.interrupt(verbs, now)

    def _call_status(self, order: o.SetCallStatus, now: float) -> None:
        is_answered = self._call.leg.answered_at is not None
        if order.status is o.LastStatus.COMPLETED and is_answered:
            self._call.hang_up(now)
        elif order.status is o.LastStatus.NO_ANSWER and not is_answered:
            self._call.refuse_silently()
        else:
            self._pass_over(order, now)

    def _configure(self, order: o.Configure, _now: float) -> None:
        self._call.configure(order.config)

    def _record(self, order: o.Record, now: float) -> None:
        after = _RECORDING.get((self._recording, order.action))
        if after is None:
            self._pass_over(order, now)
            return
        self._recording = after
        server = order.siprec_server_url
        headers: dict[str, Any] = {"X-Reason": order.action.value, "X-Call-Sid": self._call.leg.sid}
        if server is not None:
            headers["X-Srs-Url"] = server if isinstance(server, str) else ",".join(server)
        if order.recording_id is not None:
            headers["X-Srs-Recording-ID"] = order.recording_id
        self._call.put(h.Requested(method="INFO", headers=headers))

    def _sip_request(self, order: o.SendSipRequest, now: float) -> None:
        if self._call.leg.answered_at is None:
            self._pass_over(order, now)
            return
        headers = dict(order.headers or {})
        if order.content_type is not None:
            headers["Content-Type"] = order.content_type
        self._call.put(h.Requested(method=order.method, headers=headers, body=order.content))

    def _keys(self, order: o.SendKeys, now: float) -> None:
        if self._call.leg.answered_at is None:
            self._pass_over(order, now)
            return
        headers = {"Content-Type": "application/dtmf", "X-Reason": "Dtmf"}
        body = f"Signal={order.digit}\nDuration={order.duration or 250} "
        self._call.put(h.Requested(method="INFO", headers=headers, body=body))

    def _whisper(self, order: o.Whisper, now: float) -> None:
        if not isinstance(self._call.running, v.Dial | v.Listen):
            self._pass_over(order, now)
            return
        for verb in order.verbs:
            named = {} if verb.id is None else {"id": verb.id}
            self._call.notify({"event": "start-playback", "verb": verb.word, **named})

    # Speech and models

    def _tokens(self, order: o.SendTokens, now: float) -> None:
        self._speak({"id": order.id, "tokens": order.tokens}, now)

    def _raw(self, order: o.RawCommand, now: float) -> None:
        if order.name == "tts:tokens":
            self._speak(order.data, now)
        else:
            self._pass_over(order, now)

    def _speak(self, data: Any, now: float) -> None:
        result, events, spoken = self.speech.take(data, now)
        self.tell_speech(events, spoken)
        if result is not None:
            self._call.ask(w.TokensAnswered, result)

    def tell_speech(self, events: list[str], spoken: list[h.TextSpoken]) -> None:
        """Tell what became of the stream, and hand out what is spoken."""
        for text in spoken:
            self._call.put(text)
        for event in events:
            self._call.ask(w.SpeechStreamChanged, {"event_type": event})

    def handle_timeout(self, now: float) -> None:
        """Speak what has waited too long."""
        events, spoken = self.speech.expire(now)
        self.tell_speech(events, spoken)

    def _flush(self, _order: o.FlushTokens, _now: float) -> None:
        self.tell_speech([], self.speech.flush())

    def _clear(self, _order: o.ClearTokens, _now: float) -> None:
        self.speech.clear()

    def follow(self, stimulus: h.MachineHappening, now: float) -> None:
        """Take what happens to streamed speech or to a model."""
        speech = self.speech
        match stimulus:
            case h.SpeechConnected():
                events, spoken = speech.connect(now)
                self.tell_speech(events, spoken)
            case h.SpeechRefused():
                speech.failed_vendor = stimulus.vendor
            case h.SpeechInterrupted():
                speech.clear()
                self.tell_speech(["user_interruption"], [])
            case h.LlmSaid():
                self._tell_llm(w.LlmReported, "event_hook", stimulus.event)
            case _:
                data = {"tool_call_id": stimulus.tool_call_id, "name": stimulus.name, "args": stimulus.args}
                self._tell_llm(w.ToolCalled, "tool_hook", data)

    def _tell_llm(self, kind: type[w.Notice], name: str, data: Any) -> None:
        hook = getattr(self._call.running, name, None)
        if hook is not None:
            self._call.ask(kind, data, hook.url if isinstance(hook, Hook) else hook)


_OBEY: dict[type, Callable[[Obedience, Any, float], None]] = {
    o.Redirect: Obedience._redirect,
    o.RedirectParent: Obedience._redirect_parent,
    o.RedirectByHook: Obedience._redirect_by_hook,
    o.SetCallStatus: Obedience._call_status,
    o.Configure: Obedience._configure,
    o.Record: Obedience._record,
    o.SendSipRequest: Obedience._sip_request,
    o.SendKeys: Obedience._keys,
    o.Whisper: Obedience._whisper,
    o.SendTokens: Obedience._tokens,
    o.FlushTokens: Obedience._flush,
    o.ClearTokens: Obedience._clear,
    o.RawCommand: Obedience._raw,
}
