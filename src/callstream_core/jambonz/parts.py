"""Objects inside verbs, typed. Names and meanings are jambonz's own, in Python's spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from callstream_core.jambonz.values import Hook, Object, Part, spoken


@spoken
class Auth(Part):
    """User and password."""

    word: ClassVar[str] = "auth"
    username: str
    password: str


@spoken
class FillerNoise(Part):
    """A sound that fills the wait for an answer."""

    word: ClassVar[str] = "fillerNoise"
    enable: bool
    url: str | None = None
    start_delay_secs: float | None = None


@spoken
class TtsStream(Part):
    """Speech made from tokens as they come."""

    word: ClassVar[str] = "ttsStream"
    enable: bool
    synthesizer: Synthesizer | None = None


@spoken
class QueryInput(Part):
    """The first input of a dialogue."""

    word: ClassVar[str] = "queryInput"
    text: str | None = None
    intent: str | None = None
    event: str | None = None
    dtmf: str | None = None


@spoken
class ToolServer(Part):
    """A tool server that an LLM may use."""

    word: ClassVar[str] = "mcpServer"
    url: str
    auth: Object | None = None
    roots: Sequence[Object] | None = None


@spoken
class ConferenceRecording(Part):
    """Where a conference is recorded."""

    word: ClassVar[str] = "record"
    path: str


@spoken
class Recording(Part):
    """A recording of the whole call."""

    word: ClassVar[str] = "recordOptions"
    action: str
    type: str | None = None
    recording_id: str | None = attrs.field(default=None, metadata={"wire": "recordingID"})
    siprec_server_url: str | Sequence[Any] | None = attrs.field(default=None, metadata={"wire": "siprecServerURL"})
    headers: Object | None = None


@spoken
class CallerIdentity(Part):
    """As whom to dial."""

    word: ClassVar[str] = "dialFrom"
    user: str | None = None
    host: str | None = None


@spoken
class LexIntent(Part):
    """Where a Lex dialogue begins."""

    word: ClassVar[str] = "lexIntent"
    name: str
    slots: Object | None = None


@spoken
class VoiceActivity(Part):
    """When voice counts as voice."""

    word: ClassVar[str] = "vad"
    enable: bool | None = None
    voice_ms: float | None = None
    silence_ms: float | None = None
    strategy: str | None = None
    mode: float | None = None
    vendor: str | None = None
    threshold: float | None = None
    speech_pad_ms: float | None = None


@spoken
class AnsweringMachineTimers(Part):
    """The patience of answering machine detection."""

    word: ClassVar[str] = "amdTimers"
    no_speech_timeout_ms: float | None = None
    decision_timeout_ms: float | None = None
    tone_timeout_ms: float | None = None
    greeting_completion_timeout_ms: float | None = None


@spoken
class ReplyAudio(Part):
    """How a listen stream talks back."""

    word: ClassVar[str] = "bidirectionalAudio"
    enabled: bool | None = None
    streaming: bool | None = None
    sample_rate: float | None = None


@spoken
class PipelineBargeIn(Part):
    """Interruptions of a pipeline."""

    word: ClassVar[str] = "bargeInPipeline"
    enable: bool | None = None
    min_speech_duration: float | None = None
    sticky: bool | None = None


@spoken
class PipelineNoise(Part):
    """Noise isolation of a pipeline."""

    word: ClassVar[str] = "noiseIsolationPipeline"
    mode: str | None = None
    level: float | None = None
    direction: str | None = None
    model: str | None = None


@spoken
class NoiseIsolation(Part):
    """Take the noise out of the caller's voice."""

    word: ClassVar[str] = "noiseIsolation"
    enable: bool | None = None
    vendor: str | None = None
    level: float | None = None
    model: str | None = None


@spoken
class TurnTaking(Part):
    """Tell when the caller has finished."""

    word: ClassVar[str] = "turnTaking"
    enable: bool | None = None
    vendor: str | None = None
    threshold: float | None = None
    model: str | None = None


@spoken
class HookDelay(Part):
    """What to do while an application takes its time. Actions are verbs as JSON."""

    word: ClassVar[str] = "actionHookDelayAction"
    enabled: bool | None = None
    no_response_timeout: float | None = None
    no_response_give_up_timeout: float | None = None
    retries: float | None = None
    actions: Sequence[Any] | None = None
    give_up_actions: Sequence[Any] | None = None


