"""The verbs of a call, typed. Names and meanings are jambonz's own, in Python's spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from callstream_core.jambonz.bot_verbs import Dialogflow, Lex, Llm, Message, Pipeline, Rasa, RestDial
from callstream_core.jambonz.parts import (
    AnsweringMachine,
    Auth,
    BargeIn,
    ConferenceRecording,
    FillerNoise,
    HookDelay,
    Listening,
    NoiseIsolation,
    Recognizer,
    Recording,
    ReplyAudio,
    Synthesizer,
    Target,
    Transcription,
    TtsStream,
    TurnTaking,
    VoiceActivity,
)
from callstream_core.jambonz.values import Hook, Object, RawVerb, Verb, spoken

__all__ = [
    "Alert",
    "Answer",
    "Conference",
    "Config",
    "Dequeue",
    "Dial",
    "Dialogflow",
    "Dtmf",
    "Dub",
    "Enqueue",
    "Gather",
    "Hangup",
    "Hook",
    "Leave",
    "Lex",
    "Listen",
    "Llm",
    "Message",
    "Pause",
    "Pipeline",
    "Play",
    "Rasa",
    "RawVerb",
    "Redirect",
    "RestDial",
    "Say",
    "SipDecline",
    "SipRefer",
    "SipRequest",
    "Stream",
    "Tag",
    "Transcribe",
    "Verb",
]


@spoken
class Alert(Verb):
    """Write an alert to the portal."""

    word: ClassVar[str] = "alert"
    message: str


@spoken
class Answer(Verb):
    """Take the call."""

    word: ClassVar[str] = "answer"


@spoken
class Config(Verb):
    """Set what holds for the whole call."""

    word: ClassVar[str] = "config"
    synthesizer: Synthesizer | None = None
    recognizer: Recognizer | None = None
    barge_in: BargeIn | None = None
    tts_stream: TtsStream | None = None
    record: Recording | None = None
    listen: Listening | None = None
    stream: Listening | None = None
    transcribe: Transcription | None = None
    amd: AnsweringMachine | None = None
    filler_noise: FillerNoise | None = None
    notify_events: bool | None = None
    notify_stt_latency: bool | None = None
    reset: str | Sequence[Any] | None = None
    on_hold_music: str | None = None
    action_hook_delay_action: HookDelay | None = None
    sip_request_within_dialog_hook: str | Hook | None = None
    boost_audio_signal: float | str | None = None
    vad: VoiceActivity | None = None
    refer_hook: str | Hook | None = None
    early_media: bool | None = None
    auto_stream_tts: bool | None = None
    disable_tts_cache: bool | None = None
    track_tts_playout: bool | None = None
    noise_isolation: NoiseIsolation | None = None
    turn_taking: TurnTaking | None = None


@spoken
class Dequeue(Verb):
    """Take a caller out of a queue and talk."""

    word: ClassVar[str] = "dequeue"
    name: str
    action_hook: str | Hook | None = None
    timeout: float | None = None
    beep: bool | None = None
    call_sid: str | None = None


@spoken
class Dtmf(Verb):
    """Play key presses."""

    word: ClassVar[str] = "dtmf"
    dtmf: str
    duration: float | None = None


@spoken
class Dub(Verb):
    """Add sound beside the call's own."""

    word: ClassVar[str] = "dub"
    action: str
    track: str
    play: str | None = None
    say: str | Object | None = None
    loop: bool | None = None
    gain: float | str | None = None


@spoken
class Enqueue(Verb):
    """Put the caller into a queue."""

    word: ClassVar[str] = "enqueue"
    name: str
    action_hook: str | Hook | None = None
    wait_hook: str | Hook | None = None
    priority: float | None = None
    extra: Object | None = attrs.field(default=None, metadata={"wire": "_"})


@spoken
class Hangup(Verb):
    """End the call, if it was answered."""

    word: ClassVar[str] = "hangup"
    headers: Object | None = None


@spoken
class Leave(Verb):
    """Leave the queue: only in a wait hook, elsewhere it ends the call."""

    word: ClassVar[str] = "leave"


@spoken
class Pause(Verb):
    """Wait; the call is not answered for it."""

    word: ClassVar[str] = "pause"
    length: float


@spoken
class Play(Verb):
    """Play a file."""

    word: ClassVar[str] = "play"
    url: str | Sequence[Any]
    loop: float | str | None = None
    early_media: bool | None = None
    seek_offset: float | str | None = None
    timeout_secs: float | str | None = None
    action_hook: str | Hook | None = None


@spoken
class Redirect(Verb):
    """Ask another hook for verbs."""

    word: ClassVar[str] = "redirect"
    action_hook: str | Hook
    status_hook: str | Hook | None = None


@spoken
class Say(Verb):
    """Speak a text, or the tokens of a stream."""

    word: ClassVar[str] = "say"
    text: str | Sequence[Any] | None = None
    instructions: str | None = None
    stream: bool | None = None
    loop: float | str | None = None
    synthesizer: Synthesizer | None = None
    early_media: bool | None = None
    disable_tts_cache: bool | None = None
    close_stream_on_empty: bool | None = None


