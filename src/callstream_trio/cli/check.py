"""`callstream check`: would a server start here?"""

from __future__ import annotations

import errno
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import click
import trio

from callstream_trio.cli.common import Mistake, make_console, raise_file_limit
from callstream_trio.cli.serve import make_handler, make_tls, read_settings
from callstream_trio.listen import open_listeners
from callstream_trio.settings import KEYS, PREFIX, Settings, nearest

_FILES_BESIDE = 100
_SOON = 14 * 24 * 3600

Finding = tuple[bool | None, str]
"""True: good; False: a server would not start, or not do what is asked; None: worth knowing."""


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="The file to check.")
@click.pass_context
def check(context: click.Context, config: Path | None) -> None:
    """Check the settings and the system, as 'callstream serve' would find them. Exit code 1 if something is wrong."""
    console = make_console()
    is_good = True
    for verdict, text in _findings(config):
        sign = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]![/]"}[verdict]
        console.print(f"  {sign} ", end="")
        console.print(text, markup=False, soft_wrap=True)
        is_good = is_good and verdict is not False
    if not is_good:
        context.exit(1)


def _findings(config: Path | None) -> Iterator[Finding]:
    try:
        settings = read_settings(None, None, config, {})
    except Mistake as mistake:
        yield False, mistake.message
        return
    yield True, f"settings: {config or os.environ.get(PREFIX + 'CONFIG') or 'no file'}"
    known = [PREFIX + key.upper() for key in (*KEYS, "config")]
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            yield None, f"{name} is set and means nothing; {nearest(name, known)}"
    try:
        make_handler(settings.app)
        yield True, f"application: {settings.app}"
    except Mistake as mistake:
        yield False, mistake.message
    yield from _certificate(settings)
    for bind in settings.bind:
        yield _port(bind)
    yield _files(settings)
    if not settings.auth and any(not bind.startswith(("127.", "localhost:", "[::1]:")) for bind in settings.bind):
        yield None, "anybody who reaches the port may call: no auth is set"


def _certificate(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is None:
        return
    try:
        make_tls(settings)
    except Mistake as mistake:
        yield False, mistake.message
        return
    ends = _end_of(settings.tls_cert)
    if ends is None:
        yield True, f"certificate: {settings.tls_cert}"
    elif ends < time.time():
        yield False, f"certificate: {settings.tls_cert} has expired; renew it"
    else:
        days = int((ends - time.time()) / 86400)
        yield (True if days * 86400 > _SOON else None), f"certificate: {settings.tls_cert}, good for {days} days"


def _end_of(path: Path) -> float | None:
    # The one reader of certificates that the standard library has, and it is private.
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    try:
        return ssl.cert_time_to_seconds(decode(str(path))["notAfter"]) if decode else None
    except (ssl.SSLError, KeyError, ValueError):
        return None


def _port(bind: str) -> Finding:
    try:
        for listener in trio.run(open_listeners, bind):
            listener.close()
    except ValueError as error:
        return False, str(error)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        advice = "stop what listens there, or bind elsewhere" if is_taken else "bind elsewhere"
        return False, f"{bind}: {error.strerror or error}; {advice}"
    return True, f"{bind} is free"


def _files(settings: Settings) -> Finding:
    limit = raise_file_limit()
    wanted = settings.max_calls + _FILES_BESIDE
    if limit < wanted:
        return (
            None,
            f"{limit:,} open files allow fewer than max_calls = {settings.max_calls:,}; raise it: ulimit -n {wanted}",
        )
    return True, f"{limit:,} open files, enough for {settings.max_calls:,} calls"
