"""`callstream codecs` and `callstream dialects`."""

from __future__ import annotations

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from callstream_core import dialects as known
from callstream_core.dialects.asterisk import FORMATS
from callstream_trio.cli.common import make_console
from callstream_trio.voice import can_encode


@click.command()
def codecs() -> None:
    """List Asterisk's codecs, as they cross the WebSocket."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("codec", style="bold")
    for name in ("rate", "frame", "every"):
        table.add_column(name, justify="right")
    table.add_column("sound")
    for name, audio in FORMATS.items():
        table.add_row(
            name,
            f"{audio.rate / 1000:g} kHz",
            f"{audio.frame_size} B" if audio.frame_size else "packet",
            f"{audio.ptime * 1000:g} ms",
            "played and recorded" if can_encode(audio) else "[dim]carried as it is",
        )
    make_console().print(table)


@click.command()
def dialects() -> None:
    """List the platforms that are spoken, and where a server takes their calls."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("dialect", style="bold")
    table.add_column("path")
    table.add_column("subprotocol")
    for name in known.names():
        dialect = known.get(name)
        table.add_row(name, ", ".join((*dialect.paths, "/")), ", ".join(dialect.subprotocols))
    make_console().print(table)
