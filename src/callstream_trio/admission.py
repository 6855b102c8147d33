"""Who may come in: a request gets an upgrade, or an HTTP status and a sentence that says what to do."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from urllib.parse import parse_qs

import attrs
import h11
import wsproto
from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake
from wsproto.utilities import ProtocolError

from callstream_core import dialects
from callstream_core.dialect import Dialect
from callstream_core.jambonz import SUBPROTOCOL, choose_subprotocol

CONTROL_PATH = "/jambonz"
"""Where jambonz's control sockets come."""

# Behind the whole URL, query and all, once for each leg of a call that became a call of its own.
_PROMOTED = re.compile(r"(/adulting)+$")


@attrs.frozen(kw_only=True)
class Request:
    """An HTTP request, as far as admission reads it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: list[tuple[bytes, bytes]]
    version: str = "1.1"
    """Of HTTP."""

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def wants_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return (self.header(b"upgrade") or b"").lower() == b"websocket"

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols on offer."""
        offered = b",".join(value for key, value in self.headers if key == b"sec-websocket-protocol")
        return [item.strip().decode("latin-1") for item in offered.split(b",") if item.strip()]


@attrs.frozen(kw_only=True)
class Refusal:
    """An HTTP answer instead of an upgrade."""

    status: int
    text: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    content_type: bytes = b"text/plain; charset=utf-8"


@attrs.frozen(kw_only=True)
class Admitted:
    """An upgrade."""

    response: bytes
    """The 101, as bytes."""
    dialect: Dialect | None
    """None where the first message will tell."""
    is_control: bool = False
    """The socket carries no audio: it controls a jambonz call."""


@attrs.frozen
class QueryToken:
    """A secret in the URL: `?name=secret`."""

    name: str
    secret: str = attrs.field(repr=False)

    def admits(self, request: Request) -> bool:
        """Tell whether the request carries it."""
        return any(_equal(value.encode(), self.secret.encode()) for value in request.query.get(self.name, ()))


@attrs.frozen
class HeaderToken:
    """A secret in a header, bare or behind `Bearer`."""

    name: str
    secret: str = attrs.field(repr=False)

    def admits(self, request: Request) -> bool:
        """Tell whether the request carries it."""
        value = request.header(self.name.lower().encode()) or b""
        scheme, _, token = value.partition(b" ")
        secret = self.secret.encode()
        # A Yeastar PBX sends what was typed into its form: the word may well belong to the secret.
        return _equal(value, secret) | _equal(token.strip() if scheme.lower() == b"bearer" else value, secret)


