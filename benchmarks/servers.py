"""Servers to compare: `python -m benchmarks.servers NAME WORK PORT [PEM]`. Each does the same work, in its usual way.

`echo` sends every binary message back. `duplex` drops what it hears and sends a stream of its own, a stamped frame per
20 ms and call on an absolute grid. `bargein` and `stalled` are callstream's alone. With a PEM file it speaks TLS.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from benchmarks.machine import CannotMeasure, build, certificate, python
from benchmarks.peers import heap


@attrs.frozen
class Peer:
    """One server: what must be installed for it, and where its code is."""

    needs: tuple[str, ...]
    module: str
    is_trio: bool = False
    uses_uvloop: bool = False


PEERS = {
    "callstream": Peer(("callstream_trio",), "benchmarks.peers.ours", is_trio=True),
    "trio-websocket": Peer(("trio_websocket",), "benchmarks.peers.on_trio_websocket", is_trio=True),
    "wsproto-trio": Peer(("wsproto",), "benchmarks.peers.on_wsproto", is_trio=True),
    "websockets": Peer(("websockets",), "benchmarks.peers.on_websockets"),
    "websockets-uvloop": Peer(("websockets", "uvloop"), "benchmarks.peers.on_websockets", uses_uvloop=True),
    "aiohttp": Peer(("aiohttp",), "benchmarks.peers.on_aiohttp"),
    "aiohttp-uvloop": Peer(("aiohttp", "uvloop"), "benchmarks.peers.on_aiohttp", uses_uvloop=True),
    "picows-uvloop": Peer(("picows", "uvloop"), "benchmarks.peers.on_picows", uses_uvloop=True),
    "fastapi-uvloop": Peer(
        ("fastapi", "uvicorn", "websockets", "uvloop"), "benchmarks.peers.on_fastapi", uses_uvloop=True
    ),
}


NATIVE = {"c-epoll": "react", "c-epoll-gathered": "gather"}
"""The floor, in C: it reacts to each socket, or looks at all of them every 2 ms, as callstream does with many calls."""


def names() -> list[str]:
    """Return the names of all servers."""
    return ["callstream", *NATIVE, *(name for name in PEERS if name != "callstream")]


def chosen_from(given: Sequence[str], against: Sequence[Path], usual: Sequence[str]) -> tuple[str, ...]:
    """Return the servers of a run: those given or the usual ones; with other source trees, callstream beside each."""
    return (*(given or (("callstream",) if against else usual)), *(f"callstream@{tree}" for tree in against))


def is_ours(name: str) -> bool:
    """Tell whether this is callstream, of this source tree or another."""
    return name.partition("@")[0] == "callstream"


def _from_tree(tree: str) -> list[str]:
    """Return what makes a command use the callstream of a source tree: the same handlers, another library."""
    source = (Path(tree) / "src").resolve()
    if not (source / "callstream_trio").is_dir():
        raise CannotMeasure(f"no src/callstream_trio in {tree!r}: give the root of a source tree, as a git worktree is")
    return ["env", f"PYTHONPATH={source}"]


def command_for(name: str, work: str, port: int, *, is_tls: bool = False) -> list[str]:
    """Return the command that runs a server; `CannotMeasure` where its library is missing.

    `callstream@PATH` is callstream from the source tree at PATH.
    """
    name, _, tree = name.partition("@")
    if tree and is_ours(name):
        return [*_from_tree(tree), *command_for(name, work, port, is_tls=is_tls)]
    secrets = [str(certificate())] if is_tls else []
    if name in NATIVE:
        return [str(build("echo", is_tls=is_tls)), str(port), work, NATIVE[name], *secrets]
    peer = PEERS.get(name)
    if peer is None:
        raise CannotMeasure(f"unknown server {name!r}; there are {', '.join(names())}")
    missing = [module for module in peer.needs if importlib.util.find_spec(module) is None]
    if missing:
        raise CannotMeasure(f"{' and '.join(missing)} not installed: pip install 'callstream[bench]'")
    return python("benchmarks.servers", name, work, str(port), *secrets)


def main() -> None:
    """Run one server until it is stopped."""
    name, work, port, *secrets = sys.argv[1:]
    peer = PEERS[name]
    run: Callable[[str, int, ssl.SSLContext | None], Coroutine[Any, Any, None]]
    run = importlib.import_module(peer.module).run
    tls = None
    if secrets:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(secrets[0])
    heap.watch()
    heap.freeze()
    if peer.is_trio:
        trio.run(run, work, int(port), tls)
        return
    loop_factory = None
    if peer.uses_uvloop:
        loop_factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run(work, int(port), tls))


if __name__ == "__main__":
    main()
