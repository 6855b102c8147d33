"""The audio formats of chan_websocket: names, rates and frame sizes as Asterisk announces them."""

from __future__ import annotations

from callstream_core.audio import AudioFormat


def _format(encoding: str, rate: int, frame_size: int, ptime: float = 0.02) -> AudioFormat:
    return AudioFormat(encoding=encoding, rate=rate, frame_size=frame_size, ptime=ptime)


# Frame sizes are default_ms * minimum_bytes / minimum_ms of Asterisk's codec_builtin.c; 0 where Asterisk passes
# packets through because minimum_bytes is 10 or less.
FORMATS = {
    "ulaw": _format("ulaw", 8000, 160),
    "alaw": _format("alaw", 8000, 160),
    "slin": _format("slin", 8000, 320),
    "slin12": _format("slin", 12000, 480),
    "slin16": _format("slin", 16000, 640),
    "slin24": _format("slin", 24000, 960),
    "slin32": _format("slin", 32000, 1280),
    "slin44": _format("slin", 44100, 1764),
    "slin48": _format("slin", 48000, 1920),
    "slin96": _format("slin", 96000, 3840),
    "slin192": _format("slin", 192000, 7680),
    "g722": _format("g722", 16000, 160),
    "gsm": _format("gsm", 8000, 33),
    "ilbc": _format("ilbc", 8000, 38),
    "g726": _format("g726", 8000, 80),
    "g726aal2": _format("g726aal2", 8000, 80),
    "adpcm": _format("adpcm", 8000, 80),
    "g723": _format("g723", 8000, 20, 0.03),
    "siren7": _format("siren7", 16000, 80),
    "siren14": _format("siren14", 32000, 120),
    "g719": _format("g719", 48000, 160),
    "silk8": _format("silk", 8000, 160),
    "silk12": _format("silk", 12000, 240),
    "silk16": _format("silk", 16000, 320),
    "silk24": _format("silk", 24000, 480),
    "none": _format("none", 8000, 40),
    "g729": _format("g729", 8000, 0),
    "opus": _format("opus", 48000, 0),
    "speex": _format("speex", 8000, 0),
    "speex16": _format("speex", 16000, 0),
    "speex32": _format("speex", 32000, 0),
    "codec2": _format("codec2", 8000, 0),
    "lpc10": _format("lpc10", 8000, 0),
    "amr": _format("amr", 8000, 0),
    "amrwb": _format("amrwb", 16000, 0),
}

_NAMES = {(known.encoding, known.rate): name for name, known in FORMATS.items()}


def announced_format(name: str, frame_size: int, ptime: float) -> AudioFormat:
    """Return the format that an opening announces. Of a name that is not in the table, only the rate is a guess."""
    known = FORMATS.get(name)
    encoding, rate = (known.encoding, known.rate) if known else (name, 8000)
    return AudioFormat(encoding=encoding, rate=rate, frame_size=frame_size, ptime=ptime)


def format_name(audio: AudioFormat) -> str:
    """Return Asterisk's name of a format."""
    return _NAMES.get((audio.encoding, audio.rate), audio.encoding)
