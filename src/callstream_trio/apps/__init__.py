"""Built-in handlers: echo, bridge, play a file, record, a tone; and how to find yours by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from callstream_trio.apps.bridging import bridge
from callstream_trio.apps.playing import play, tone
from callstream_trio.apps.recording import record
from callstream_trio.call import Call
from callstream_trio.server import Handler
from callstream_trio.sinks import Echo

__all__ = ["bridge", "echo", "load", "play", "record", "tone"]


async def echo(call: Call) -> None:
    """Send the caller's audio back until he hangs up."""
    await call.answer()
    call.connect(Echo())
    await call.wait_ended()


def load(name: str) -> Handler:
    """Return the handler that `module:name` names; modules of the working directory are found, too.

    Raises:
        ValueError: if there is none, with a sentence that says why.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"{name!r} names no handler; use MODULE:HANDLER, for example shop.calls:greet")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"the module {module_name!r} cannot be imported: {error}") from error
    except Exception as error:
        raise ValueError(f"the module {module_name!r} fails when it is imported: {error!r}") from error
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ValueError(f"the module {module_name!r} has no {attribute!r}; name an async function that takes a Call")
    if not callable(found):
        raise ValueError(f"{name!r} is no function; name an async function that takes a Call")
    return found