@attrs.frozen
class Basic:
    """User and password, as websocket_client.conf sends them."""

    user: str
    password: str = attrs.field(repr=False)

    def admits(self, request: Request) -> bool:
        """Tell whether the request carries them."""
        scheme, _, encoded = (request.header(b"authorization") or b"").partition(b" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        return scheme.lower() == b"basic" and _equal(given, f"{self.user}:{self.password}".encode())


Auth = QueryToken | HeaderToken | Basic


def parse_auth(text: str) -> Auth:
    """Read `query:NAME=SECRET`, `header:NAME=SECRET` or `basic:USER:PASSWORD`."""
    kind, _, rest = text.partition(":")
    if kind == "basic" and ":" in rest:
        user, _, password = rest.partition(":")
        if user and password:
            return Basic(user, password)
    name, _, secret = rest.partition("=")
    if name and secret and kind == "query":
        return QueryToken(name, secret)
    if name and secret and kind == "header":
        return HeaderToken(name, secret)
    raise ValueError("use query:NAME=SECRET, header:NAME=SECRET or basic:USER:PASSWORD")


def _equal(given: bytes, wanted: bytes) -> bool:
    return hmac.compare_digest(given, wanted)


@attrs.frozen(kw_only=True)
class Admission:
    """The rules of one server."""

    auth: Sequence[Auth] = ()
    """Any one of these admits; none at all admits everybody."""
    allowed_origins: frozenset[str] = frozenset()
    """Browsers send an Origin, telephone systems do not: others than these are refused."""

    def decide(self, request: Request) -> Admitted | Refusal:
        """Admit a request, or refuse it."""
        dialect = dialects.detect(path=request.path)
        if dialect is None and request.path not in ("/", CONTROL_PATH):
            paths = ", ".join([*(path for name in dialects.names() for path in dialects.get(name).paths), CONTROL_PATH])
            return Refusal(status=404, text=f"No calls are taken here; use / or one of {paths}.")
        refusal = _check_upgrade(request)
        if refusal is not None:
            return refusal
        origin = request.header(b"origin")
        if origin is not None and not self._is_allowed(origin.decode("latin-1"), request, dialect):
            return Refusal(status=403, text="This origin is not allowed; name it in allowed_origins.")
        if self.auth and not any(auth.admits(request) for auth in self.auth):
            headers = [(b"www-authenticate", b'Basic realm="callstream"')]
            return Refusal(status=401, text="The secret is missing or wrong.", headers=headers)
        return self.accept(request, dialect)

    def _is_allowed(self, origin: str, request: Request, dialect: Dialect | None) -> bool:
        if origin in self.allowed_origins:
            return True
        # jambonz's WebSocket library names the host that it calls; a browser's page on another site cannot.
        spoken = dialect or next(filter(None, (dialects.detect(subprotocol=s) for s in request.subprotocols)), None)
        host = (request.header(b"host") or b"").decode("latin-1")
        return spoken is not None and spoken.sends_origin and origin == f"http://{host}"

    def accept(self, request: Request, dialect: Dialect | None) -> Admitted | Refusal:
        """Agree to the upgrade of somebody who may come in."""
        refusal = _check_upgrade(request)
        if refusal is not None:
            return refusal
        known = [dialect] if dialect else [dialects.get(name) for name in dialects.names()]
        offered = request.subprotocols
        is_control = request.path == CONTROL_PATH or (dialect is None and SUBPROTOCOL in offered)
        if is_control:
            chosen = choose_subprotocol(offered)
        else:
            chosen = next((s for d in known for s in d.subprotocols if s in offered), None)
        if (offered or is_control) and chosen is None:
            return Refusal(status=400, text=f"None of the subprotocols {', '.join(offered)[:200]} is spoken here.")
        if chosen is not None and dialect is None:
            dialect = dialects.detect(subprotocol=chosen)
        handshake = H11Handshake(wsproto.ConnectionType.SERVER)
        try:
            handshake.initiate_upgrade_connection(request.headers, request.path)
            # Exactly what was agreed: a telephone system hangs up on any extension.
            response = handshake.send(AcceptConnection(subprotocol=chosen, extensions=[]))
        except (ProtocolError, UnicodeError, h11.ProtocolError) as error:
            headers = [(b"sec-websocket-version", b"13")]
            return Refusal(status=400, text=f"Not a WebSocket handshake: {error}.", headers=headers)
        return Admitted(response=response, dialect=dialect, is_control=is_control)


def _check_upgrade(request: Request) -> Refusal | None:
    if request.method != "GET":
        return Refusal(status=405, text="Calls come as WebSockets: use GET.", headers=[(b"allow", b"GET")])
    if not request.wants_upgrade or request.version != "1.1":
        text = "Calls come as WebSockets: ask for an upgrade, by HTTP/1.1."
        return Refusal(status=426, text=text, headers=[(b"upgrade", b"websocket")])
    return None


def read_request(event: h11.Request) -> Request:
    """Return a request as admission reads it. Bytes that are not ASCII survive as what they are."""
    target = event.target.decode("latin-1")
    headers = [(bytes(name), bytes(value)) for name, value in event.headers]
    if any(name == b"sec-websocket-protocol" and SUBPROTOCOL.encode() in value for name, value in headers):
        # It comes where its call came, and its first message tells the rest.
        target = _PROMOTED.sub("", target) or "/"
    # No URL parser: it raises for some targets, and takes a host out of `//host/path`.
    path, _, query = target.partition("?")
    return Request(
        method=event.method.decode("ascii"),
        path=path,
        query=parse_qs(query, keep_blank_values=True),
        headers=headers,
        version=event.http_version.decode("ascii"),
    )


def render(refusal: Refusal) -> bytes:
    """Return a refusal as a whole HTTP answer that ends the connection."""
    body = refusal.text.encode() + (b"\n" if not refusal.text.endswith("\n") else b"")
    headers = [
        (b"content-type", refusal.content_type),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *refusal.headers,
    ]
    head = h11.Response(status_code=refusal.status, headers=headers)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.next_event()
    sent = connection.send(head) + connection.send(h11.Data(data=body)) + connection.send(h11.EndOfMessage())
    return bytes(sent)
