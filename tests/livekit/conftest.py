"""LiveKit warns of its own deprecations; here only ours count."""

from __future__ import annotations

import contextlib
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    # Where it is missing, the tests tell.
    with contextlib.suppress(ModuleNotFoundError):
        import callstream_livekit  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/livekit" in item.path.as_posix():
            item.add_marker(pytest.mark.livekit)
            item.add_marker(pytest.mark.filterwarnings("ignore"))
