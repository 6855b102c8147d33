"""Who gets in, and what the others are told."""

from __future__ import annotations

import base64
import hmac
import socket

import pytest
import trio
import trio.testing

from callstream_core.websocket import Pong
from callstream_trio import admission
from callstream_trio.admission import Admission, Basic, HeaderToken, QueryToken, parse_auth
from callstream_trio.call import Call
from callstream_trio.wait import receive_some
from tests.trio.wire import PATIENCE, PING, START, calling, connected, frame, request, serving, until


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


BY_QUERY = QueryToken("token", "s3cret")
BY_HEADER = HeaderToken("X-Token", "s3cret")
BY_BASIC = Basic("pbx", "pä:ss")
ORIGINS = Admission(allowed_origins=frozenset({"https://ok.example"}))


def only(*auth: admission.Auth) -> Admission:
    return Admission(auth=auth)


@pytest.mark.parametrize(
    ("sent", "status", "rules"),
    [
        (request("/asterisk"), 101, None),
        (request("/"), 101, None),
        (request("/?x=1"), 101, None),
        (request("/nowhere"), 404, None),
        (request("/asterisk/"), 404, None),
        (request("//asterisk"), 404, None),
        (request("//[::1"), 404, None),
        (request("http://host/asterisk"), 404, None),
        (request(method="POST"), 405, None),
        (request(method="HEAD"), 405, None),
        (request(Upgrade=None), 426, None),
        (request(Upgrade="h2c"), 426, None),
        (request(version="1.0"), 426, None),
        (request(Sec_WebSocket_Version="12"), 400, None),
        (request(Sec_WebSocket_Version=None), 400, None),
        (request(Sec_WebSocket_Key=None), 400, None),
        (request(Connection="close"), 400, None),
        (request(Connection="keep-alive, Upgrade"), 101, None),
        (request(Sec_WebSocket_Protocol="media"), 101, None),
        (request(Sec_WebSocket_Protocol="chat, media"), 101, None),
        (request(Sec_WebSocket_Protocol="chat"), 400, None),
        (request("/", Sec_WebSocket_Protocol="chat"), 400, None),
        # Bytes that are not ASCII are taken or refused, and nothing falls over.
        (request(X_Name="J\xf6rg"), 101, None),
        (request(Host="\xff\xfe"), 400, None),
        (request(Connection="\xff"), 400, None),
        (request(Sec_WebSocket_Protocol="\xe4"), 400, None),
        (request(Origin="\xff"), 403, None),
        (request("/\xe4"), 400, None),
        (request("/asterisk?%ff%fe=%00"), 101, None),
        (request(Origin="https://ok.example"), 403, None),
        (request(Origin="https://ok.example"), 101, ORIGINS),
        (request(Origin="https://evil.example"), 403, ORIGINS),
        (request(Origin="null"), 403, ORIGINS),
        (request(), 101, ORIGINS),
        (request("/asterisk?token=s3cret"), 101, only(BY_QUERY)),
        (request("/asterisk?a=b&token=s3cret"), 101, only(BY_QUERY)),
        (request("/asterisk?token=wrong"), 401, only(BY_QUERY)),
        (request("/asterisk?token="), 401, only(BY_QUERY)),
        (request("/asterisk?token=%e4%ff"), 401, only(BY_QUERY)),
        (request("/asterisk"), 401, only(BY_QUERY)),
        (request(X_Token="s3cret"), 101, only(BY_HEADER)),
        (request(X_Token="Bearer s3cret"), 101, only(BY_HEADER)),
        (request(X_Token="bearer s3cret"), 101, only(BY_HEADER)),
        (request(X_Token="Bearer s3cre"), 401, only(BY_HEADER)),
        (request(X_Token="\xff\xfe"), 401, only(BY_HEADER)),
        (request(), 401, only(BY_HEADER)),
        (request(Authorization=basic("pbx", "pä:ss")), 101, only(BY_BASIC)),
        (request(Authorization=basic("pbx", "wrong")), 401, only(BY_BASIC)),
        (request(Authorization="Basic !!!"), 401, only(BY_BASIC)),
        (request(Authorization="Basic \xff"), 401, only(BY_BASIC)),
        (request(Authorization="Bearer x"), 401, only(BY_BASIC)),
        (request(), 401, only(BY_BASIC)),
        (request(X_Token="s3cret"), 101, only(BY_QUERY, BY_HEADER, BY_BASIC)),
        (request(), 401, only(BY_QUERY, BY_HEADER, BY_BASIC)),
    ],
)
async def test_a_request_gets_its_answer(sent: bytes, status: int, rules: Admission | None) -> None:
    async with serving(admission=rules or Admission()) as server, connected(server) as peer:
        assert await peer.upgrade(sent) == status, peer.head
        if status != 101:
            assert b"connection: close" in peer.head.lower()
            assert await peer.body()
            await until(lambda: server.endings == {f"refused {status}": 1})
            assert not server.calls