@spoken
class Gather(Verb):
    """Collect digits or speech."""

    word: ClassVar[str] = "gather"
    action_hook: str | Hook | None = None
    finish_on_key: str | None = None
    input: Sequence[Any] | None = None
    num_digits: float | None = None
    min_digits: float | None = None
    max_digits: float | None = None
    inter_digit_timeout: float | None = None
    partial_result_hook: str | Hook | None = None
    speech_timeout: float | None = None
    listen_during_prompt: bool | None = None
    dtmf_bargein: bool | None = None
    bargein: bool | None = None
    min_bargein_word_count: float | None = None
    timeout: float | None = None
    recognizer: Recognizer | None = None
    play: Play | None = None
    say: Say | None = None
    filler_noise: FillerNoise | None = None
    action_hook_delay_action: HookDelay | None = None


@spoken
class SipDecline(Verb):
    """Refuse the call."""

    word: ClassVar[str] = "sip:decline"
    status: float
    reason: str | None = None
    headers: Object | None = None


@spoken
class SipRefer(Verb):
    """Transfer the caller by REFER."""

    word: ClassVar[str] = "sip:refer"
    refer_to: str
    referred_by: str | None = None
    referred_by_display_name: str | None = None
    headers: Object | None = None
    action_hook: str | Hook | None = None
    event_hook: str | Hook | None = None


@spoken
class SipRequest(Verb):
    """Send a SIP request inside the call."""

    word: ClassVar[str] = "sip:request"
    method: str
    body: str | None = None
    headers: Object | None = None
    action_hook: str | Hook | None = None


@spoken
class Tag(Verb):
    """Attach data, which comes back as `customerData`."""

    word: ClassVar[str] = "tag"
    data: Object


@spoken
class Transcribe(Verb):
    """Transcribe the call."""

    word: ClassVar[str] = "transcribe"
    transcription_hook: str | None = None
    translation_hook: str | None = None
    recognizer: Recognizer | None = None
    early_media: bool | None = None
    channel: float | None = None


@spoken
class Listen(Verb):
    """Stream the call's audio to a WebSocket."""

    word: ClassVar[str] = "listen"
    url: str
    action_hook: str | Hook | None = None
    auth: Auth | None = None
    finish_on_key: str | None = None
    max_length: float | None = None
    metadata: Object | None = None
    mix_type: str | None = None
    pass_dtmf: bool | None = None
    play_beep: bool | None = None
    disable_bidirectional_audio: bool | None = None
    bidirectional_audio: ReplyAudio | None = None
    sample_rate: float | None = None
    timeout: float | None = None
    transcribe: Transcribe | None = None
    ws_auth: Auth | None = None
    early_media: bool | None = None
    channel: float | None = None


@spoken
class Stream(Listen):
    """The newer name of `Listen`; jambonz itself goes on calling it so."""

    spelling: ClassVar[str] = "stream"


@spoken
class Conference(Verb):
    """Put the caller into a conference."""

    word: ClassVar[str] = "conference"
    name: str
    beep: bool | None = None
    member_tag: str | None = None
    speak_only_to: str | None = None
    start_conference_on_enter: bool | None = None
    end_conference_on_exit: bool | None = None
    end_conference_duration: float | None = None
    max_participants: float | None = None
    join_muted: bool | None = None
    action_hook: str | Hook | None = None
    wait_hook: str | Hook | None = None
    status_events: Sequence[Any] | None = None
    status_hook: str | Hook | None = None
    enter_hook: str | Hook | None = None
    record: ConferenceRecording | None = None
    listen: Listen | None = None
    distribute_dtmf: bool | None = None


@spoken
class Dial(Verb):
    """Call somebody and join the two."""

    word: ClassVar[str] = "dial"
    target: Sequence[Target]
    action_hook: str | Hook | None = None
    on_hold_hook: str | Hook | None = None
    answer_on_bridge: bool | None = None
    caller_id: str | None = None
    caller_name: str | None = None
    confirm_hook: str | Hook | None = None
    refer_hook: str | Hook | None = None
    dial_music: str | None = None
    dtmf_capture: Object | None = None
    dtmf_hook: str | Hook | None = None
    headers: Object | None = None
    anchor_media: bool | None = None
    exit_media_path: bool | None = None
    boost_audio_signal: float | str | None = None
    listen: Listen | None = None
    stream: Listen | None = None
    time_limit: float | None = None
    timeout: float | None = None
    proxy: str | None = None
    transcribe: Transcribe | None = None
    amd: AnsweringMachine | None = None
    dub: Sequence[Dub] | None = None
    tag: Object | None = None
    forward_pai: bool | None = attrs.field(default=None, metadata={"wire": "forwardPAI"})
    srtp_encryption: str | None = None
