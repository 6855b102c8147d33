"""From the options of `callstream call` to what the callers do; each platform takes those that mean something to it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from callstream_core import dialects
from callstream_core.audio import linear
from callstream_core.dialect import Profile
from callstream_core.dialects.asterisk import FORMATS, AsteriskProfile, Generation, Syntax
from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.dialects.sinch import SinchProfile
from callstream_core.dialects.yeastar import Party, YeastarProfile
from callstream_core.errors import Unsupported
from callstream_core.events import Direction
from callstream_core.jambonz import JambonzProfile as ControlProfile
from callstream_trio.cli.common import Mistake
from callstream_trio.dial import DialSettings
from callstream_trio.listening import audio_headers
from callstream_trio.script import KEYS, BadScript, Script, read_script
from callstream_trio.settings import nearest
from callstream_trio.simulate import CallPlan
from callstream_trio.sound import UnreadableSound
from callstream_trio.voice import Voices, can_encode, said_format

_CODEC = "slin16"
_TELEPHONE = "ulaw"


@attrs.frozen(kw_only=True)
class Wanted:
    """The command line."""

    url: str
    platform: str
    codec: str | None
    play: Path | None
    record: Path | None
    dtmf: str
    script: Path | None
    audio_only: bool
    is_json: bool | None
    generation: str | None
    duration: float
    variables: Sequence[str]
    calls: int
    rate: float
    direction: str
    no_answer: bool
    passthrough: bool
    insecure: bool
    cacert: Path | None
    json_report: bool
    conditions: Sequence[str]
    parties: int
    headers: Sequence[str]


def make_plan(wanted: Wanted) -> CallPlan:
    """Return what the callers will do; `Mistake` where that makes no sense."""
    _check_url(wanted.url)
    if wanted.platform not in dialects.names():
        raise Mistake(f"there is no platform {wanted.platform!r}; {nearest(wanted.platform, dialects.names())}")
    if wanted.codec is not None and wanted.codec not in FORMATS:
        raise Mistake(f"there is no codec {wanted.codec!r}; {nearest(wanted.codec, list(FORMATS))}")
    for key in wanted.dtmf:
        if key not in KEYS + ",":
            raise Mistake(f"there is no key {key!r} on a telephone; use 0-9, *, #, A-D, and a comma to wait")
    if wanted.platform != "jambonz":
        _leave_out({"--script": wanted.script, "--audio-only": wanted.audio_only}, "that is for jambonz calls")
    plan = CallPlan(
        platform=wanted.platform,
        voices=Voices(wanted.play),
        digits=wanted.dtmf,
        duration=wanted.duration,
        record=wanted.record,
        dialling=DialSettings(attempts=1, tls=_tls(wanted), headers=_headers(wanted.headers)),
    )
    if wanted.platform == "jambonz" and not wanted.audio_only:
        plan = _jambonz(wanted, plan)
        audio = linear(8000)
    else:
        profile = _PROFILES[wanted.platform](wanted)
        plan = attrs.evolve(plan, profile=profile)
        audio = said_format(profile)
        if wanted.audio_only:
            headers = (*audio_headers(wanted.url), *plan.dialling.headers)
            plan = attrs.evolve(plan, dialling=attrs.evolve(plan.dialling, headers=headers))
    if wanted.record is not None:
        if not can_encode(audio):
            raise Mistake(f"{wanted.codec} cannot be recorded; choose slin16, ulaw or alaw, or leave --record out")
        if not wanted.record.absolute().parent.is_dir():
            raise Mistake(f"there is no directory {wanted.record.parent} to record to; create it first")
    try:
        plan.voices.of(audio)
    except Unsupported:
        raise Mistake(f"no file can be played with {wanted.codec}; use slin16, ulaw, alaw, or no --play") from None
    except UnreadableSound as error:
        raise Mistake(str(error)) from None
    return plan


def notes(plan: CallPlan) -> list[str]:
    """Return what whoever reads the result should know."""
    if isinstance(plan.profile, ControlProfile) or plan.voices.of(said_format(plan.profile)).is_sound:
        return []
    return ["This codec is not encoded here: the caller sent made-up frames of the right size, no sound."]


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not url.isascii() or " " in url:
        raise Mistake(f"{url!r} is not a WebSocket URL; write it like ws://127.0.0.1:8787/asterisk")


def _leave_out(given: Mapping[str, object], why: str) -> None:
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise Mistake(f"{why}; leave {', '.join(wrong)} out")


# Platforms


def _jambonz(wanted: Wanted, plan: CallPlan) -> CallPlan:
    """Return the plan of a jambonz call with all its sockets."""
    given = {
        "--variables": wanted.variables,
        "--no-answer": wanted.no_answer,
        "--passthrough": wanted.passthrough,
        "--direction": wanted.direction != Direction.BOTH.value,
        "--generation": wanted.generation,
        "--json/--plain": wanted.is_json is not None,
    }
    _leave_out(given, "a jambonz call is described by its script ([call]), and goes by the application's verbs")
    telephone = FORMATS[wanted.codec or _TELEPHONE]
    if telephone.rate % 8000:
        raise Mistake(f"no telephone of jambonz speaks {wanted.codec}; choose ulaw, alaw, g722 or opus with --codec")
    try:
        script = read_script(wanted.script) if wanted.script else Script()
    except BadScript as error:
        raise Mistake(str(error)) from None
    return attrs.evolve(plan, profile=ControlProfile(**script.profile), script=script, channel_rate=telephone.rate)


def _jambonz_audio(wanted: Wanted) -> AudioProfile:
    audio = FORMATS[wanted.codec or "slin"]
    if not audio.is_linear or audio.rate % 8000:
        raise Mistake(f"jambonz streams linear audio, not {wanted.codec}; choose slin, slin16, slin24, slin48, …")
    given = {
        "--script": wanted.script,
        "--variables": wanted.variables,
        "--no-answer": wanted.no_answer,
        "--passthrough": wanted.passthrough,
        "--direction": wanted.direction != Direction.BOTH.value,
        "--generation": wanted.generation,
        "--json/--plain": wanted.is_json is not None,
    }
    _leave_out(given, "a jambonz audio socket alone has no verbs, and carries audio both ways")
    return AudioProfile(sample_rate=audio.rate)


def _yeastar(wanted: Wanted) -> YeastarProfile:
    codec = wanted.codec or _CODEC
    rate = {"slin": 8000, "slin16": 16000}.get(codec)
    if rate is None:
        raise Mistake(f"a Yeastar PBX sends slin or slin16, not {codec}; choose one with --codec")
    given = {
        "--dtmf": wanted.dtmf,
        "--record": wanted.record,
        "--variables": wanted.variables,
        "--no-answer": wanted.no_answer,
        "--passthrough": wanted.passthrough,
        "--direction": wanted.direction != Direction.BOTH.value,
    }
    _leave_out(given, "a Yeastar PBX sends what its parties say, and nothing else")
    numbers = range(1001, 1001 + wanted.parties)
    return YeastarProfile(rate=rate, parties=[Party(f"PJSIP/{each}-{each:08x}", str(each)) for each in numbers])


def _sinch(wanted: Wanted) -> SinchProfile:
    audio = FORMATS[wanted.codec or _CODEC]
    if not audio.is_linear:
        raise Mistake(f"Sinch streams 16-bit linear audio, not {wanted.codec}; choose slin, slin16, slin24, slin48, …")
    given = {
        "--dtmf": wanted.dtmf,
        "--passthrough": wanted.passthrough,
        "--direction": wanted.direction != Direction.BOTH.value,
    }
    _leave_out(given, "a Sinch stream carries audio both ways, and no digits")
    return SinchProfile(rate=audio.rate, headers=_variables(wanted.variables))


def _asterisk(wanted: Wanted) -> AsteriskProfile:
    try:
        generation = Generation[(wanted.generation or "G5").upper()]
    except KeyError:
        known = [each.name for each in Generation]
        raise Mistake(f"there is no generation {wanted.generation!r}; there are {', '.join(known)}") from None
    is_json = generation >= Generation.G3 if wanted.is_json is None else wanted.is_json
    try:
        return AsteriskProfile(
            generation=generation,
            syntax=Syntax.JSON if is_json else Syntax.PLAIN,
            format=wanted.codec or _CODEC,
            passthrough=wanted.passthrough,
            auto_answer=not wanted.no_answer,
            direction=Direction(wanted.direction),
            variables=_variables(wanted.variables),
        )
    except ValueError as error:
        raise Mistake(f"{error}; choose another --generation") from None


_PROFILES: dict[str, Callable[[Wanted], Profile]] = {
    "asterisk": _asterisk,
    "jambonz": _jambonz_audio,
    "sinch": _sinch,
    "yeastar": _yeastar,
}


# Single options


def _headers(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = [(name, value) for name, _, value in (text.partition("=") for text in texts)]
    for name, value in pairs:
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) or not re.fullmatch(r"[\x21-\x7e \t]+", value):
            # The value may be a secret.
            raise Mistake("a header cannot be read; write it like --header Secret=s3cr3t")
    return tuple(pairs)


def _variables(texts: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not re.fullmatch(r"\w+", name):
            raise Mistake(f"{text!r} is no variable; write it like --variables LANGUAGE=en")
        variables[name] = value
    return variables


def _tls(wanted: Wanted) -> ssl.SSLContext | None:
    if urlsplit(wanted.url).scheme != "wss":
        if wanted.insecure or wanted.cacert:
            raise Mistake("--insecure and --cacert are for wss:// URLs; leave them out, or call wss://")
        return None
    try:
        context = ssl.create_default_context(cafile=wanted.cacert)
    except (OSError, ssl.SSLError):
        raise Mistake(f"{wanted.cacert} cannot be read as certificates; name a PEM file") from None
    if wanted.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
