"""The lines that make a telephone system call this server, ready to paste."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Sequence
from urllib.parse import quote

from callstream_core import dialects
from callstream_core.dialects.sinch import ConnectStream
from callstream_trio.admission import CONTROL_PATH, Auth, Basic, HeaderToken, QueryToken
from callstream_trio.settings import Settings

_HIDDEN = "SECRET"


def reachable(host: str) -> str:
    """Return the address under which others find a server that listens on `host`."""
    if host not in ("0.0.0.0", "::", ""):
        return host
    # Nothing is sent: this only asks which of our addresses the way to the world starts from.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def url_of(address: tuple[str, int], *, is_secure: bool, path: str = "", auth: Auth | None = None) -> str:
    """Return the URL of a server."""
    host, port = address
    host = reachable(host)
    shown = f"[{host}]" if ":" in host else host
    query = f"?{quote(auth.name)}={quote(auth.secret, safe='')}" if isinstance(auth, QueryToken) else ""
    return f"{'wss' if is_secure else 'ws'}://{shown}:{port}{path}{query}"


def asterisk_lines(
    settings: Settings, address: tuple[str, int], auths: Sequence[Auth], *, shows_secrets: bool
) -> tuple[list[str], list[str]]:
    """Return the section of websocket_client.conf, and the line of extensions.conf."""
    # Asterisk cannot send headers of one's choice.
    auth = next((auth for auth in auths if isinstance(auth, QueryToken | Basic)), None)
    if not shows_secrets and isinstance(auth, QueryToken):
        auth = QueryToken(auth.name, _HIDDEN)
    elif not shows_secrets and isinstance(auth, Basic):
        auth = Basic(auth.user, _HIDDEN)
    path = dialects.get("asterisk").paths[0]
    lines = [
        "[callstream]",
        "type = websocket_client",
        f"uri = {_escaped(url_of(address, is_secure=settings.is_secure, path=path, auth=auth))}",
        "protocols = media",
        "connection_type = per_call_config",
    ]
    if isinstance(auth, Basic):
        lines += [f"username = {_escaped(auth.user)}", f"password = {_escaped(auth.password)}"]
    if settings.is_secure:
        lines += ["tls_enabled = yes", "ca_list_file = /etc/ssl/certs/ca-certificates.crt"]
    return lines, ["same => n,Dial(WebSocket/callstream/c(slin16)f(json))"]


def yeastar_lines(
    settings: Settings, address: tuple[str, int], auths: Sequence[Auth], *, shows_secrets: bool
) -> list[str]:
    """Return what to enter into the PBX's page. Of secrets, it can only send headers."""
    auth = next((auth for auth in auths if isinstance(auth, HeaderToken | Basic)), None)
    path = dialects.get("yeastar").paths[0]
    lines = [f"Server address: {url_of(address, is_secure=settings.is_secure, path=path)}"]
    if auth is not None:
        name, value = _header_of(auth)
        lines += [f"Secret, its name: {name}", f"Secret, its value: {value if shows_secrets else _HIDDEN}"]
    return [*lines, f"Sample rate: {settings.yeastar_rate // 1000} kHz"]


def sinch_lines(
    settings: Settings, address: tuple[str, int], auths: Sequence[Auth], *, shows_secrets: bool
) -> list[str]:
    """Return the answer to Sinch's incoming call event. Of secrets, only a query reaches us."""
    auth = next((auth for auth in auths if isinstance(auth, QueryToken)), None)
    if auth is not None and not shows_secrets:
        auth = QueryToken(auth.name, _HIDDEN)
    path = dialects.get("sinch").paths[0]
    answer = ConnectStream(endpoint=url_of(address, is_secure=settings.is_secure, path=path, auth=auth), rate=16000)
    return json.dumps(answer.as_json(), indent=2).splitlines()


def jambonz_lines(
    settings: Settings, address: tuple[str, int], auths: Sequence[Auth], *, shows_secrets: bool
) -> list[str]:
    """Return what to enter into jambonz's page of an application. Of secrets, it can send a password or a query."""
    auth = next((auth for auth in auths if isinstance(auth, Basic | QueryToken)), None)
    if not shows_secrets and isinstance(auth, QueryToken):
        auth = QueryToken(auth.name, _HIDDEN)
    url = url_of(address, is_secure=settings.is_secure, path=CONTROL_PATH, auth=auth)
    if settings.jambonz_url:
        url = settings.jambonz_url.rstrip("/") + url[url.index(CONTROL_PATH) :]
    lines = [f"Calling webhook: {url}"]
    if isinstance(auth, Basic):
        lines += [f"Username: {auth.user}", f"Password: {auth.password if shows_secrets else _HIDDEN}"]
    return [*lines, f"Call status webhook: {url}"]


def _header_of(auth: HeaderToken | Basic) -> tuple[str, str]:
    if isinstance(auth, HeaderToken):
        return auth.name, auth.secret
    return "Authorization", "Basic " + base64.b64encode(f"{auth.user}:{auth.password}".encode()).decode()


def _escaped(value: str) -> str:
    # A semicolon begins a comment.
    return value.replace(";", "\\;")
