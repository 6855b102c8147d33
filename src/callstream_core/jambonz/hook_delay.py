"""What a simulated jambonz plays while an application takes its time (`actionHookDelayAction`)."""

from __future__ import annotations

from callstream_core.errors import Malformed
from callstream_core.jambonz import parts
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.happenings import Logged
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.jambonz.running import Call, playing_time
from callstream_core.jambonz.validate import read_stack
from callstream_core.jambonz.values import Verb

_PLAYABLE = (v.Play, v.Say)
_AT_ONCE = 0.001


class HookDelay:
    """Plays its actions one after the other, each once the wait has lasted a while, and gives up in the end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usual: parts.HookDelay | None = None
        self._current: parts.HookDelay | None = None
        self._actions: tuple[Verb, ...] = ()
        self._count = 0
        self._next_at: float | None = None
        self._give_up_at: float | None = None
        self._playing: Verb | None = None

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` is due."""
        found = [at for at in (self._next_at, self._give_up_at) if at is not None]
        return min(found, default=None)

    @property
    def profile(self) -> JambonzProfile:
        """How long things take."""
        return self._call.profile

    def configure(self, delay: parts.HookDelay) -> None:
        """Take what a `config` says for all waits that follow."""
        self.end()
        self._usual = delay

    def begin(self, now: float, own: parts.HookDelay | None = None) -> None:
        """Begin to wait, with what a `gather` says for itself; a wait that has begun goes on."""
        delay = own or self._usual
        if self._current is not None or delay is None or delay.enabled is False:
            return
        self._actions = self._read(delay.actions or ())
        if not self._actions or not all(isinstance(verb, _PLAYABLE) for verb in self._actions):
            self._call.put(Logged("actionHookDelayAction: actions should be say or play, and there should be some"))
            return
        self._current, self._count = delay, 0
        self._next_at = now + (delay.no_response_timeout or _AT_ONCE)
        if delay.no_response_give_up_timeout:
            self._give_up_at = now + delay.no_response_give_up_timeout

    def end(self) -> None:
        """Wait no more: there are verbs, or the call is over. What is said is said to its end, out of the way."""
        if isinstance(self._playing, v.Play):
            self._notify("kill-playback")
        self._current = self._next_at = self._give_up_at = self._playing = None

    def handle_timeout(self, now: float) -> tuple[Verb, ...] | None:
        """Do what is due. Return the verbs with which it gives up, if it does: none of them hangs up."""
        if self._current is not None and self._give_up_at is not None and self._give_up_at <= now:
            verbs = self._read(self._current.give_up_actions or ())
            self.end()
            # Once is enough.
            self._usual = None
            return verbs
        if self._current is not None and self._next_at is not None and self._next_at <= now:
            self._go_on(self._current, now)
        return None

    def _go_on(self, delay: parts.HookDelay, now: float) -> None:
        self._next_at = None
        if self._playing is not None:
            self._playing = None
            if self._count < (delay.retries or 0) and delay.no_response_timeout:
                self._next_at = now + delay.no_response_timeout
            return
        # In turns, if they are asked for oftener than there are.
        self._playing = self._actions[self._count % len(self._actions)]
        self._count += 1
        self._notify("start-playback")
        assert isinstance(self._playing, _PLAYABLE)
        time = playing_time(self._playing, self.profile)
        self._next_at = None if time is None else now + time

    def _read(self, actions: object) -> tuple[Verb, ...]:
        try:
            return read_stack(actions)
        except Malformed as error:
            self._call.put(Logged(f"actionHookDelayAction: {error}"))
            return ()

    def _notify(self, event: str) -> None:
        assert self._playing is not None
        named = {} if self._playing.id is None else {"id": self._playing.id}
        self._call.notify({"event": event, "verb": self._playing.word, **named})
