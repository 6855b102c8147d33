"""The official Node packages as applications, and the simulated jambonz in front of them, over real sockets.

To run it: `npm ci` in this directory; `.ci/run` does that.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from tests.trio.phone import phoning

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(not (HERE / "node_modules").is_dir(), reason="run npm ci in tests/jambonz/node first"),
]


@asynccontextmanager
async def running(package: str) -> AsyncIterator[str]:
    """Run the application on a free port; give its URL."""
    process = await trio.lowlevel.open_process(["node", str(HERE / "app.cjs"), package], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        said = b""
        with trio.fail_after(15):
            while not (found := re.search(rb"port (\d+)\n", said)):
                piece = await process.stdout.receive_some()
                assert piece, f"the application ended with {await process.wait()}"
                said += piece
        yield f"ws://127.0.0.1:{int(found[1])}/jambonz"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


@pytest.mark.parametrize("package", ["@jambonz/node-client-ws", "@jambonz/sdk/websocket"])
async def test_a_menu_of_an_official_package_is_served(package: str) -> None:
    async with running(package) as url:
        async with phoning(url) as phone:
            for digit in "19":
                await phone.asked()
                phone.happen(h.KeyPressed(digit))
            await phone.wait_over()
        assert phone.responses == [200]
        assert [type(order) for order in phone.orders] == [o.Ack, o.Ack, o.Ack]
        assert phone.platform.counters == {}
        async with phoning(url) as phone:
            await phone.asked()
            phone.happen(h.CallerHungUp())
            await phone.wait_over()
        assert phone.platform.counters == {}
