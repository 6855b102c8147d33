"""A real Asterisk as the other end of a call: started, told what to do, asked what it heard, stopped.

Every method blocks: from a Trio test call them with `trio.to_thread.run_sync`. `call`, `bridged`, `incoming`,
`hang_up` and `channels` do not wait for the app and take milliseconds only.
"""

from __future__ import annotations

import array
import itertools
import os
import re
import secrets
import socket
import wave
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import attrs

from tests.asterisk.ari import Ari, AriRefused, Stasis
from tests.asterisk.process import AsteriskError, AsteriskProcess, wait_until

_HERE = Path(__file__).parent
_DEFAULT_MADE = _HERE.parent.parent / ".cache" / "asterisk"

# Asterisk complains about each of these that does not exist.
_EMPTY = "acl ccss cdr cel chan_websocket codecs features manager stasis udptl"
_LINEAR_SUFFIXES = {8000: ".sln", 44100: ".sln44"} | {
    1000 * kilohertz: f".sln{kilohertz}" for kilohertz in (12, 16, 24, 32, 48, 96, 192)
}


@attrs.frozen(kw_only=True)
class Channel:
    """One channel, as Asterisk lists it."""

    id: str
    name: str
    state: str


@attrs.frozen(kw_only=True)
class IncomingCall:
    """A channel that waits for the app to connect to it."""

    channel_id: str
    connection_id: str
    uri: str
    tls_uri: str | None
    """The same by TLS; None where the peer has no certificate."""


@attrs.frozen(kw_only=True)
class Ending:
    """How the dialplan saw a call end."""

    dial_status: str
    """DIALSTATUS; empty where nothing was dialled."""
    cause: int
    """HANGUPCAUSE (Q.850); 0 where there is none."""


def made_asterisk() -> Path | None:
    """The directory that make.sh filled, None if it did not run."""
    made = Path(os.environ.get("CALLSTREAM_ASTERISK_DIR") or _DEFAULT_MADE)
    return made if (made / "version").is_file() else None


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_samples(path: Path) -> array.array[int]:
    """The 16-bit samples of a recording (.wav, .wav16, .sln, .sln16, …)."""
    samples = array.array("h")
    if path.suffix.startswith(".wav"):
        with wave.open(str(path)) as file:
            samples.frombytes(file.readframes(file.getnframes()))
    elif path.suffix.startswith((".sln", ".raw")):
        samples.frombytes(path.read_bytes())
    else:
        raise ValueError(f"{path.name} does not hold linear samples")
    return samples


