"""The parts of verbs that belong to speech vendors, in the notation of the verb table."""

from __future__ import annotations

VENDOR_PARTS = {
    "customOptions": "authToken:s uri:s sampleRate:n options:o",
    "awsOptions": (
        "accessKey:s secretKey:s securityToken:s region:s vocabularyName:s vocabularyFilterName:s "
        "vocabularyFilterMethod:s{remove|mask|tag} languageModelName:s piiEntityTypes:a piiIdentifyEntities:b"
    ),
    "azureOptions": (
        "speechSegmentationSilenceTimeoutMs:n postProcessing:s audioLogging:b "
        "languageIdMode:s{AtStart|Continuous} speechRecognitionMode:s{CONVERSATION|DICTATION|INTERACTIVE}"
    ),
    "googleOptions": (
        "serviceVersion:s{v1|v2} recognizerId:s speechStartTimeoutMs:n speechEndTimeoutMs:n "
        "enableVoiceActivityEvents:b transcriptNormalization:a parentPath:s"
    ),
    "houndifyOptions": (
        "requestInfo:o sampleRate:n latitude:n longitude:n city:s state:s country:s timeZone:s domain:s "
        "audioEndpoint:s maxSilenceSeconds:n maxSilenceAfterFullQuerySeconds:n "
        "maxSilenceAfterPartialQuerySeconds:n vadSensitivity:n vadTimeout:n vadMode:s vadVoiceMs:n vadSilenceMs:n "
        "vadDebug:b audioFormat:s enableNoiseReduction:b enableProfanityFilter:b enablePunctuation:b "
        "enableCapitalization:b confidenceThreshold:n enableDisfluencyFilter:b maxResults:n "
        "enableWordTimestamps:b maxAlternatives:n partialTranscriptInterval:n sessionTimeout:n "
        "connectionTimeout:n customVocabulary:a languageModel:s audioQueryAbsoluteTimeout:n"
    ),
    "elevenlabsOptions": (
        "includeTimestamps:b commitStrategy:s{manual|vad} vadSilenceThresholdSecs:n vadThreshold:n "
        "minSpeechDurationMs:n minSilenceDurationMs:n enableLogging:b"
    ),
    "cobaltOptions": (
        "serverUri:s enableConfusionNetwork:b metadata:s compiledContextData:s wordTimeOffsets:b contextToken:s"
    ),
    "nvidiaOptions": (
        "rivaUri:s maxAlternatives:n profanityFilter:b punctuation:b wordTimeOffsets:b verbatimTranscripts:b "
        "customConfiguration:o"
    ),
    "ibmOptions": (
        "sttApiKey:s sttRegion:s ttsApiKey:s ttsRegion:s instanceId:s model:s languageCustomizationId:s "
        "acousticCustomizationId:s baseModelVersion:s watsonMetadata:s watsonLearningOptOut:b"
    ),
    "deepgramOptions": (
        "deepgramSttUri:s deepgramSttUseTls:b apiKey:s tier:s model:s customModel:s version:s punctuate:b "
        "smartFormatting:b noDelay:b profanityFilter:b redact:s{pci|numbers|true|ssn} diarize:b diarizeVersion:s "
        "ner:b multichannel:b alternatives:n numerals:b search:a replace:a keywords:a keyterms:a endpointing:b/n "
        "utteranceEndMs:n shortUtterance:b vadTurnoff:n tag:s fillerWords:b eotThreshold:n eotTimeoutMs:n "
        "mipOptOut:b entityPrompt:s eagerEotThreshold:n languageHints:a"
    ),
    "sonioxOptions": (
        "apiKey:s model:s endpointDetection:b profanityFilter:b speechContext:s clientRequestReference:s "
        "storage:#sonioxStorage"
    ),
    "verbioOptions": (
        "enable_formatting:b enable_diarization:b topic:n inline_grammar:s grammar_uri:s label:s "
        "recognition_timeout:n speech_complete_timeout:n speech_incomplete_timeout:n"
    ),
    "openaiOptions": (
        "apiKey:s model:s prompt:s promptTemplates:#promptTemplates language:s "
        "input_audio_noise_reduction:s{near_field|far_field} turn_detection:#turnDetection"
    ),
    "promptTemplates": "hintsTemplate:s conversationHistoryTemplate:s",
    "turnDetection": (
        "type!:s{none|server_vad|semantic_vad} eagerness:s{low|medium|high|auto} threshold:n prefix_padding_ms:n "
        "silence_duration_ms:n"
    ),
    "speechmaticsOptions": (
        "host:s profile:s{adaptive|agile|smart|external} transcription_config:#sm_transcriptionConfig "
        "translation_config:#sm_translationConfig audio_events_config_config:#sm_audioEventsConfig"
    ),
    "sm_transcriptionConfig": (
        "language:s domain:s additional_vocab:a diarization:s "
        "speaker_diarization_config:#sm_speakerDiarizationConfig conversation_config:#sm_conversationConfig "
        "enable_partials:b max_delay:n max_delay_mode:s{fixed|flexible} output_locale:s "
        "punctuation_overrides:#sm_puctuationOverrides operating_point:s enable_entities:b "
        "audio_filtering_config:#sm_audioFilteringConfig "
        "transcript_filtering_config:#sm_transcriptFilteringConfig"
    ),
    "sm_speakerDiarizationConfig": "speaker_sensitivity:n max_speakers:n",
    "sm_conversationConfig": "end_of_utterance_silence_trigger:n",
    "sm_puctuationOverrides": "permitted_marks:a sensitivity:n",
    "sm_audioFilteringConfig": "volume_threshold!:n",
    "sm_transcriptFilteringConfig": "remove_disfluencies!:b",
    "sm_translationConfig": "target_languages!:a enable_partials:b",
    "sm_audioEventsConfig": "types:a{applause|music|laughter}",
    "sonioxStorage": "id:s title:s disableStoreAudio:b disableStoreTranscript:b disableSearch:b metadata:o",
    "nuanceOptions": (
        "clientId:s secret:s kryptonEndpoint:s topic:s utteranceDetectionMode:s{single|multiple|disabled} "
        "punctuation:b profanityFilter:b includeTokenization:b discardSpeakerAdaptation:b suppressCallRecording:b "
        "maskLoadFailures:b suppressInitialCapitalization:b allowZeroBaseLmWeight:b filterWakeupWord:b "
        "resultType:s{final|partial|immutable_partial} noInputTimeoutMs:n recognitionTimeoutMs:n "
        "utteranceEndSilenceMs:n maxHypotheses:n speechDomain:s formatting:#formatting clientData:o userId:s "
        "speechDetectionSensitivity:n resources:[#resource]"
    ),
    "assemblyAiOptions": (
        "apiKey:s serviceVersion:s{v2|v3} speechModel:s formatTurns:b endOfTurnConfidenceThreshold:n "
        "minEndOfTurnSilenceWhenConfident:n maxTurnSilence:n minTurnSilence:n keyterms:a prompt:s "
        "languageDetection:b vadThreshold:n inactivityTimeout:n"
    ),
    "resource": (
        "externalReference:#resourceReference inlineWordset:s builtin:s inlineGrammar:s wakeupWord:a "
        "weightName:s{defaultWeight|lowest|low|medium|high|highest} weightValue:n "
        "reuse:s{undefined_reuse|low_reuse|high_reuse}"
    ),
    "resourceReference": (
        "type:s{undefined_resource_type|wordset|compiled_wordset|domain_lm|speaker_profile|grammar|settings} "
        "uri:s maxLoadFailures:b requestTimeoutMs:n headers:o"
    ),
    "formatting": "scheme!:s options!:o",
}
