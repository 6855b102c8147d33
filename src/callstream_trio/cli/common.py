"""What the commands share: how mistakes are told, consoles, logs, the limit of open files."""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
from collections.abc import MutableMapping
from typing import IO, Any

import click
import structlog
from rich.console import Console


class Mistake(click.ClickException):
    """A mistake of whoever typed the command: one sentence that says what to do; exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        click.echo(f"callstream: {self.message}", err=file is None, file=file)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that is plain where nobody watches."""
    # A pipe has no width; a table should not wrap there.
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 120
    return Console(stderr=stderr, highlight=False, width=width)


def printable(text: str) -> str:
    """Return text of a peer so that it cannot steer the terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _escape(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in entry.items():
        if isinstance(value, str):
            entry[key] = printable(value)
    return entry


def set_up_logs(level: str, *, json: bool) -> None:
    """Log to stderr: lines for people, or one JSON object each."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if json else "%H:%M:%S", utc=json),
        _escape,
    ]
    if json:
        shared += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        shared.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
            )
        )
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us, for each call is one; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems name a limit that they do not grant.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
