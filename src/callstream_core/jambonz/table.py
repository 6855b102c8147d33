"""jambonz's own table of verbs: which properties each takes, and of what kind.

One word per property: its name, `!` where it is required, and its kind after the colon. Kinds are `s` text, `n`
number, `b` boolean, `o` object, `a` array, `h` a hook (text or object), `x/y` either, `#t` the part named t, `[#t]`
an array of such parts; `{x|y}` lists all values that are allowed.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from functools import cache

import attrs

from callstream_core.jambonz.vendor_table import VENDOR_PARTS

_VERBS = {
    "alert": "message!:s",
    "answer": "",
    "conference": (
        "name!:s beep:b memberTag:s speakOnlyTo:s startConferenceOnEnter:b endConferenceOnExit:b "
        "endConferenceDuration:n maxParticipants:n joinMuted:b actionHook:h waitHook:h statusEvents:a "
        "statusHook:h enterHook:h record:#record listen:#listen distributeDtmf:b"
    ),
    "config": (
        "synthesizer:#synthesizer recognizer:#recognizer bargeIn:#bargeIn ttsStream:#ttsStream "
        "record:#recordOptions listen:#listenOptions stream:#listenOptions transcribe:#transcribeOptions amd:#amd "
        "fillerNoise:#fillerNoise notifyEvents:b notifySttLatency:b reset:s/a onHoldMusic:s "
        "actionHookDelayAction:#actionHookDelayAction sipRequestWithinDialogHook:h boostAudioSignal:n/s vad:#vad "
        "referHook:h earlyMedia:b autoStreamTts:b disableTtsCache:b trackTtsPlayout:b "
        "noiseIsolation:#noiseIsolation turnTaking:#turnTaking"
    ),
    "dequeue": "name!:s actionHook:h timeout:n beep:b callSid:s",
    "dial": (
        "actionHook:h onHoldHook:h answerOnBridge:b callerId:s callerName:s confirmHook:h referHook:h dialMusic:s "
        "dtmfCapture:o dtmfHook:h headers:o anchorMedia:b exitMediaPath:b boostAudioSignal:n/s listen:#listen "
        "stream:#listen target!:[#target] timeLimit:n timeout:n proxy:s transcribe:#transcribe amd:#amd "
        "dub:[#dub] tag:o forwardPAI:b srtpEncryption:s{sdes|dtls}"
    ),
    "dialogflow": (
        "credentials!:h project!:s agent:s environment:s region:s model:s{es|cx|ces} lang!:s actionHook:h "
        "eventHook:h events:a welcomeEvent:s welcomeEventParams:o noInputTimeout:n noInputEvent:s "
        "passDtmfAsTextInput:b thinkingMusic:s tts:#synthesizer bargein:b queryInput:#queryInput"
    ),
    "dtmf": "dtmf!:s duration:n",
    "dub": (
        "action!:s{addTrack|removeTrack|silenceTrack|playOnTrack|sayOnTrack} track!:s play:s say:s/o loop:b gain:n/s"
    ),
    "enqueue": "name!:s actionHook:h waitHook:h priority:n _:o",
    "gather": (
        "actionHook:h finishOnKey:s input:a numDigits:n minDigits:n maxDigits:n interDigitTimeout:n "
        "partialResultHook:h speechTimeout:n listenDuringPrompt:b dtmfBargein:b bargein:b minBargeinWordCount:n "
        "timeout:n recognizer:#recognizer play:#play say:#say fillerNoise:#fillerNoise "
        "actionHookDelayAction:#actionHookDelayAction"
    ),
    "hangup": "headers:o",
    "leave": "",
    "lex": (
        "botId!:s botAlias!:s credentials!:o region!:s locale:s intent:#lexIntent welcomeMessage:s metadata:o "
        "bargein:b passDtmf:b actionHook:h eventHook:h noInputTimeout:n tts:#synthesizer"
    ),
    "listen": (
        "actionHook:h auth:#auth finishOnKey:s maxLength:n metadata:o mixType:s{mono|stereo|mixed} passDtmf:b "
        "playBeep:b disableBidirectionalAudio:b bidirectionalAudio:#bidirectionalAudio sampleRate:n timeout:n "
        "transcribe:#transcribe url!:s wsAuth:#auth earlyMedia:b channel:n"
    ),
    "llm": (
        "vendor!:s model:s auth:o connectOptions:o mcpServers:[#mcpServer] actionHook:h eventHook:h toolHook:h "
        "events:a llmOptions!:o"
    ),
    "message": "carrier:s account_sid:s message_sid:s to!:s from!:s text:s media:s/a actionHook:h",
    "pause": "length!:n",
    "pipeline": (
        "stt:#recognizer tts:#synthesizer llm!:#llm turnDetection:s/o bargeIn:#bargeInPipeline actionHook:h "
        "eventHook:h toolHook:h greeting:b earlyGeneration:b noiseIsolation:s/o mcpServers:[#mcpServer] "
        "noResponseTimeout:n"
    ),
    "play": "url!:s/a loop:n/s earlyMedia:b seekOffset:n/s timeoutSecs:n/s actionHook:h",
    "rasa": "url!:s recognizer:#recognizer tts:#synthesizer prompt:s actionHook:h eventHook:h",
    "redirect": "actionHook!:h statusHook:h",
    "rest:dial": (
        "account_sid:s application_sid:s call_hook!:h call_status_hook:h from!:s callerName:s fromHost:s "
        "speech_synthesis_vendor:s speech_synthesis_voice:s speech_synthesis_language:s "
        "speech_recognizer_vendor:s speech_recognizer_language:s tag:o to!:#target headers:o timeout:n amd:#amd "
        "dual_streams:b sipRequestWithinDialogHook:s referHook:h timeLimit:n"
    ),
    "say": (
        "text:s/a instructions:s stream:b loop:n/s synthesizer:#synthesizer earlyMedia:b disableTtsCache:b "
        "closeStreamOnEmpty:b"
    ),
    "sip:decline": "status!:n reason:s headers:o",
    "sip:refer": "referTo!:s referredBy:s referredByDisplayName:s headers:o actionHook:h eventHook:h",
    "sip:request": "method!:s body:s headers:o actionHook:h",
    "tag": "data!:o",
    "transcribe": "transcriptionHook:s translationHook:s recognizer:#recognizer earlyMedia:b channel:n",
}
# Objects inside verbs.
_PARTS = {
    "fillerNoise": "enable!:b url:s startDelaySecs:n",
    "listenOptions": (
        "enable!:b url:s sampleRate:n wsAuth:#auth mixType:s{mono|stereo|mixed} metadata:o maxLength:n passDtmf:b "
        "playBeep:b disableBidirectionalAudio:b bidirectionalAudio:#bidirectionalAudio timeout:n"
    ),
    "ttsStream": "enable!:b synthesizer:#synthesizer",
    "bargeIn": (
        "enable!:b sticky:b actionHook:h partialResultHook:h input:a finishOnKey:s numDigits:n minDigits:n "
        "maxDigits:n interDigitTimeout:n dtmfBargein:b minBargeinWordCount:n"
    ),
    "transcribeOptions": "enable!:b transcriptionHook:s recognizer:#recognizer",
    "queryInput": "text:s intent:s event:s dtmf:s",
    "mcpServer": "url!:s auth:o roots:[#root]",
    "record": "path!:s",
    "recordOptions": (
        "action!:s{startCallRecording|stopCallRecording|pauseCallRecording|resumeCallRecording} "
        "type:s{cloud|siprec} recordingID:s siprecServerURL:s/a headers:o"
    ),
    "target": (
        "type!:s{phone|sip|user|teams} confirmHook:h method:s{GET|POST} headers:o from:#dialFrom name:s number:s "
        "sipUri:s auth:#auth vmail:b tenant:s trunk:s overrideTo:s proxy:s"
    ),
    "dialFrom": "user:s host:s",
    "auth": "username!:s password!:s",
    "synthesizer": (
        "vendor!:s label:s language:s voice:s/o fallbackVendor:s fallbackLabel:s fallbackLanguage:s "
        "fallbackVoice:s/o engine:s{standard|neural|generative|long-form} gender:s{MALE|FEMALE|NEUTRAL} options:o"
    ),
    "recognizer": (
        "vendor!:s label:s language:s fallbackVendor:s fallbackLabel:s fallbackLanguage:s vad:#vad "
        "autogeneratePrompt:b hints:a hintsBoost:n altLanguages:a profanityFilter:b interim:b singleUtterance:b "
        "dualChannel:b separateRecognitionPerChannel:b punctuation:b enhancedModel:b words:b diarization:b "
        "diarizationMinSpeakers:n diarizationMaxSpeakers:n "
        "interactionType:s{unspecified|discussion|presentation|phone_call|voicemail|voice_search|voice_command"
        "|dictation} naicsCode:n identifyChannels:b vocabularyName:s vocabularyFilterName:s "
        "filterMethod:s{remove|mask|tag} "
        "model:s outputFormat:s{simple|detailed} profanityOption:s{masked|removed|raw} requestSnr:b "
        "initialSpeechTimeoutMs:n azureServiceEndpoint:s azureSttEndpointId:s asrDtmfTerminationDigit:s "
        "asrTimeout:n fastRecognitionTimeout:n minConfidence:n nuanceOptions:#nuanceOptions "
        "deepgramOptions:#deepgramOptions ibmOptions:#ibmOptions nvidiaOptions:#nvidiaOptions "
        "sonioxOptions:#sonioxOptions cobaltOptions:#cobaltOptions awsOptions:#awsOptions "
        "azureOptions:#azureOptions assemblyAiOptions:#assemblyAiOptions googleOptions:#googleOptions "
        "customOptions:#customOptions verbioOptions:#verbioOptions speechmaticsOptions:#speechmaticsOptions "
        "openaiOptions:#openaiOptions houndifyOptions:#houndifyOptions gladiaOptions:o "
        "elevenlabsOptions:#elevenlabsOptions"
    ),
    "lexIntent": "name!:s slots:o",
    "vad": "enable:b voiceMs:n silenceMs:n strategy:s mode:n vendor:s{webrtc|silero} threshold:n speechPadMs:n",
    "amd": "actionHook!:h thresholdWordCount:n digitCount:n timers:#amdTimers recognizer:#recognizer",
    "amdTimers": "noSpeechTimeoutMs:n decisionTimeoutMs:n toneTimeoutMs:n greetingCompletionTimeoutMs:n",
    "actionHookDelayAction": (
        "enabled:b noResponseTimeout:n noResponseGiveUpTimeout:n retries:n actions:a giveUpActions:a"
    ),
    "bidirectionalAudio": "enabled:b streaming:b sampleRate:n",
    "bargeInPipeline": "enable:b minSpeechDuration:n sticky:b",
    "noiseIsolationPipeline": "mode:s level:n direction:s{read|write} model:s",
    "noiseIsolation": "enable:b vendor:s level:n model:s",
    "turnTaking": "enable:b vendor:s threshold:n model:s",
    **VENDOR_PARTS,
}


class Needs(enum.Enum):
    """What a verb needs of the call before it runs."""

    NOTHING = "nothing"
    MEDIA = "media"
    """It answers the call, unless it is told to be early media."""
    ANSWERED = "an answered call"
    """Else it is skipped."""
    UNANSWERED = "an unanswered call"
    """Else it is skipped."""


NEEDS: Mapping[str, Needs] = {
    **dict.fromkeys(_VERBS, Needs.MEDIA),
    **dict.fromkeys(("alert", "config", "dial", "leave", "message", "pause", "redirect", "tag"), Needs.NOTHING),
    **dict.fromkeys(("hangup", "sip:refer", "sip:request"), Needs.ANSWERED),
    "sip:decline": Needs.UNANSWERED,
}
# These pass the validator, and then nothing can run them.
NOT_EXECUTED = frozenset({"pipeline"})
# jambonz makes this one itself, for calls that its REST interface orders.
INTERNAL = frozenset({"rest:dial"})


@attrs.frozen
class Property:
    """One property of a verb or part."""

    name: str
    kind: str
    is_required: bool
    values: tuple[str, ...] = ()
    """All values that are allowed, where there is such a list."""

    @property
    def part(self) -> str | None:
        """The name of the part that this property holds, alone or in an array."""
        return self.kind.strip("[]#") if "#" in self.kind else None

    @property
    def is_many(self) -> bool:
        """Whether it holds an array of parts."""
        return self.kind.startswith("[")


_WORD = re.compile(r"(\w+)(!?):([^{]+)(?:\{(.*)\})?")


def is_verb(name: str) -> bool:
    """Tell whether jambonz has a verb of this name."""
    return name in _VERBS


def is_part(name: str) -> bool:
    """Tell whether this is the name of an object inside verbs."""
    return name in _PARTS


def verb_names() -> list[str]:
    """Return the names of all verbs."""
    return list(_VERBS)


@cache
def properties_of(name: str) -> Mapping[str, Property]:
    """Return the properties of a verb or part, by name and in the table's order."""
    text = _VERBS[name] if name in _VERBS else _PARTS[name]
    found: dict[str, Property] = {}
    # Values may hold blanks nowhere, so blanks part the words.
    for word in text.split():
        match = _WORD.fullmatch(word)
        assert match is not None, word
        key, required, kind, values = match.groups()
        found[key] = Property(key, kind, bool(required), tuple(values.split("|")) if values else ())
    if name in _VERBS:
        found.setdefault("id", Property("id", "s", False))
    return found
