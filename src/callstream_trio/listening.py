"""What a `listen` verb orders: to which URL its audio goes, how, and with what credentials."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit, urlunsplit

import attrs

from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.dialects.jambonz import MixType
from callstream_core.dialects.jambonz.profile import is_rate
from callstream_core.jambonz import JambonzProfile as ControlProfile
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.parts import Auth
from callstream_core.jambonz.profile import Leg

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@attrs.frozen(kw_only=True)
class AudioOrder:
    """One audio socket that an application wants."""

    url: str
    profile: AudioProfile
    headers: tuple[tuple[str, str], ...]


def audio_order(verb: v.Listen, leg: Leg, control: ControlProfile, *, channel_rate: int = 8000) -> AudioOrder:
    """Return what jambonz makes of a `listen`. Raise `ValueError` where it would only log an error."""
    url = _url(verb.url, control.url)
    rate = 8000 if verb.sample_rate is None else int(verb.sample_rate)
    reply = verb.bidirectional_audio
    is_enabled = verb.disable_bidirectional_audio is not True and (reply is None or reply.enabled is not False)
    # A stream needs all three.
    reply_rate = int(reply.sample_rate or 0) if reply and reply.enabled and reply.streaming else 0
    for name, value in (("sampleRate", rate), ("bidirectionalAudio.sampleRate", reply_rate or rate)):
        if not is_rate(value):
            raise ValueError(f"{name} of {verb.word} is a multiple of 8000, not {value}")
    profile = AudioProfile(
        sample_rate=rate,
        mix_type=MixType(verb.mix_type or "mono"),
        is_streaming=bool(reply_rate),
        reply_rate=reply_rate or None,
        takes_clips=is_enabled,
        pass_dtmf=verb.pass_dtmf is True,
        call_info={_camel(key): value for key, value in leg.data(control).items()},
        metadata=verb.metadata or {},
        channel_rate=channel_rate,
    )
    return AudioOrder(url=url, profile=profile, headers=(*audio_headers(url), *_authorization(verb, control)))


def audio_headers(url: str) -> tuple[tuple[str, str], ...]:
    """Return the headers by which jambonz's media server is known: an `Origin` of the host, which has no port."""
    host = urlsplit(url).hostname or ""
    host = f"[{host}]" if ":" in host else host
    return (("Host", host), ("Origin", f"http://{host}"))


def hooked(url: str, profile: ControlProfile | None = None) -> ControlProfile:
    """Return the profile of a jambonz that was given this URL; a name and a password in it are the hook's."""
    parts = urlsplit(url)
    profile = profile or ControlProfile()
    if parts.username is None:
        return attrs.evolve(profile, url=url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return attrs.evolve(profile, url=bare, username=unquote(parts.username), password=unquote(parts.password or ""))


def _url(url: str, control_url: str) -> str:
    base = urlsplit(control_url)
    if url.startswith("/"):
        return urlunsplit((base.scheme, base.netloc, *urlsplit(url)[2:]))
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"url of listen is like wss://host/path, or a path, not {url[:100]!r}")
    return urlunsplit(parts._replace(scheme=scheme))


def _authorization(verb: v.Listen, control: ControlProfile) -> tuple[tuple[str, str], ...]:
    own = control.headers.get("Authorization")
    if verb.url.startswith("/") and own is not None:
        # At the same server, the hook's credentials take the place of the verb's.
        return (("Authorization", own),)
    if not isinstance(verb.ws_auth, Auth):
        return ()
    secret = f"{verb.ws_auth.username}:{verb.ws_auth.password}"
    return (("Authorization", "Basic " + base64.b64encode(secret.encode()).decode()),)


def _camel(key: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), key)
