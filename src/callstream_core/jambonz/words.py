"""What jambonz says on the control socket. Past participles, frozen, the same objects heard and said.

Every message keeps its `data` as it came; properties read what the engine always sends. Keys in `data` are jambonz's,
rewritten by it to snake case; what a user supplied (`customerData`, `sip`, `env_vars`, `args`) is verbatim.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import attrs

from callstream_core.events import Side
from callstream_core.jambonz.values import Object, text_in


class CallStatus(enum.Enum):
    """Where a leg of the call stands."""

    TRYING = "trying"
    RINGING = "ringing"
    EARLY_MEDIA = "early-media"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    QUEUED = "queued"

    @property
    def is_final(self) -> bool:
        """Whether the leg is over."""
        return self in _FINAL


_FINAL = frozenset({CallStatus.COMPLETED, CallStatus.FAILED, CallStatus.BUSY, CallStatus.NO_ANSWER})


@attrs.frozen(kw_only=True)
class Notice:
    """A message of jambonz; this kind wants no ack."""

    word: ClassVar[str] = ""
    needs_ack: ClassVar[bool] = False
    msgid: str
    call_sid: str | None = None
    """The call that owns the socket; `leg` is the one that the message is about."""
    data: Object = attrs.field(factory=dict)
    trace: str | None = None
    size: int = attrs.field(default=0, eq=False, repr=False)
    """Characters of the message, where it was heard: who keeps it, keeps about as many bytes."""

    @property
    def leg(self) -> str | None:
        """The leg of the call that this is about."""
        return text_in(self.data, "call_sid") if "call_sid" in self.data else self.call_sid

    @property
    def call_status(self) -> CallStatus | None:
        """The leg's state when this was said, where it is told and known."""
        try:
            return CallStatus(self.data.get("call_status"))
        except ValueError:
            return None


@attrs.frozen(kw_only=True)
class Question(Notice):
    """A message of jambonz that must be acked."""

    needs_ack: ClassVar[bool] = True


@attrs.frozen(kw_only=True)
class HookQuestion(Question):
    """A question that a hook asks."""

    hook: str
    """The hook as the application wrote it."""


@attrs.frozen(kw_only=True)
class SessionOffered(Question):
    """A call arrived, or one that was ordered by REST was answered. Ack it with verbs."""

    word: ClassVar[str] = "session:new"


@attrs.frozen(kw_only=True)
class SessionRedirected(HookQuestion):
    """A redirect asks for a new stack."""

    word: ClassVar[str] = "session:redirect"


@attrs.frozen(kw_only=True)
class SessionReconnected(Question):
    """A socket follows one that was lost. `data` is what the first one began with, or empty."""

    word: ClassVar[str] = "session:reconnect"


@attrs.frozen(kw_only=True)
class LegPromoted(Question):
    """A dialled leg became a call of its own. Its verbs come by a redirect command, not by the ack."""

    word: ClassVar[str] = "session:adulting"


@attrs.frozen(kw_only=True)
class TargetAnswered(HookQuestion):
    """The dialled party answered, and verbs may be run on its leg before the two are joined."""

    word: ClassVar[str] = "dial:confirm"


@attrs.frozen(kw_only=True)
class HookCalled(HookQuestion):
    """A verb's hook reports; `results.result_of` reads what it says."""

    word: ClassVar[str] = "verb:hook"

    @property
    def verb_id(self) -> str | None:
        """The id of the verb, in action hooks of verbs that have one."""
        return text_in(self.data, "verb_id")


@attrs.frozen(kw_only=True)
class CallStatusChanged(Notice):
    """A leg of the call changed its state."""

    word: ClassVar[str] = "call:status"

    @property
    def error(self) -> str | None:
        """Why the ack of a gather hook was not usable; the state has not changed then."""
        return text_in(self.data, "error")


@attrs.frozen(kw_only=True)
class VerbProgressed(Notice):
    """A verb began, ended, or something happened in it. Sent once `config` has set `notifyEvents`."""

    word: ClassVar[str] = "verb:status"

    @property
    def event(self) -> str:
        """What happened: `starting`, `finished`, `start-playback` …"""
        return str(self.data["event"])

    @property
    def verb(self) -> str | None:
        """The verb's name, as jambonz calls it."""
        return text_in(self.data, "name" if "name" in self.data else "verb")

    @property
    def verb_id(self) -> str | None:
        """The id that the application gave the verb."""
        return text_in(self.data, "id")


