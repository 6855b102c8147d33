"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# The same examples every time: a red run can be repeated, and a green one is not luck.
settings.register_profile("callstream", derandomize=True, deadline=None)
settings.load_profile("callstream")
