"""The peer itself, with somebody else's WebSocket library as the app."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.asterisk.conftest import Certificates
from tests.asterisk.peer import Asterisk, Ending, made_asterisk, read_samples
from tests.asterisk.process import AsteriskDied

pytestmark = pytest.mark.asterisk

MEDIA = Subprotocol("media")


class App:
    """A WebSocket server that hands each connection to the test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._arrived: queue.Queue[ServerConnection] = queue.Queue()
        self._over = threading.Event()

    def next_call(self) -> ServerConnection:
        return self._arrived.get(timeout=5)

    def hold(self, connection: ServerConnection) -> None:
        self._arrived.put(connection)
        self._over.wait()

    def release(self) -> None:
        self._over.set()


@contextlib.contextmanager
def listening_app(tls: ssl.SSLContext | None = None) -> Iterator[App]:
    app = App(0)
    with serve(app.hold, "127.0.0.1", 0, ssl=tls, subprotocols=[MEDIA], compression=None, max_queue=None) as server:
        app.port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield app
        finally:
            app.release()
            server.shutdown()
            thread.join(5)


def receive_audio(connection: Connection, size: int) -> bytes:
    audio = b""
    while len(audio) < size:
        message = connection.recv(5)
        if isinstance(message, bytes):
            audio += message
    return audio


def close_code(connection: Connection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            connection.recv(5)
    return connection.close_code


def test_echo_and_hang_up_by_asterisk(asterisk: Asterisk) -> None:
    with listening_app() as app:
        asterisk.point_at(f"ws://127.0.0.1:{app.port}/asterisk")
        call = asterisk.call("echo", "app/c(ulaw)")
        connection = app.next_call()
        start = str(connection.recv(5))
        assert start.startswith("MEDIA_START ")
        assert f"channel_id:{call}" in start

        said = random.randbytes(25 * 160)
        connection.send(said)
        assert receive_audio(connection, len(said)) == said

        asterisk.hang_up(call)
        assert close_code(connection) == 1000
        asterisk.wait_until_idle()


def test_recording_is_what_the_app_said_and_the_app_hangs_up(asterisk: Asterisk) -> None:
    said = random.randbytes(25 * 320)
    with listening_app() as app:
        asterisk.point_at(f"ws://127.0.0.1:{app.port}/")
        call = asterisk.bridged("record", "app/c(slin)f(json)", RECORDING=str(asterisk.recordings / "said.wav"))
        connection = app.next_call()
        start = json.loads(connection.recv(5))
        assert (start["event"], start["format"]) == ("MEDIA_START", "slin")
        connection.send(said)
        connection.send('{"command":"MARK_MEDIA","correlation_id":"end"}')
        assert json.loads(connection.recv(5))["event"] == "MEDIA_MARK_PROCESSED"
        connection.send('{"command":"HANGUP"}')
        assert close_code(connection) == 1000
        assert asterisk.ending(call) == Ending(dial_status="ANSWER", cause=16)
    assert read_samples(asterisk.recording("said.wav")).tobytes() == said


def test_the_app_connects_to_an_incoming_call_by_tls(asterisk: Asterisk, certificates: Certificates) -> None:
    sound = asterisk.add_sound("noise", random.randbytes(25 * 320))
    call = asterisk.incoming("play", "c(slin)", SOUND=sound)
    assert call.tls_uri
    tls = certificates.client_context()
    with connect(call.tls_uri, ssl=tls, subprotocols=[MEDIA], compression=None, proxy=None) as connection:
        assert f"connection_id:{call.connection_id}" in str(connection.recv(5))
        assert receive_audio(connection, 25 * 320) == Path(f"{sound}.sln").read_bytes()
        assert close_code(connection) == 1000


def test_asterisk_calls_the_app_by_tls(asterisk: Asterisk, certificates: Certificates) -> None:
    with listening_app(certificates.server_context()) as app:
        asterisk.point_at("ws://127.0.0.1:1/", f"wss://localhost:{app.port}/")
        asterisk.bridged("tone", "app_tls/c(g722)")
        connection = app.next_call()
        assert "format:g722" in str(connection.recv(5))
        assert len(receive_audio(connection, 160)) == 160
        connection.close()


def test_external_media(asterisk: Asterisk) -> None:
    with listening_app() as app, asterisk.stasis() as stasis:
        asterisk.point_at(f"ws://127.0.0.1:{app.port}/")
        call = asterisk.external_media(stasis.app, codec="opus", options="f(json)")
        start = json.loads(app.next_call().recv(5))
        assert (start["channel_id"], start["format"]) == (call, "opus")
        stasis.wait_for("StasisStart", call)
        asterisk.hang_up(call)
        stasis.wait_for("StasisEnd", call)


def test_a_crash_is_noticed(tmp_path: Path) -> None:
    made = made_asterisk()
    if made is None:
        pytest.skip("there is no Asterisk here: tests/asterisk/make.sh makes one")
    with Asterisk(made, tmp_path, app_uri="ws://127.0.0.1:1/") as asterisk:
        assert "Asterisk" in asterisk.command("core show version")
        os.kill(asterisk.process.pid, signal.SIGSEGV)
        with pytest.raises(AsteriskDied, match="signal 11"):
            asterisk.process.wait_for_log("never said")
