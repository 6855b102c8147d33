"""The `callstream` command.

Exit codes: 0 all went as it should; 1 something did not; 2 the command line or the configuration is mistaken.
"""

from __future__ import annotations

import importlib.metadata

import click

from callstream_trio.cli.call import call
from callstream_trio.cli.check import check
from callstream_trio.cli.serve import serve
from callstream_trio.cli.tables import codecs, dialects


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(importlib.metadata.version("callstream"), message="%(prog)s %(version)s")
def main() -> None:
    """Take phone calls over WebSockets, or make them: Asterisk's chan_websocket, both ends."""


for _command in (serve, call, codecs, dialects, check):
    main.add_command(_command)
