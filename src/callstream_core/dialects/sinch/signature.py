"""The signature of Sinch's HTTP callbacks: that an incoming call event comes from Sinch, and is whole."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping


def signature(*, secret: str, method: str = "POST", path: str, body: bytes, content_type: str, timestamp: str) -> str:
    """Return the signature of a request. `secret` is the application's, as the dashboard shows it: in base64."""
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode() if body else ""
    text = "\n".join((method.upper(), digest, content_type, f"x-timestamp:{timestamp}", path))
    key = base64.b64decode(secret, validate=True)
    return base64.b64encode(hmac.digest(key, text.encode(errors="surrogateescape"), "sha256")).decode()


def is_signed(
    headers: Mapping[str, str], *, key: str, secret: str, method: str = "POST", path: str, body: bytes
) -> bool:
    """Tell whether a callback was signed by the owner of an application's key and secret.

    A copy of an old callback is signed just as well: compare `x-timestamp`, too.
    """
    known = {name.lower(): value for name, value in headers.items()}
    scheme, _, credentials = known.get("authorization", "").strip().partition(" ")
    given_key, _, given = credentials.strip().partition(":")
    expected = signature(
        secret=secret,
        method=method,
        path=path,
        body=body,
        content_type=known.get("content-type", ""),
        timestamp=known.get("x-timestamp", ""),
    )
    is_ours = scheme.lower() == "application" and _is_same(given_key, key)
    return _is_same(given.strip(), expected) and is_ours


def _is_same(given: str, expected: str) -> bool:
    # Headers may hold bytes that are no text.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())