@spoken
class Synthesizer(Part):
    """Which voice speaks."""

    word: ClassVar[str] = "synthesizer"
    vendor: str
    label: str | None = None
    language: str | None = None
    voice: str | Object | None = None
    fallback_vendor: str | None = None
    fallback_label: str | None = None
    fallback_language: str | None = None
    fallback_voice: str | Object | None = None
    engine: str | None = None
    gender: str | None = None
    options: Object | None = None


@spoken
class Recognizer(Part):
    """Which recognizer listens, and how. Vendor options are in the vendor's own words."""

    word: ClassVar[str] = "recognizer"
    vendor: str
    label: str | None = None
    language: str | None = None
    fallback_vendor: str | None = None
    fallback_label: str | None = None
    fallback_language: str | None = None
    vad: VoiceActivity | None = None
    autogenerate_prompt: bool | None = None
    hints: Sequence[Any] | None = None
    hints_boost: float | None = None
    alt_languages: Sequence[Any] | None = None
    profanity_filter: bool | None = None
    interim: bool | None = None
    single_utterance: bool | None = None
    dual_channel: bool | None = None
    separate_recognition_per_channel: bool | None = None
    punctuation: bool | None = None
    enhanced_model: bool | None = None
    words: bool | None = None
    diarization: bool | None = None
    diarization_min_speakers: float | None = None
    diarization_max_speakers: float | None = None
    interaction_type: str | None = None
    naics_code: float | None = None
    identify_channels: bool | None = None
    vocabulary_name: str | None = None
    vocabulary_filter_name: str | None = None
    filter_method: str | None = None
    model: str | None = None
    output_format: str | None = None
    profanity_option: str | None = None
    request_snr: bool | None = None
    initial_speech_timeout_ms: float | None = None
    azure_service_endpoint: str | None = None
    azure_stt_endpoint_id: str | None = None
    asr_dtmf_termination_digit: str | None = None
    asr_timeout: float | None = None
    fast_recognition_timeout: float | None = None
    min_confidence: float | None = None
    nuance_options: Object | None = None
    deepgram_options: Object | None = None
    ibm_options: Object | None = None
    nvidia_options: Object | None = None
    soniox_options: Object | None = None
    cobalt_options: Object | None = None
    aws_options: Object | None = None
    azure_options: Object | None = None
    assembly_ai_options: Object | None = None
    google_options: Object | None = None
    custom_options: Object | None = None
    verbio_options: Object | None = None
    speechmatics_options: Object | None = None
    openai_options: Object | None = None
    houndify_options: Object | None = None
    gladia_options: Object | None = None
    elevenlabs_options: Object | None = None


@spoken
class Listening(Part):
    """A listen stream that runs beside the verbs."""

    word: ClassVar[str] = "listenOptions"
    enable: bool
    url: str | None = None
    sample_rate: float | None = None
    ws_auth: Auth | None = None
    mix_type: str | None = None
    metadata: Object | None = None
    max_length: float | None = None
    pass_dtmf: bool | None = None
    play_beep: bool | None = None
    disable_bidirectional_audio: bool | None = None
    bidirectional_audio: ReplyAudio | None = None
    timeout: float | None = None


@spoken
class BargeIn(Part):
    """A gather that runs beside the verbs."""

    word: ClassVar[str] = "bargeIn"
    enable: bool
    sticky: bool | None = None
    action_hook: str | Hook | None = None
    partial_result_hook: str | Hook | None = None
    input: Sequence[Any] | None = None
    finish_on_key: str | None = None
    num_digits: float | None = None
    min_digits: float | None = None
    max_digits: float | None = None
    inter_digit_timeout: float | None = None
    dtmf_bargein: bool | None = None
    min_bargein_word_count: float | None = None


@spoken
class Transcription(Part):
    """A transcription that runs beside the verbs."""

    word: ClassVar[str] = "transcribeOptions"
    enable: bool
    transcription_hook: str | None = None
    recognizer: Recognizer | None = None


@spoken
class Target(Part):
    """Whom to dial."""

    word: ClassVar[str] = "target"
    type: str
    confirm_hook: str | Hook | None = None
    method: str | None = None
    headers: Object | None = None
    from_: CallerIdentity | None = None
    name: str | None = None
    number: str | None = None
    sip_uri: str | None = None
    auth: Auth | None = None
    vmail: bool | None = None
    tenant: str | None = None
    trunk: str | None = None
    override_to: str | None = None
    proxy: str | None = None


@spoken
class AnsweringMachine(Part):
    """Tell people from answering machines."""

    word: ClassVar[str] = "amd"
    action_hook: str | Hook
    threshold_word_count: float | None = None
    digit_count: float | None = None
    timers: AnsweringMachineTimers | None = None
    recognizer: Recognizer | None = None
