"""Both ends of a control socket, on a virtual clock, over a wire that takes time."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callstream_core.commands import HangUp
from callstream_core.errors import LocalProtocolError
from callstream_core.events import MessageIgnored, PeerMisbehaved
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.call_memory import CallMemory
from callstream_core.jambonz.control_platform import ControlPlatform
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.control_state import ControlState
from callstream_core.jambonz.parts import HookDelay, Target
from callstream_core.jambonz.phone_call import PlatformState
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.outputs import CloseLink, Transmit

HUM = HookDelay(
    no_response_timeout=0.5,
    no_response_give_up_timeout=20,
    retries=3,
    actions=[{"verb": "play", "url": "hum"}],
    give_up_actions=[{"verb": "pause", "length": 1}, {"verb": "hangup"}],
)
some_verbs = st.lists(
    st.sampled_from(
        [
            v.Answer(),
            v.Pause(length=0.2),
            v.Pause(length=7),
            v.Play(url="a", action_hook="/played"),
            v.Play(url="long", action_hook="/played"),
            v.Say(text="hello"),
            v.Gather(input=["digits"], num_digits=1, timeout=1, action_hook="/digits"),
            v.Listen(url="/audio", action_hook="/listened"),
            v.Config(notify_events=True),
            v.Config(action_hook_delay_action=HUM),
            v.Dial(target=[Target(type="phone", number="3")], action_hook="/dialled", timeout=5),
            v.Dial(target=[Target(type="phone", number="4")], action_hook="/dialled", confirm_hook="/confirm"),
            v.Tag(data={"a": 1}),
        ]
    ),
    min_size=1,
    max_size=4,
)


class Pair(RuleBasedStateMachine):
    """Speaks at will for both ends and delivers in order, each direction after its delay."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.delay = 0.0
        self.wire: list[tuple[float, int, int, str, Any]] = []
        self.order = itertools.count()
        self.sessions: list[ControlSession] = []
        self.platform = ControlPlatform(JambonzProfile(clips={"long": 60.0}))
        self.memory: CallMemory | None = None
        self.acks: Counter[str] = Counter()
        self.asked: set[str] = set()
        self.closed: list[w.ControlClosed] = []
        self.first_ack_left: float | None = None

    @initialize(delay=st.sampled_from((0.0, 0.03, 0.4)))
    def begin(self, delay: float) -> None:
        self.delay = delay
        self.from_platform(self.platform.begin(self.now))

    @property
    def session(self) -> ControlSession:
        return self.sessions[-1]

    def put(self, to: str, what: Any, number: int) -> None:
        heapq.heappush(self.wire, (self.now + self.delay, next(self.order), number, to, what))

    def from_platform(self, outputs: list[h.PlatformOutput]) -> None:
        for output in outputs:
            assert self.platform.state is not PlatformState.CLOSED or not isinstance(output, o.Redirect)
            if isinstance(output, h.DialLink):
                self.put("dial", None, len(self.sessions))
                self.sessions.append(ControlSession(now=self.now))
            elif isinstance(output, Transmit | CloseLink):
                if isinstance(output, Transmit):
                    found = json.loads(str(output.message))
                    if w.NOTICES[found["type"]].needs_ack:
                        self.asked.add(found["msgid"])
                self.put("app", output, len(self.sessions) - 1)

    def from_app(self, outputs: list[Any], number: int) -> None:
        for output in outputs:
            assert not isinstance(output, PeerMisbehaved | MessageIgnored), output
            if isinstance(output, Transmit):
                found = json.loads(str(output.message))
                if found["type"] == "ack":
                    self.acks[found["msgid"]] += 1
                    assert self.acks[found["msgid"]] == 1
                    assert found["msgid"] in self.asked
                    if self.first_ack_left is None:
                        self.first_ack_left = self.now
                else:
                    # Nothing before the first ack, nor with it.
                    assert self.first_ack_left is not None
                    assert self.now > self.first_ack_left
                self.put("platform", output, number)
            elif isinstance(output, CloseLink):
                self.put("platform", output, number)
            elif isinstance(output, w.SessionReconnected) and self.memory is not None:
                # The session is resumed as soon as it has said what it had to.
                self.sessions[number].resume(self.memory)
            elif isinstance(output, w.ControlClosed):
                self.closed.append(output)
                self.memory = self.sessions[number].memory

    def deliver(self, number: int, to: str, what: Any) -> None:
        is_current = number == len(self.sessions) - 1
        if to == "dial":
            self.from_platform(self.platform.link_opened(self.now))
        elif to == "app":
            session = self.sessions[number]
            if isinstance(what, Transmit):
                self.from_app(session.receive(what.message, self.now), number)
            else:
                self.from_app(session.receive_close(what.code, self.now), number)
        elif is_current and isinstance(what, Transmit):
            self.from_platform(self.platform.receive(what.message, self.now))
        elif is_current:
            self.from_platform(self.platform.receive_close(what.code, self.now))

    def run(self, until: float) -> None:
        for _ in range(5000):
            times = [at for session in self.sessions if (at := session.next_timeout()) is not None]
            if (at := self.platform.next_timeout()) is not None:
                times.append(at)
            if self.wire:
                times.append(self.wire[0][0])
            if not times or min(times) > until:
                break
            self.now = max(self.now, min(times))
            while self.wire and self.wire[0][0] <= self.now:
                _, _, number, to, what = heapq.heappop(self.wire)
                self.deliver(number, to, what)
            for number, session in enumerate(self.sessions):
                self.from_app(session.handle_timeout(self.now), number)
                moved = session.next_timeout()
                assert moved is None or moved > self.now
            self.from_platform(self.platform.handle_timeout(self.now))
            moved = self.platform.next_timeout()
            assert moved is None or moved > self.now
        else:
            raise AssertionError("it never comes to rest")
        self.now = max(self.now, until)

    def say(self, command: Any) -> None:
        number = len(self.sessions) - 1
        try:
            self.from_app(self.session.send(command, self.now), number)
        except LocalProtocolError:
            self.from_app(self.session.handle_timeout(self.now), number)

    def happen(self, stimulus: h.Stimulus) -> None:
        if self.platform.state is not PlatformState.CLOSED:
            self.from_platform(self.platform.send(stimulus, self.now))

    @rule(seconds=st.sampled_from((0.01, 0.1, 0.5, 1.5, 4.0)))
    def wait(self, seconds: float) -> None:
        self.run(self.now + seconds)

    @precondition(lambda self: self.sessions and self.session.owed)
    @rule(verbs=st.none() | some_verbs)
    def answer(self, verbs: list[v.Verb] | None) -> None:
        self.say(o.Ack(self.session.owed[-1].msgid, verbs))

    @precondition(lambda self: self.sessions)
    @rule(verbs=some_verbs, queue=st.booleans())
    def redirect(self, verbs: list[v.Verb], queue: bool) -> None:
        self.say(o.Redirect(verbs, queue))

    @precondition(lambda self: self.sessions)
    @rule()
    def ask(self) -> None:
        self.say(o.RedirectByHook(call_hook="/new"))

    @precondition(lambda self: self.sessions)
    @rule(size=st.sampled_from((5, 700)))
    def speak(self, size: int) -> None:
        self.say(o.SendTokens(next(self.order) + 1, "x" * size))

    @rule()
    def press(self) -> None:
        self.happen(h.KeyPressed("1"))

    @rule(
        stimulus=st.sampled_from(
            (
                h.FarEndRang(),
                h.FarEndAnswered(),
                h.FarEndRefused(),
                h.FarEndHungUp(),
                h.FarEndPromoted(),
                h.KeyPressed("1", is_callee=True),
                h.VerbEnded(),
            )
        )
    )
    def follow_far_end(self, stimulus: h.Stimulus) -> None:
        self.happen(stimulus)

    @precondition(lambda self: self.platform.state is PlatformState.RUNNING)
    @rule()
    def connect_speech(self) -> None:
        self.happen(h.SpeechConnected())

    @precondition(lambda self: self.sessions and self.session.state is ControlState.RUNNING)
    @rule(code=st.sampled_from((1000, 1012, 4000)))
    def leave(self, code: int) -> None:
        self.say(o.Disconnect(code))

    @precondition(lambda self: self.sessions)
    @rule()
    def hang_up(self) -> None:
        self.say(HangUp())

    @rule()
    def lose_caller(self) -> None:
        self.happen(h.CallerHungUp())

    @invariant()
    def memory_is_bounded(self) -> None:
        for session in self.sessions:
            assert len(session.owed) <= session.limits.max_debts
            assert session.pending_tokens <= session.limits.max_pending_tokens
        # Nobody is on the line whom no verb has called.
        assert isinstance(self.platform.running, v.Dial) or not self.platform.call.runner.far.is_up

    def teardown(self) -> None:
        if not self.sessions:
            return
        self.run(self.now + 2 * self.delay)
        if not self.platform.call.is_over:
            self.happen(h.CallerHungUp())
        self.run(self.now + 60)
        assert self.platform.state is PlatformState.CLOSED
        assert self.platform.next_timeout() is None
        for session in self.sessions:
            assert session.state is ControlState.CLOSED
            assert session.next_timeout() is None
        assert len(self.closed) == len(self.sessions)
        assert not self.wire


Pair.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestPair = Pair.TestCase
