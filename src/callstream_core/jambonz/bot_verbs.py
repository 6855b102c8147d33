"""Verbs that hand the caller to somebody else's dialogue, and other rare ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from callstream_core.jambonz.parts import (
    AnsweringMachine,
    LexIntent,
    PipelineBargeIn,
    QueryInput,
    Recognizer,
    Synthesizer,
    Target,
    ToolServer,
)
from callstream_core.jambonz.values import Hook, Object, Verb, spoken


@spoken
class Lex(Verb):
    """Hand the caller to a Lex bot."""

    word: ClassVar[str] = "lex"
    bot_id: str
    bot_alias: str
    credentials: Object
    region: str
    locale: str | None = None
    intent: LexIntent | None = None
    welcome_message: str | None = None
    metadata: Object | None = None
    bargein: bool | None = None
    pass_dtmf: bool | None = None
    action_hook: str | Hook | None = None
    event_hook: str | Hook | None = None
    no_input_timeout: float | None = None
    tts: Synthesizer | None = None


@spoken
class Llm(Verb):
    """Hand the caller to a speech model."""

    word: ClassVar[str] = "llm"
    vendor: str
    llm_options: Object
    model: str | None = None
    auth: Object | None = None
    connect_options: Object | None = None
    mcp_servers: Sequence[ToolServer] | None = None
    action_hook: str | Hook | None = None
    event_hook: str | Hook | None = None
    tool_hook: str | Hook | None = None
    events: Sequence[Any] | None = None


@spoken
class Message(Verb):
    """Send a text message."""

    word: ClassVar[str] = "message"
    to: str
    from_: str
    carrier: str | None = None
    account_sid: str | None = attrs.field(default=None, metadata={"wire": "account_sid"})
    message_sid: str | None = attrs.field(default=None, metadata={"wire": "message_sid"})
    text: str | None = None
    media: str | Sequence[Any] | None = None
    action_hook: str | Hook | None = None


@spoken
class Pipeline(Verb):
    """Recognizer, model and voice in one: passes the validator, and is not executed by the open edition."""

    word: ClassVar[str] = "pipeline"
    llm: Llm
    stt: Recognizer | None = None
    tts: Synthesizer | None = None
    turn_detection: str | Object | None = None
    barge_in: PipelineBargeIn | None = None
    action_hook: str | Hook | None = None
    event_hook: str | Hook | None = None
    tool_hook: str | Hook | None = None
    greeting: bool | None = None
    early_generation: bool | None = None
    noise_isolation: str | Object | None = None
    mcp_servers: Sequence[ToolServer] | None = None
    no_response_timeout: float | None = None


@spoken
class Rasa(Verb):
    """Hand the caller to a Rasa agent."""

    word: ClassVar[str] = "rasa"
    url: str
    recognizer: Recognizer | None = None
    tts: Synthesizer | None = None
    prompt: str | None = None
    action_hook: str | Hook | None = None
    event_hook: str | Hook | None = None


@spoken
class Dialogflow(Verb):
    """Hand the caller to a Dialogflow agent."""

    word: ClassVar[str] = "dialogflow"
    credentials: str | Hook
    project: str
    lang: str
    agent: str | None = None
    environment: str | None = None
    region: str | None = None
    model: str | None = None
    action_hook: str | Hook | None = None
    event_hook: str | Hook | None = None
    events: Sequence[Any] | None = None
    welcome_event: str | None = None
    welcome_event_params: Object | None = None
    no_input_timeout: float | None = None
    no_input_event: str | None = None
    pass_dtmf_as_text_input: bool | None = None
    thinking_music: str | None = None
    tts: Synthesizer | None = None
    bargein: bool | None = None
    query_input: QueryInput | None = None


@spoken
class RestDial(Verb):
    """What jambonz makes of a call ordered by REST; applications never send it."""

    word: ClassVar[str] = "rest:dial"
    call_hook: str | Hook = attrs.field(metadata={"wire": "call_hook"})
    from_: str
    to: Target
    account_sid: str | None = attrs.field(default=None, metadata={"wire": "account_sid"})
    application_sid: str | None = attrs.field(default=None, metadata={"wire": "application_sid"})
    call_status_hook: str | Hook | None = attrs.field(default=None, metadata={"wire": "call_status_hook"})
    caller_name: str | None = None
    from_host: str | None = None
    speech_synthesis_vendor: str | None = attrs.field(default=None, metadata={"wire": "speech_synthesis_vendor"})
    speech_synthesis_voice: str | None = attrs.field(default=None, metadata={"wire": "speech_synthesis_voice"})
    speech_synthesis_language: str | None = attrs.field(default=None, metadata={"wire": "speech_synthesis_language"})
    speech_recognizer_vendor: str | None = attrs.field(default=None, metadata={"wire": "speech_recognizer_vendor"})
    speech_recognizer_language: str | None = attrs.field(default=None, metadata={"wire": "speech_recognizer_language"})
    tag: Object | None = None
    headers: Object | None = None
    timeout: float | None = None
    amd: AnsweringMachine | None = None
    dual_streams: bool | None = attrs.field(default=None, metadata={"wire": "dual_streams"})
    sip_request_within_dialog_hook: str | None = None
    refer_hook: str | Hook | None = None
    time_limit: float | None = None
