"""A simulated jambonz in front of a server under test, with what its tests ask of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import attrs
import trio

from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.jambonz import JambonzProfile
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_trio.caller import Caller
from callstream_trio.dial import DialSettings
from callstream_trio.hub import Hub
from callstream_trio.jambonz_caller import JambonzCaller
from callstream_trio.jambonz_sockets import AudioEnd
from callstream_trio.listening import hooked
from tests.trio.wire import PATIENCE

# Nothing takes long here.
PROFILE = JambonzProfile(clip_duration=0.05, character_duration=0.001)


TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Believes any certificate, as a jambonz may that was told to."""
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE

_numbers = count()


class Phone(JambonzCaller):
    """One call. Nothing is waited for long."""

    def __init__(self, hub: Hub, profile: JambonzProfile) -> None:
        # Calls are told from each other by their names.
        super().__init__(hub, profile.for_call(next(_numbers)), dialling=DialSettings(tls=TLS))
        self.listens: list[v.Listen] = []

    async def make_audio(self, profile: AudioProfile) -> AudioEnd:
        """Note which verb ordered the audio."""
        assert isinstance(self.platform.running, v.Listen)
        self.listens.append(self.platform.running)
        return await super().make_audio(profile)

    def lead_elsewhere(self, url: str) -> None:
        """Have its next control sockets go to another process, as behind one address."""
        self.platform.call.links[0]._url = url

    async def connected(self) -> Caller:
        """Wait for the audio."""
        with trio.fail_after(PATIENCE):
            return await self.wait_audio()

    async def asked(self) -> None:
        """Wait until a key is wanted, and not the one that was pressed before."""
        with trio.fail_after(PATIENCE):
            await self.verb(v.Gather)

    async def wait_over(self) -> None:
        """Wait for the end of all sockets."""
        with trio.fail_after(PATIENCE):
            await super().wait_over()

    @property
    def refusal(self) -> int | None:
        """The HTTP status with which a socket was refused."""
        found = [*(error.status for error in self.refusals), *(status for _, status in self.audio_refusals)]
        return found[-1] if found else None

    @property
    def responses(self) -> list[int]:
        """What the caller's telephone was answered."""
        return [output.status for output in self.heard if isinstance(output, h.Responded)]

    @property
    def orders(self) -> list[o.Ack | o.Order]:
        """What the application said."""
        return [output for output in self.heard if isinstance(output, o.Ack | o.Order)]


@asynccontextmanager
async def phoning(url: str, parent: Mapping[str, Any] | None = None) -> AsyncIterator[Phone]:
    """Make a jambonz call the application at `url`; with a `parent`, it is a leg of that one's call, promoted."""
    async with Hub().running() as hub, trio.open_nursery() as nursery:
        phone = Phone(hub, hooked(url, attrs.evolve(PROFILE, parent=parent)))
        nursery.start_soon(phone.run)
        yield phone
        nursery.cancel_scope.cancel()