class Asterisk:
    """One Asterisk in a directory of its own, listening on loopback ports of its own.

    `made` is what make.sh made, `directory` an existing directory for configuration, logs and recordings; it
    stays when Asterisk is stopped. `app_uri` and `app_tls_uri` are what the client sections `app` and
    `app_tls` call, `ca_file` what the latter trusts. With `certificate` (a PEM file with key and chain) apps
    can connect by TLS too.
    """

    def __init__(
        self,
        made: Path,
        directory: Path,
        *,
        app_uri: str,
        app_tls_uri: str | None = None,
        ca_file: Path | None = None,
        certificate: Path | None = None,
        http_port: int | None = None,
        https_port: int | None = None,
    ) -> None:
        self.process = AsteriskProcess(made, directory)
        self.directory = self.process.directory
        self.recordings = self.directory / "recordings"
        self.sounds = self.directory / "sounds"
        self.app_uri = app_uri
        self.app_tls_uri = app_tls_uri
        self.http_port = http_port or free_port()
        self.https_port = (https_port or free_port()) if certificate else None
        self._ca_file = ca_file
        self._certificate = certificate
        self._ari_password = secrets.token_hex(16)
        self._clients: dict[str, dict[str, str]] = {}
        self._ids = itertools.count(1)
        self._ari = Ari(self.http_port, self._ari_password)

    # Life

    def start(self, timeout: float = 20) -> None:
        """Start and wait until everything is loaded and the HTTP server answers."""
        for name in ("etc", "lib/keys", "spool", "log", "recordings", "sounds"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for name in _EMPTY.split():
            (self.directory / "etc" / f"{name}.conf").touch()
        for template in (_HERE / "etc").glob("*.conf"):
            self._render(template.name)
        self.process.start(timeout)
        try:
            self.ari("GET", "asterisk/ping")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End Asterisk, by force if need be; do nothing if it is not started. What it wrote stays."""
        self.process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Configuration

    def point_at(self, app_uri: str, app_tls_uri: str | None = None) -> None:
        """Call the app at these addresses from now on."""
        self.app_uri = app_uri
        self.app_tls_uri = app_tls_uri
        self._reload_clients()

    def add_client(self, name: str, **options: str) -> None:
        """Add (or replace) a section of websocket_client.conf; `uri` is the option that must be there."""
        self._clients[name] = options
        self._reload_clients()

    def add_sound(self, name: str, samples: bytes, rate: int = 8000) -> str:
        """Store 16-bit samples as a sound file and return what the variable SOUND must be to play it."""
        (self.sounds / f"{name}{_LINEAR_SUFFIXES[rate]}").write_bytes(samples)
        return str(self.sounds / name)

    def _reload_clients(self) -> None:
        self._render("websocket_client.conf")
        self.command("module reload res_websocket_client.so")

    def _render(self, name: str) -> None:
        values = {
            "ETC": self.directory / "etc",
            "RUN": self.directory,
            "MODULES": self.process.libraries / "asterisk" / "modules",
            "DATA": self.process.root / "usr" / "share" / "asterisk",
            "HTTP_PORT": self.http_port,
            "HTTPS_PORT": self.https_port or 1,
            "TLS": "yes" if self._certificate else "no",
            "CERTIFICATE": self._certificate or "",
            "ARI_PASSWORD": self._ari_password,
            "APP_URI": self.app_uri,
            "APP_TLS_URI": self.app_tls_uri or "wss://localhost:1/",
            "CA_FILE": self._ca_file or "",
        }
        text = (_HERE / "etc" / name).read_text()
        if name == "websocket_client.conf":
            for client, options in self._clients.items():
                lines = "".join(f"{key} = {value}\n" for key, value in options.items())
                text += f"\n[{client}](common)\n{lines}"
        text = re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), text)
        (self.directory / "etc" / name).write_text(text)

    # What can be said to Asterisk

    def command(self, line: str) -> str:
        """Run a command of Asterisk's command line and return what it prints."""
        return self.process.command(line)

    def ari(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str | int | None) -> Any:
        """Make a request of the REST interface and return the decoded answer; None if that is empty."""
        self.process.require_alive()
        try:
            return self._ari.request(method, path, body, **query)
        except AriRefused:
            raise
        except AsteriskError:
            # The socket of a dying process may close before the process counts as ended.
            self.process.require_alive(patience=1)
            raise

    def stasis(self, app: str = "lab") -> AbstractContextManager[Stasis]:
        """Register a Stasis application, which external media and bridges need, for the time of a block."""
        self.process.require_alive()
        return self._ari.stasis(app)

    # Calls

    def call(self, extension: str = "echo", endpoint: str = "app/c(ulaw)", **variables: str) -> str:
        """Call the app; a single channel, which runs `extension` itself. Return the channel's id.

        `endpoint` is the client section and the dial options: "app/c(slin16)f(json)n". `variables` are the
        parameters of the extension, see etc/extensions.conf. An app that is not there is not an error here.
        """
        return self._originate(f"WebSocket/{endpoint}", extension, variables)

    def bridged(
        self,
        caller: str = "silence",
        endpoint: str = "app/c(ulaw)",
        *,
        caller_format: str = "slin",
        **variables: str,
    ) -> str:
        """Call the app from a caller who runs the extension `caller` and bridge them. Return the call's id.

        Audio passes the bridge unchanged where the codec decodes to `caller_format`: slin16 for slin16, g722.
        """
        dialled = {"TARGET": f"WebSocket/{endpoint}", **variables}
        return self._originate(f"Local/{caller}@peer/n", "dial", dialled, formats=caller_format)

    def incoming(self, extension: str = "echo", options: str = "c(ulaw)", **variables: str) -> IncomingCall:
        """Make a channel that runs `extension` once the app has connected to it."""
        channel_id = self._originate(f"WebSocket/INCOMING/{options}", extension, variables)
        answer = self.ari("GET", f"channels/{channel_id}/variable", variable="MEDIA_WEBSOCKET_CONNECTION_ID")
        return self._incoming(channel_id, answer["value"])

    def external_media(
        self,
        app: str,
        client: str = "app",
        codec: str = "ulaw",
        *,
        options: str = "",
        direction: str = "both",
    ) -> str:
        """Let ARI call the app and hand the channel to the Stasis application `app`. Return its id."""
        answer = self._external_media(app, client, codec, options, direction, connection_type="client")
        return str(answer["id"])

    def incoming_external_media(
        self, app: str, codec: str = "ulaw", *, options: str = "", direction: str = "both"
    ) -> IncomingCall:
        """Let ARI make a channel that waits for the app; it is in Stasis once the app has connected."""
        answer = self._external_media(app, "INCOMING", codec, options, direction, connection_type="server")
        return self._incoming(answer["id"], answer["channelvars"]["MEDIA_WEBSOCKET_CONNECTION_ID"])

    def hang_up(self, channel_id: str) -> None:
        """Hang up from Asterisk's side; a channel that is gone is fine."""
        try:
            self.ari("DELETE", f"channels/{quote(channel_id)}")
        except AriRefused as refusal:
            if refusal.status != 404:
                raise

    # What Asterisk knows

    def channels(self) -> list[Channel]:
        """All channels there are; a bridged call has three."""
        return [
            Channel(id=channel["id"], name=channel["name"], state=channel["state"])
            for channel in self.ari("GET", "channels")
        ]

    def wait_until_idle(self, timeout: float = 5) -> None:
        """Wait until there is no channel left."""
        wait_until(lambda: not self.channels(), "all channels are gone", timeout)

    def ending(self, channel_id: str, timeout: float = 5) -> Ending:
        """Wait for the end of a call and tell how it ended.

        Only for calls that reached the dialplan: `bridged` ones always do, others when the app has answered.
        """
        match = self.process.wait_for_log(rf"ended id={re.escape(channel_id)} status=(\w*) cause=(\d*)", timeout)
        return Ending(dial_status=match[1], cause=int(match[2] or 0))

    def recording(self, name: str, timeout: float = 5) -> Path:
        """The path of a finished recording of Record() or MixMonitor(), which `channels` shows no more."""
        path = self.recordings / name
        self.wait_until_idle(timeout)
        wait_until(path.exists, f"{path} is there", timeout)
        # MixMonitor writes on for a moment after its channel is gone.
        wait_until(lambda: not self.process.has_open(path), f"{path} is closed", timeout)
        return path

    # Inside

    def _originate(
        self, endpoint: str, extension: str, variables: Mapping[str, str], *, formats: str | None = None
    ) -> str:
        answer = self.ari(
            "POST",
            "channels",
            {"variables": dict(variables)},
            endpoint=endpoint,
            extension=extension,
            context="peer",
            priority=1,
            timeout=30,
            # Without formats a Local channel takes slin192, and everything is resampled twice.
            formats=formats,
            channelId=f"call-{next(self._ids)}",
        )
        return str(answer["id"])

    def _external_media(
        self, app: str, host: str, codec: str, options: str, direction: str, *, connection_type: str
    ) -> dict[str, Any]:
        answer: dict[str, Any] = self.ari(
            "POST",
            "channels/externalMedia",
            app=app,
            external_host=host,
            transport="websocket",
            encapsulation="none",
            connection_type=connection_type,
            format=codec,
            transport_data=options or None,
            direction=direction,
            channelId=f"call-{next(self._ids)}",
        )
        return answer

    def _incoming(self, channel_id: str, connection_id: str) -> IncomingCall:
        return IncomingCall(
            channel_id=channel_id,
            connection_id=connection_id,
            uri=f"ws://127.0.0.1:{self.http_port}/media/{connection_id}",
            tls_uri=f"wss://localhost:{self.https_port}/media/{connection_id}" if self.https_port else None,
        )
