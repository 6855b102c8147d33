"""What `callstream serve` is told: by flags, by the environment, by a file; the former override the latter."""

from __future__ import annotations

import difflib
import math
import operator
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import cattrs

from callstream_core.dialects.yeastar import RATES, YeastarProfile
from callstream_core.limits import PlayoutSettings
from callstream_trio.admission import Admission, Basic, parse_auth
from callstream_trio.jambonz import JambonzSettings
from callstream_trio.server import ServerLimits, ServerSettings

PREFIX = "CALLSTREAM_"
LOG_LEVELS = ("debug", "info", "warning", "error")
UNLIMITED = "unlimited"
MAX_WORKERS = 256


class BadSettings(Exception):
    """Settings that cannot be used; the message says what to change."""


def _check_auth(_settings: object, _field: object, texts: Sequence[str]) -> None:
    for text in texts:
        try:
            parse_auth(text)
        except ValueError as error:
            # The text itself is a secret, and stays out of the message.
            raise ValueError(f"an entry of auth cannot be read: {error}") from None


def _check_level(_settings: object, _field: object, level: str) -> None:
    if level not in LOG_LEVELS:
        raise ValueError(f"log_level is one of {', '.join(LOG_LEVELS)}, not {level!r}")


def _check_rate(_settings: object, field: attrs.Attribute[Any], rate: int) -> None:
    if rate not in RATES:
        raise ValueError(f"{field.name} is {' or '.join(map(str, RATES))}, not {rate}")


def _check_workers(_settings: object, field: attrs.Attribute[Any], count: int) -> None:
    if not 1 <= count <= MAX_WORKERS:
        raise ValueError(f"{field.name} is 1 to {MAX_WORKERS}, not {count}")


def _check_url(_settings: object, field: attrs.Attribute[Any], url: str) -> None:
    try:
        JambonzSettings(public_url=url or None)
    except ValueError:
        raise ValueError(f"{field.name} is like wss://calls.example.org, not {url!r}") from None


def _at_least(least: float) -> Callable[[object, attrs.Attribute[Any], float | None], None]:
    def check(_settings: object, field: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"{field.name} is {least:g} at least, not {value:g}")

    return check


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set, by the names used in `callstream.toml`."""

    app: str = "echo"
    """`echo`, `tone`, `play FILE`, `record DIR` or `MODULE:HANDLER`."""
    bind: tuple[str, ...] = ("127.0.0.1:8787",)
    """Addresses to listen on, as HOST:PORT."""
    auth: tuple[str, ...] = attrs.field(default=(), repr=False, validator=_check_auth)
    """Secrets, any of which admits a call: `query:NAME=SECRET`, `header:NAME=SECRET`, `basic:USER:PASSWORD`."""
    allowed_origins: tuple[str, ...] = ()
    """Browser pages that may connect; telephone systems send no Origin and are not concerned."""
    tls_cert: Path | None = None
    """A PEM file with the certificate, and the chain behind it."""
    tls_key: Path | None = None
    """A PEM file with its key; not needed where the certificate's file has it."""
    max_calls: int = attrs.field(default=4000, validator=_at_least(1))
    """Calls at once; more are refused with 503."""
    send_ahead: float | None = attrs.field(default=1.0, validator=_at_least(0))
    """Seconds of audio sent ahead of playout; `unlimited` fills the platform's queue."""
    yeastar_rate: int = attrs.field(default=8000, validator=_check_rate)
    """Samples per second of a Yeastar PBX's audio, as its own settings say: 8000 or 16000. No message tells."""
    jambonz_url: str = attrs.field(default="", validator=_check_url)
    """Where jambonz reaches this server, such as `wss://calls.example.org`; as its own requests say, if not given."""
    workers: int = attrs.field(default=1, validator=_check_workers)
    """Processes that take calls; read at the start, not at a reload."""
    metrics_bind: str = ""
    """Where the metrics of all workers are told, as HOST:PORT; nowhere but on the calls' own port, if not given."""
    drain_timeout: float = attrs.field(default=10.0, validator=_at_least(0))
    """Seconds that calls may still last when the server is told to stop."""
    log_level: str = attrs.field(default="info", validator=_check_level)
    """`debug`, `info`, `warning` or `error`."""
    json_logs: bool = False
    """Log one JSON object per line."""

    def __attrs_post_init__(self) -> None:
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key alone is no TLS: name the certificate with tls_cert, too")

    @property
    def is_secure(self) -> bool:
        """Whether calls come over TLS."""
        return self.tls_cert is not None

    @property
    def server(self) -> ServerSettings:
        """The same, as a server takes it."""
        auths = [parse_auth(text) for text in self.auth]
        basic = next((auth for auth in auths if isinstance(auth, Basic)), None)
        return ServerSettings(
            admission=Admission(auth=auths, allowed_origins=frozenset(self.allowed_origins)),
            limits=ServerLimits(max_calls=self.max_calls, drain_timeout=self.drain_timeout),
            profiles={"yeastar": YeastarProfile(rate=self.yeastar_rate)},
            playout=PlayoutSettings(send_ahead=self.send_ahead),
            jambonz=JambonzSettings(
                public_url=self.jambonz_url or None,
                username=basic.user if basic else None,
                password=basic.password if basic else None,
            ),
        )


