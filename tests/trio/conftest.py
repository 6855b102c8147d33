"""What all tests of the shell share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    """Catch what is logged, whatever a command line has set up before."""
    structlog.reset_defaults()
    with capture_logs() as entries:
        yield entries
