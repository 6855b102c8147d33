"""What shells share of a WebSocket."""

from __future__ import annotations

import pytest

from callstream_core.sockets import LinkClosed


@pytest.mark.parametrize(("code", "text"), [(1000, "closed with 1000"), (1005, "closed with 1005"), (None, "lost")])
def test_a_closed_link_says_how(code: int | None, text: str) -> None:
    error = LinkClosed(code)
    assert error.code == code
    assert text in str(error)