KEYS = tuple(field.name for field in attrs.fields(Settings))
_TYPES = get_type_hints(Settings)
_LISTS = frozenset({"bind", "auth", "allowed_origins"})


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None) -> Settings:
    """Return the settings of a file, overridden by `CALLSTREAM_…` variables, overridden by flags that are not None.

    Raises:
        BadSettings: if something cannot be used.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= _read(file)
    for key in KEYS:
        text = environ.get(PREFIX + key.upper())
        if text is not None:
            values[key] = [part.strip() for part in text.split(",") if part.strip()] if key in _LISTS else text
    values |= {key: value for key, value in flags.items() if value is not None}
    return _make(values)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint at the known word that is most like `word`."""
    close = difflib.get_close_matches(word.replace("-", "_"), known, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text())
    except OSError as error:
        raise BadSettings(f"{file} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file} is not valid TOML: {error}") from None
    for key in found:
        if key not in KEYS:
            raise BadSettings(f"{file} has an unknown key {key!r}; {nearest(key, KEYS)}")
    return found


def _make(values: Mapping[str, Any]) -> Settings:
    made: dict[str, Any] = {}
    for key, value in values.items():
        try:
            made[key] = _CONVERTER.structure(value, _TYPES[key])
        except ValueError as error:
            raise BadSettings(f"{key} is {error}, not {value!r}") from None
    try:
        return Settings(**made)
    except ValueError as error:
        raise BadSettings(str(error)) from None


# What a value may be, in a file, in the environment, and from a flag. Errors say what is wanted.


def _text(value: object, _type: object = str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def _path(value: object, _type: object) -> Path:
    return value if isinstance(value, Path) else Path(_text(value))


def _texts(value: object, _type: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of texts")
    return tuple(map(_text, value))


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _flag(value: object, _type: object) -> bool:
    found = _FLAGS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError("true or false")
    return found


def _number(value: object, _type: object = float) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("a number")
    return number


def _whole(value: object, _type: object) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError("a whole number")
    return int(number)


def _seconds_or_unlimited(value: object, _type: object) -> float | None:
    return None if value == UNLIMITED else _number(value)


_CONVERTER = cattrs.Converter()
_CONVERTER.register_structure_hook(str, _text)
_CONVERTER.register_structure_hook(bool, _flag)
_CONVERTER.register_structure_hook(int, _whole)
_CONVERTER.register_structure_hook(float, _number)
# These are no classes, and are told by equality.
_CONVERTER.register_structure_hook_func(partial(operator.eq, Path | None), _path)
_CONVERTER.register_structure_hook_func(partial(operator.eq, tuple[str, ...]), _texts)
_CONVERTER.register_structure_hook_func(partial(operator.eq, float | None), _seconds_or_unlimited)