async def test_refusals_say_what_to_do() -> None:
    async with serving(admission=only(BY_BASIC)) as server:
        for sent, header in (
            (request(), b"www-authenticate: Basic"),
            (request(method="PUT"), b"allow: GET"),
            (request(Upgrade=None), b"upgrade: websocket"),
            (request(Authorization=basic("pbx", "pä:ss"), Sec_WebSocket_Version="8"), b"sec-websocket-version: 13"),
        ):
            async with connected(server) as peer:
                await peer.upgrade(sent)
                assert header.lower() in peer.head.lower()


def test_secrets_are_compared_in_constant_time_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(given: bytes, wanted: bytes) -> bool:
        compared.append(wanted)
        return compare(given, wanted)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    asked = admission.Request(
        method="GET",
        path="/",
        query={"token": ["x"]},
        headers=[(b"x-token", b"x"), (b"authorization", basic("a", "b").encode())],
    )
    for auth in (BY_QUERY, BY_HEADER, BY_BASIC):
        compared.clear()
        assert not auth.admits(asked)
        assert compared
        assert "s3cret" not in repr(auth)
        assert "pä:ss" not in repr(auth)


def test_rules_are_read_from_text() -> None:
    assert parse_auth("query:token=a=b") == QueryToken("token", "a=b")
    assert parse_auth("header:X-Token=s") == HeaderToken("X-Token", "s")
    assert parse_auth("basic:u:p:q") == Basic("u", "p:q")
    for text in ("", "query:", "query:=x", "query:a=", "header:a", "basic:u", "basic::p", "basic:u:", "magic:a=b"):
        with pytest.raises(ValueError, match="use query:NAME=SECRET"):
            parse_auth(text)


# The upgrade as Asterisk wants it


@pytest.mark.parametrize("path", ["/", "/asterisk"])
async def test_a22_media_is_agreed_exactly_and_nothing_is_said_before_the_announcement(path: str) -> None:
    async with serving() as server, connected(server) as peer:
        extension = "permessage-deflate; client_max_window_bits"
        sent = request(path, Sec_WebSocket_Protocol="media", Sec_WebSocket_Extensions=extension)
        assert await peer.upgrade(sent) == 101
        head = peer.head.decode().split("\r\n")
        assert head[0].startswith("HTTP/1.1 101")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        assert fields["connection"] == "Upgrade"
        assert fields["upgrade"].lower() == "websocket"
        assert fields["sec-websocket-protocol"] == "media"
        assert "sec-websocket-extensions" not in fields
        # What comes first is the answer to this, not something of the server's own.
        await peer.raw(frame(PING, b"1"))
        assert await peer.hear() == Pong(b"1")
        await peer.say(START, bytes(160))
        assert await peer.audio(160) == bytes(160)


async def test_a23_no_subprotocol_offered_none_named() -> None:
    async with serving() as server, connected(server) as peer:
        assert await peer.upgrade(request()) == 101
        assert b"sec-websocket-protocol" not in peer.head.lower()


