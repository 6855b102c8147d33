"""The `callstream` command.

Exit codes: 0 all went as it should; 1 something did not; 2 the command line or the configuration is mistaken.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from callstream_trio.cli.call import call
from callstream_trio.cli.check import check
from callstream_trio.cli.common import Mistake
from callstream_trio.cli.serve import serve
from callstream_trio.cli.tables import codecs, dialects


class _Commands(click.Group):
    """Commands whose mistakes are told in one sentence, without a page of usage."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _in_a_sentence():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _in_a_sentence():
            return super().invoke(ctx)


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "callstream"
        message = error.format_message().rstrip(".")
        raise Mistake(f"{message[:1].lower()}{message[1:]}; see {command} --help") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(importlib.metadata.version("callstream"), message="%(prog)s %(version)s")
def main() -> None:
    """Take phone calls over WebSockets, or make them: Asterisk's chan_websocket, both ends."""


for _command in (serve, call, codecs, dialects, check):
    main.add_command(_command)
