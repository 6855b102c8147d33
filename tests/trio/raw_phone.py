"""A simulated jambonz on sockets by hand: they can be cut, refused, and led to another process."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import trio

from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.jambonz import ControlPlatform, JambonzProfile, PlatformState
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.parts import Auth
from callstream_core.outputs import CloseLink, Transmit
from callstream_core.websocket import Close, FrameDecoder, FrameEncoder
from callstream_trio.caller import Caller
from callstream_trio.dial import DialFailed, DialSettings, connect, open_platform_link
from callstream_trio.hub import Hub, clock
from callstream_trio.wait import receive_plain, send_all
from tests.trio.wire import until

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Believes any certificate, as a jambonz may that was told to."""
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE

# Calls are told from each other by their names.
_numbers = count(1)
_MASK = b"\x01\x02\x03\x04"


class Phone:
    """One call of a simulated jambonz. `caller` is its audio, once the application has ordered it."""

    def __init__(self, url: str, hub: Hub, parent: Mapping[str, Any] | None = None) -> None:
        self.platform = ControlPlatform(
            JambonzProfile(
                url=url,
                call_sid=f"call-{next(_numbers)}",
                clip_duration=0.05,
                character_duration=0.001,
                parent=parent,
            )
        )
        self.caller: Caller | None = None
        self.listens: list[v.Listen] = []
        self.heard: list[h.PlatformOutput] = []
        self.detour: str | None = None
        """Where its next control socket goes instead: to another process behind the same address."""
        self.sockets = 0
        """Control sockets so far."""
        self.refusal: int | None = None
        """The HTTP status with which a socket was refused."""
        self.over = trio.Event()
        self._hub = hub
        self._asked: object = None
        self._moved = trio.Event()
        self._encoder = FrameEncoder(mask=lambda: _MASK)
        self._sock: socket.socket | None = None

    async def run(self) -> None:
        """Dial the application, and run the call to its end."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._keep_time)
            await self._do(self.platform.begin(clock()))

    async def _open(self, order: h.DialLink) -> None:
        """Open a control socket, and hear what it brings to its end."""
        settings = DialSettings(attempts=1, headers=tuple(order.headers.items()), tls=TLS)
        try:
            self._sock, self._tls, early = await connect(self.detour or order.url, settings, (order.subprotocol,))
        except DialFailed as failed:
            self.refusal = failed.status
            await self._do(self.platform.link_refused(h.Refusal.CONNECTION, clock()))
            return
        self.sockets += 1
        with self._sock:
            await self._do(self.platform.link_opened(clock()))
            await self._read(early)
        if self.platform.state is PlatformState.CLOSED:
            self.over.set()
            self._moved.set()

    async def _read(self, data: bytes) -> None:
        decoder = FrameDecoder(masked=False)
        assert self._sock is not None
        while True:
            for message in decoder.feed(data):
                if isinstance(message, Close):
                    await self._do(self.platform.receive_close(message.code or 1005, clock(), message.reason))
                    return
                assert isinstance(message, str)
                await self._do(self.platform.receive(message, clock()))
            data = b""
            with suppress(OSError):
                data = await receive_plain(self._sock, self._tls)
            if not data:
                await self._do(self.platform.receive_close(None, clock()))
                return

    async def _keep_time(self) -> None:
        while not self.over.is_set():
            self._moved = trio.Event()
            due = self.platform.next_timeout()
            with trio.move_on_after(10 if due is None else max(due - clock(), 0)):
                await self._moved.wait()
            await self._do(self.platform.handle_timeout(clock()))

    async def _do(self, outputs: Iterable[h.PlatformOutput]) -> None:
        for output in outputs:
            self.heard.append(output)
            if isinstance(output, h.DialLink):
                self._nursery.start_soon(self._open, output)
            elif isinstance(output, Transmit):
                await self._send(self._encoder.message(output.message))
            elif isinstance(output, CloseLink):
                await self._send(self._encoder.close(output.code, output.reason))
        running = self.platform.running
        if isinstance(running, v.Listen) and running not in self.listens:
            self.listens.append(running)
            self._nursery.start_soon(self._listen, running)
        elif self.caller is not None and not isinstance(running, v.Listen):
            self.caller.hang_up()
        self._moved.set()

    async def _send(self, data: bytes) -> None:
        assert self._sock is not None
        with suppress(OSError):
            await send_all(self._sock, self._tls.encrypt([data]) if self._tls else data)

    async def _listen(self, verb: v.Listen) -> None:
        """Stream audio to where a verb says, until either end has enough."""
        secret = verb.ws_auth.username + ":" + verb.ws_auth.password + "@" if isinstance(verb.ws_auth, Auth) else ""
        reply = verb.bidirectional_audio
        assert reply is not None
        assert verb.sample_rate is not None
        profile = AudioProfile(
            sample_rate=int(verb.sample_rate),
            reply_rate=int(reply.sample_rate or 0),
            call_info={"callSid": self.platform.profile.call_sid},
            metadata=verb.metadata or {},
        )
        caller = Caller(self._hub)
        try:
            link = await open_platform_link(
                verb.url.replace("://", f"://{secret}"),
                self._hub,
                caller,
                as_platform="jambonz",
                profile=profile,
                settings=DialSettings(attempts=1, tls=TLS),
            )
        except DialFailed as failed:
            self.refusal = failed.status
        else:
            caller.attach(link)
            self.caller = caller
            self._moved.set()
            try:
                await caller.wait_ended()
                with trio.move_on_after(1):
                    await caller.wait_gone()
            finally:
                link.drop()
        if self.platform.running is verb and not self.over.is_set():
            await self._do(self.platform.send(h.VerbEnded({"dial_call_duration": 0}), clock()))

    # What a test does

    async def connected(self) -> Caller:
        """Wait for the audio."""
        await until(lambda: self.caller is not None)
        assert self.caller is not None
        return self.caller

    async def asked(self) -> None:
        """Wait until a key is wanted, and not the one that was pressed before."""
        await until(lambda: isinstance(self.platform.running, v.Gather) and self.platform.running is not self._asked)
        self._asked = self.platform.running

    async def happen(self, *stimuli: h.Stimulus) -> None:
        """Let something happen to the call."""
        for stimulus in stimuli:
            await self._do(self.platform.send(stimulus, clock()))

    async def wait_over(self) -> None:
        """Wait for the end of the control socket."""
        with trio.fail_after(5):
            await self.over.wait()

    def vanish(self) -> None:
        """Cut the control socket."""
        assert self._sock is not None
        self._sock.shutdown(2)

    @property
    def responses(self) -> list[int]:
        """What the caller's telephone was answered."""
        return [output.status for output in self.heard if isinstance(output, h.Responded)]

    @property
    def orders(self) -> list[object]:
        """What the application said."""
        return [output for output in self.heard if isinstance(output, o.Ack | o.Order)]


@asynccontextmanager
async def phoning(url: str, parent: Mapping[str, Any] | None = None) -> AsyncIterator[Phone]:
    """Make a jambonz call the application at `url`; with a `parent`, it is a leg of that one's call, promoted."""
    async with Hub().running() as hub, trio.open_nursery() as nursery:
        phone = Phone(url, hub, parent)
        nursery.start_soon(phone.run)
        yield phone
        nursery.cancel_scope.cancel()