@attrs.frozen(kw_only=True)
class ErrorReported(Notice):
    """jambonz could not use a message, or speech failed; the call goes on."""

    word: ClassVar[str] = "jambonz:error"

    @property
    def text(self) -> str:
        """What went wrong, with details where there are any."""
        details = text_in(self.data, "details")
        return str(self.data["msg"]) + (f": {details}" if details is not None else "")

    @property
    def is_ours(self) -> bool:
        """Whether it was a message of ours: a bug of the application."""
        return bool(self.data["msg"] == "InvalidMessage")


@attrs.frozen(kw_only=True)
class LlmReported(Notice):
    """A speech model's own event, as its vendor sends it, with its keys in snake case."""

    word: ClassVar[str] = "llm:event"
    hook: str | None = None


@attrs.frozen(kw_only=True)
class ToolCalled(Notice):
    """A speech model calls a tool; the answer is the command `AnswerTool`."""

    word: ClassVar[str] = "llm:tool-call"
    hook: str | None = None

    @property
    def tool_call_id(self) -> str:
        """What the answer has to quote."""
        return str(self.data["tool_call_id"])

    @property
    def name(self) -> str:
        """The tool."""
        return str(self.data["name"])

    @property
    def args(self) -> Any:
        """Its arguments, verbatim."""
        return self.data.get("args")


@attrs.frozen(kw_only=True)
class AgentReported(Notice):
    """An event of the commercial edition's agent."""

    word: ClassVar[str] = "agent:event"
    hook: str | None = None


@attrs.frozen(kw_only=True)
class AgentToolCalled(ToolCalled):
    """The commercial edition's agent calls a tool."""

    word: ClassVar[str] = "agent:tool-call"


@attrs.frozen(kw_only=True)
class TokensAnswered(Notice):
    """Tokens were taken, or not."""

    word: ClassVar[str] = "tts:tokens-result"

    @property
    def id(self) -> str | int:
        """The id that was sent with them."""
        found: str | int = self.data["id"]
        return found

    @property
    def is_taken(self) -> bool:
        """Whether they will be spoken."""
        return bool(self.data["status"] == "ok")

    @property
    def reason(self) -> str:
        """Why not."""
        return str(self.data.get("reason", ""))


@attrs.frozen(kw_only=True)
class SpeechStreamChanged(Notice):
    """Streamed speech opened, paused, resumed, closed, or the caller interrupted it."""

    word: ClassVar[str] = "tts:streaming-event"

    @property
    def event(self) -> str:
        """`stream_open`, `stream_paused`, `stream_resumed`, `stream_closed`, `user_interruption` …"""
        return str(self.data["event_type"])


NOTICES: dict[str, type[Notice]] = {
    kind.word: kind
    for kind in (
        SessionOffered,
        SessionRedirected,
        SessionReconnected,
        LegPromoted,
        TargetAnswered,
        HookCalled,
        CallStatusChanged,
        VerbProgressed,
        ErrorReported,
        LlmReported,
        ToolCalled,
        AgentReported,
        AgentToolCalled,
        TokensAnswered,
        SpeechStreamChanged,
    )
}


# What a session itself has to say


class AckReason(enum.Enum):
    """Why a session acked by itself."""

    OVERDUE = "no answer came in time"
    INTERRUPTED = "its verb was interrupted; an answer with verbs would undo the redirect"
    ENDING = "the call is over"
    NO_VERBS_WANTED = "its verbs would be ignored"
    CROWDED = "too much waited for an ack"


@attrs.frozen
class Acked:
    """The session acked a message by itself; nothing is owed for it any more."""

    msgid: str
    reason: AckReason


@attrs.frozen
class TokensDropped:
    """Text that had not left yet, or was never answered, is given up: speech was cleared or interrupted."""

    ids: tuple[str | int, ...]


class Redial(enum.Enum):
    """Whether jambonz dials again after a socket is gone."""

    NO = "no"
    SOON = "soon"
    """Within seconds; the new socket begins with `SessionReconnected`."""
    WHEN_NEEDED = "when needed"
    """The connections it makes by itself are used up: only when it has something to say."""


class Outcome(enum.Enum):
    """What the end of a control socket means."""

    ENDED = "ended"
    REJECTED = "rejected"
    """jambonz rejected the call because of our first ack, or for want of one."""
    LEFT = "left"
    """The application said that it has no more to say; the call winds down."""
    LOST = "lost"
    """The socket is gone, the call is not."""


@attrs.frozen(kw_only=True)
class ControlClosed:
    """The socket is over: always the last event, exactly once."""

    initiator: Side
    code: int | None
    """The WebSocket close code; None where the connection went away without one."""
    reason: str
    outcome: Outcome
    redials: Redial
    call_continues: bool | None
    """Whether the phone call goes on; None where it ends when its running verb does."""
    unsent: tuple[object, ...] = ()
    """Commands that were accepted and had not left yet."""
