"""Connections that belong to a call in another process: handed over, or refused."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trustme

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import words as w
from callstream_trio import Admission, Basic, Hub, Server, ServerSettings
from callstream_trio.apps import echo
from callstream_trio.dial import DialFailed, DialSettings, connect
from callstream_trio.link_limits import LinkLimits
from callstream_trio.neighbours import Neighbours, Visitor
from callstream_trio.relay import Relay
from callstream_trio.server import ServerLimits
from callstream_trio.tls import Tls
from tests.trio.exchange import until_empty, with_jambonz
from tests.trio.phone import TLS, Phone, phoning
from tests.trio.wire import until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here")
both = pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])


def secret() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def url_of(server: Server, *, is_secure: bool) -> str:
    host, port = server.addresses[0]
    return f"{'wss' if is_secure else 'ws'}://{host}:{port}"


@asynccontextmanager
async def neighbouring(
    directory: Path, *, is_secure: bool = False, settings: ServerSettings | None = None
) -> AsyncIterator[tuple[Server, Server, str]]:
    """Run two servers as two workers would: one where calls come in, one where all their audio does; and the URL."""
    tls = secret() if is_secure else None
    settings = settings or with_jambonz()
    other = Server(echo, settings=settings, tls=tls, neighbours=Neighbours(directory, 2))
    async with other.listening(["127.0.0.1:0"]):
        jambonz = attrs.evolve(settings.jambonz, public_url=url_of(other, is_secure=is_secure))
        home = Server(
            echo, settings=attrs.evolve(settings, jambonz=jambonz), tls=tls, neighbours=Neighbours(directory, 1)
        )
        async with home.listening(["127.0.0.1:0"]):
            yield home, other, url_of(home, is_secure=is_secure) + "/jambonz"


async def talk(phone: Phone) -> None:
    """See that audio goes both ways."""
    caller = await phone.connected()
    before = len(caller.heard_audio)
    said = bytes(range(256)) * 25
    caller.say_audio(said)
    await until(lambda: said[:3200] in bytes(caller.heard_audio[before:]))


async def status_of(url: str) -> int:
    """Try to open an audio socket."""
    with pytest.raises(DialFailed) as failed:
        await connect(url, DialSettings(attempts=1, tls=TLS), ("audio.jambonz.org",))
    return failed.value.status or 0


# Audio that comes to another process


@both
async def test_many_calls_whose_audio_comes_to_another_process(tmp_path: Path, is_secure: bool) -> None:
    async def call(url: str) -> None:
        async with phoning(url) as phone:
            await talk(phone)
            phone.happen(h.CallerHungUp())
            await phone.wait_over()

    async with neighbouring(tmp_path, is_secure=is_secure) as (home, other, url):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(call, url)
        await until_empty(home)
        await until(lambda: not other.relays)
    assert home.endings == {"ended by platform": 20, "control ended": 20}
    assert other.endings == {}
    assert os.listdir(tmp_path) == []


@both
async def test_tickets_are_good_once_wherever_they_come(tmp_path: Path, is_secure: bool) -> None:
    settings = attrs.evolve(
        with_jambonz(username="audio", password="a:b"), admission=Admission(auth=[Basic("control", "secret")])
    )
    async with neighbouring(tmp_path, is_secure=is_secure, settings=settings) as (home, other, url):
        url = url.replace("//", "//control:secret@")
        async with phoning(url) as phone:
            await talk(phone)
            [listen] = phone.listens
            good = listen.url.replace("//", "//audio:a:b@")
            assert "ticket=1." in good
            for wrong in (
                good,
                listen.url,
                good[:-1],
                good.replace("=1.", "=01."),
                good.replace("=1.", "="),
                good.replace("=1.", "=2."),
                good.replace("=1.", "=3."),
                good.replace("=1.", "=999999999999999999."),
                good.replace("=1.", "=%D9%A1."),
                good.replace("=1.", "=../1."),
            ):
                assert await status_of(wrong) == 401, wrong
            assert (home.endings["refused 401"], other.endings["refused 401"]) == (4, 6)
            await talk(phone)
            await until(lambda: len(other.relays) == is_secure)
            assert home.calls
            assert not other.calls


@both
async def test_a_process_that_is_gone_or_goes_meanwhile_takes_nothing(tmp_path: Path, is_secure: bool) -> None:
    async with neighbouring(tmp_path, is_secure=is_secure) as (_, other, _):
        url = url_of(other, is_secure=is_secure) + "/jambonz/audio?ticket=7.x"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(tmp_path / "7"))
            # It has died, and its name is still there.
            assert await status_of(url) == 401
            door.listen()
            door.setblocking(False)

            async def die(reads: bool) -> None:
                await trio.lowlevel.wait_readable(door)
                visit = door.accept()[0]
                visit.setblocking(False)
                if reads:
                    await trio.lowlevel.wait_readable(visit)
                    visit.recv(65536)
                visit.close()

            for reads in (False, True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(die, reads)
                    assert await status_of(url) == 401
        assert other.endings == {"refused 401": 3}


@both
async def test_a_process_that_hangs_has_its_time(tmp_path: Path, is_secure: bool) -> None:
    settings = attrs.evolve(with_jambonz(), limits=ServerLimits(handshake_timeout=0.3))
    async with neighbouring(tmp_path, is_secure=is_secure, settings=settings) as (_, other, _):
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(tmp_path / "7"))
            door.listen()
            with trio.fail_after(2):
                assert await status_of(url_of(other, is_secure=is_secure) + "/jambonz/audio?ticket=7.x") == 0
        await until(lambda: other.endings == {"handshake failed": 1})


@both
async def test_a_process_that_drains_takes_the_audio_of_its_calls(tmp_path: Path, is_secure: bool) -> None:
    settings = attrs.evolve(with_jambonz(), limits=ServerLimits(drain_timeout=5))
    other = Server(echo, settings=settings, tls=secret() if is_secure else None, neighbours=Neighbours(tmp_path, 2))
    async with other.listening(["127.0.0.1:0"]):
        jambonz = attrs.evolve(settings.jambonz, public_url=url_of(other, is_secure=is_secure))
        home = Server(
            echo,
            settings=attrs.evolve(settings, jambonz=jambonz),
            tls=secret() if is_secure else None,
            neighbours=Neighbours(tmp_path, 1),
        )
        drain = trio.Event()

        async def run(task_status: trio.TaskStatus[None]) -> None:
            async with home.listening(["127.0.0.1:0"]):
                task_status.started()
                await drain.wait()

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            async with phoning(url_of(home, is_secure=is_secure) + "/jambonz") as phone:
                await until(lambda: home.controls)
                drain.set()
                await until(lambda: home.is_draining)
                await talk(phone)
                phone.happen(h.CallerHungUp())
                await phone.wait_over()
    assert home.endings == {"ended by platform": 1, "control ended": 1}


@both
async def test_the_process_with_the_tls_waits_for_the_calls_of_others(tmp_path: Path, is_secure: bool) -> None:
    drain = trio.Event()
    settings = attrs.evolve(with_jambonz(), limits=ServerLimits(drain_timeout=0.5))
    tls = secret() if is_secure else None
    other = Server(echo, settings=settings, tls=tls, neighbours=Neighbours(tmp_path, 2))
    is_over = trio.Event()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        async with other.listening(["127.0.0.1:0"]):
            task_status.started()
            await drain.wait()
        is_over.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        settings = with_jambonz(public_url=url_of(other, is_secure=is_secure))
        home = Server(echo, settings=settings, tls=tls, neighbours=Neighbours(tmp_path, 1))
        async with (
            home.listening(["127.0.0.1:0"]),
            phoning(url_of(home, is_secure=is_secure) + "/jambonz") as phone,
        ):
            await talk(phone)
            drain.set()
            await until(lambda: other.is_draining)
            await talk(phone)
            # Then it is cut; without TLS, nothing had to stay.
            with trio.fail_after(3):
                await is_over.wait()
            if is_secure:
                await until(lambda: not home.calls)
                assert home.endings["broken"] == 1
            else:
                await talk(phone)


# Control sockets that come back to another process


@both
async def test_control_comes_back_by_another_process(tmp_path: Path, is_secure: bool) -> None:
    async with neighbouring(tmp_path, is_secure=is_secure) as (home, other, url), phoning(url) as phone:
        await talk(phone)
        [control] = home.controls
        phone.lead_elsewhere(url_of(other, is_secure=is_secure) + "/jambonz")
        phone.vanish()
        await until(lambda: control.lost is not None)
        await until(lambda: control.lost is None)
        assert home.controls == {control}
        await until(lambda: not other.controls)
        assert [type(word) for word in control._words][-2:] == [w.SessionReconnected, w.Acked]
        await talk(phone)
        phone.happen(h.CallerHungUp())
        await phone.wait_over()
        await until_empty(home)
        assert home.endings == {"ended by platform": 1, "control ended": 1}
        assert other.endings == {}


@both
async def test_a_call_that_no_process_knows_stays_where_it_came(tmp_path: Path, is_secure: bool) -> None:
    async with neighbouring(tmp_path, is_secure=is_secure) as (home, other, url), phoning(url) as phone:
        await talk(phone)
        [control] = home.controls
        phone.platform.call.links[0]._offer = {"call_sid": "another"}
        phone.lead_elsewhere(url_of(other, is_secure=is_secure) + "/jambonz")
        phone.vanish()
        await until(lambda: other.controls)
        [found] = other.controls
        await until(lambda: found.call_sid == "another")
        assert control.lost is not None
        assert len(other.relays) == is_secure  # of the audio


@both
async def test_a_process_that_hangs_does_not_keep_a_call_from_its_own(tmp_path: Path, is_secure: bool) -> None:
    async with neighbouring(tmp_path, is_secure=is_secure) as (home, other, url), phoning(url) as phone:
        await talk(phone)
        [control] = home.controls
        with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as dead:
            for sock, number in ((door, 0), (dead, 3)):
                sock.bind(str(tmp_path / str(number)))
            door.listen()
            phone.lead_elsewhere(url_of(other, is_secure=is_secure) + "/jambonz")
            phone.vanish()
            await until(lambda: control.lost is not None)
            await until(lambda: control.lost is None)
        await talk(phone)
        assert other.endings == {}


async def test_who_does_not_answer_has_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "7"))
        door.listen()
        with trio.fail_after(2):
            assert await Neighbours(tmp_path, 1).find("c") is None


# What comes to the door


async def answer(door: socket.socket) -> bytes:
    with trio.fail_after(5):
        try:
            return await trio.to_thread.run_sync(door.recv, 1, abandon_on_cancel=True)
        except ConnectionResetError:
            return b""


async def test_nothing_whole_at_the_door_harms_nobody(tmp_path: Path) -> None:
    settings = attrs.evolve(with_jambonz(), limits=ServerLimits(handshake_timeout=0.2, max_handshakes=3))
    async with neighbouring(tmp_path, settings=settings) as (home, _, url):
        near, far = socket.socketpair()
        with near, far:
            for data, has_socket in (
                (b"", False),
                (b"{}", True),
                (b"{}\n", True),
                (b"[]\n", True),
                (b"\xff\n", True),
                (b'{"peer":"x","call_sid":null}\nGET / HTTP/1.1\r\n\r\n', False),
                (b'{"peer":"x","call_sid":"c"}\nGET / HTTP/1.1\r\n\r\n', True),
                (b'{"peer":"x","call_sid":null}\n' + bytes(3_000_000), True),
            ):
                with socket.socket(socket.AF_UNIX) as door:
                    await trio.to_thread.run_sync(door.connect, str(tmp_path / "1"))
                    with contextlib.suppress(OSError):
                        socket.send_fds(door, [data[:1] or b"x"], [near.fileno()] if has_socket else [])
                        await trio.to_thread.run_sync(door.sendall, data[1:])
                        door.shutdown(socket.SHUT_WR)
                    assert await answer(door) == b""
        # Half of something, for ever.
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(tmp_path / "1"))
            door.send(b"{")
            assert await answer(door) == b""
        async with phoning(url) as phone:
            await talk(phone)
        # Those of the two that wait for connections.
        assert home._handshakes.borrowed_tokens == 2


async def test_a_full_door_is_passed_by(tmp_path: Path) -> None:
    neighbours = Neighbours(tmp_path, 1)
    near, far = socket.socketpair()
    with near, far, socket.socket(socket.AF_UNIX) as door, contextlib.ExitStack() as held:
        door.bind(str(tmp_path / "7"))
        door.listen(0)
        held.enter_context(waiting := socket.socket(socket.AF_UNIX)).connect(str(tmp_path / "7"))
        assert waiting.fileno() >= 0
        visitor = Visitor(peer="x", data=b"")
        assert neighbours.others() == [7]
        for number in (7, 8):
            assert not await neighbours.hand_over(number, near, visitor)


# The relay by itself


@asynccontextmanager
async def relaying(limits: LinkLimits) -> AsyncIterator[tuple[Relay, trio.SSLStream[trio.SocketStream], socket.socket]]:
    """Run a relay between a TLS client and a plain socket."""
    ours, theirs = socket.socketpair()
    inner, plain = socket.socketpair()
    for sock in (ours, theirs, inner, plain):
        sock.setblocking(False)
    async with Hub().running() as hub:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        client = trio.SSLStream(stream, TLS, server_hostname="127.0.0.1", https_compatible=True)
        tls = Tls(secret())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tls.handshake, ours)
            await client.do_handshake()
        with plain:
            relay = Relay(hub, ours, tls, inner, limits)
            yield relay, client, plain
            relay.close()
            await trio.aclose_forcefully(client)


async def test_all_that_was_said_before_an_end_arrives() -> None:
    async with relaying(LinkLimits()) as (relay, client, plain):
        said = bytes(range(256)) * 2000
        sent = plain.send(said)
        plain.shutdown(socket.SHUT_WR)
        heard = b""
        with trio.fail_after(5):
            while piece := await client.receive_some(65536):
                heard += bytes(piece)
            assert heard == said[:sent]
            await relay.wait_gone()


async def test_a_client_that_leaves_ends_it() -> None:
    async with relaying(LinkLimits()) as (relay, client, plain):
        await client.send_all(b"hello")
        await client.aclose()
        with trio.fail_after(5):
            await relay.wait_gone()
        assert plain.recv(100) == b"hello"
        assert plain.recv(100) == b""


@pytest.mark.parametrize(
    "limits", [LinkLimits(max_unsent=100_000), LinkLimits(send_timeout=0.2)], ids=["bound", "deadline"]
)
@pytest.mark.parametrize("reader", ["client", "plain"])
async def test_one_that_does_not_read_has_a_bound_and_a_deadline(limits: LinkLimits, reader: str) -> None:
    async with relaying(limits) as (relay, client, plain), trio.open_nursery() as nursery:
        if reader == "client":
            nursery.start_soon(partial(_pour, plain, 800_000))
        else:

            async def pour() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await client.send_all(bytes(800_000))

            nursery.start_soon(pour)
        with trio.fail_after(5):
            await relay.wait_gone()
        nursery.cancel_scope.cancel()


async def _pour(sock: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError):
        while size > 0:
            await trio.lowlevel.wait_writable(sock)
            size -= sock.send(bytes(16384))
