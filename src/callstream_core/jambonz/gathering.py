"""What a `gather` makes of keys and speech."""

from __future__ import annotations

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.running import Running
from callstream_core.jambonz.values import Object

DEFAULT_TIMEOUT = 5.0


def take_key(running: Running, verb: v.Gather, digit: str) -> bool:
    """Take a key; return whether it is the last."""
    if verb.finish_on_key and digit in verb.finish_on_key:
        return True
    running.digits += digit
    enough = verb.num_digits or verb.max_digits
    return enough is not None and len(running.digits) >= enough


def takes_keys(verb: v.Gather) -> bool:
    """Tell whether it listens for keys: it does unless it is told to do something else."""
    return "digits" in (verb.input or ("digits",))


def takes_speech(verb: v.Gather) -> bool:
    """Tell whether it listens for speech."""
    return "speech" in (verb.input or ())


def keys(digits: str) -> Object:
    """Return what its hook reports of keys."""
    return {"digits": digits, "reason": "dtmfDetected"} if digits else {"reason": "timeout"}


def speech(spoken: h.CallerSpoke) -> Object:
    """Return what its hook reports of speech."""
    heard = {
        "language_code": "en-US",
        "channel_tag": 1,
        "is_final": spoken.is_final,
        "alternatives": [{"transcript": spoken.transcript, "confidence": spoken.confidence}],
    }
    return {"speech": heard, "reason": "speechDetected"}