async def test_what_comes_behind_the_request_is_not_lost() -> None:
    async with serving() as server, connected(server) as peer:
        audio = bytes(range(160))
        early = frame(1, START.encode()) + frame(2, audio) + frame(2, audio)[:50]
        assert await peer.upgrade(request() + early) == 101
        await peer.raw(frame(2, audio)[50:])
        assert await peer.audio(320) == audio * 2


# What is not a request


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x00\x01\x02 garbage\r\n\r\n", 400),
        (b"HELO phone\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting" + bytes(100) + b"\r\n\r\n", 400),
        (request(X_Big="x" * 20_000), 431),
        (b"GET /" + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5_000, 431),
    ],
)
async def test_what_is_no_request_is_told_so(sent: bytes, status: int) -> None:
    async with serving() as server, connected(server) as peer:
        assert await peer.upgrade(sent) == status
        await until(lambda: server.endings == {f"refused {status}": 1})


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", request()[:-1]])
async def test_half_a_request_and_silence_has_a_deadline(beginning: bytes) -> None:
    async with serving(handshake_timeout=0.1) as server, connected(server) as peer:
        assert await peer.upgrade(beginning) == 408
        await until(lambda: server.endings == {"handshake timed out": 1, "refused 408": 1})


async def test_slow_loris_has_the_same_deadline() -> None:
    async with serving(handshake_timeout=0.15) as server, connected(server) as peer:
        began = trio.current_time()
        with trio.fail_after(PATIENCE):
            while "handshake timed out" not in server.endings:
                await peer.raw(b"G" if trio.current_time() == began else b"E")
                await trio.sleep(0.01)
        assert trio.current_time() - began < 1


async def test_silent_peers_in_all_places_give_way() -> None:
    # With the whole deadline for each, two silent connections would keep everybody out for a minute.
    async with (
        serving(handshake_timeout=60, max_handshakes=2) as server,
        connected(server),
        connected(server),
        calling(server) as peer,
    ):
        await peer.say(bytes(160))
        assert await peer.audio(160)


async def test_leaving_before_the_request_is_counted() -> None:
    async with serving() as server, connected(server) as peer:
        await peer.aclose()
        await until(lambda: server.endings["left before the upgrade"] + server.endings["handshake failed"] == 1)


async def test_a_peer_that_sends_on_and_on_lets_others_have_their_turn() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.send(bytes(1000))
        with trio.testing.assert_checkpoints():
            assert await receive_some(ours) == bytes(1000)


# Pages


async def test_pages_for_those_who_watch() -> None:
    opened = trio.Event()

    async def handler(call: Call) -> None:
        opened.set()
        await call.wait_ended()

    async def page(path: str) -> tuple[int, str]:
        async with connected(server) as peer:
            sent = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            return await peer.upgrade(sent), (await peer.body()).decode()

    async with serving(handler) as server:
        assert await page("/healthz") == (200, "ok\n")
        assert await page("/readyz") == (200, "ready\n")
        assert (await page("/metrics?x"))[0] == 200
        status, text = await page("/nothing")
        assert (status, text[:47]) == (404, "No calls are taken here; use / or one of /aster")
        async with calling(server):
            await opened.wait()
            status, text = await page("/metrics")
            assert status == 200
            assert "callstream_calls 1.0" in text
            assert 'callstream_calls_ended_total{how="refused 404"} 1.0' in text
            assert "refused 200" not in text


async def test_no_page_for_other_methods() -> None:
    async with serving() as server, connected(server) as peer:
        assert await peer.upgrade(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n") == 404


async def test_tolerances_of_calls_that_are_over_stay_counted() -> None:
    async with serving() as server:
        async with calling(server, start=None) as peer:
            await peer.say("NOBODY_KNOWS_THIS", START)
            await peer.raw(frame(PING))
            assert await peer.hear() == Pong(b"")
        await until(lambda: not server.calls)
        async with connected(server) as watcher:
            await watcher.upgrade(request("/metrics", Upgrade=None))
            assert b'callstream_tolerated_total{what="messages_ignored"} 1.0' in await watcher.body()
