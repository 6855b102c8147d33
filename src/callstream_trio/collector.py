"""Python's garbage collector, kept away from live calls."""

from __future__ import annotations

import gc

# A full collection looks at everything that all calls have, and holds them up for as long: some 60 ms at 1,000 calls.
# Nothing of a call is left to it, so that it may come a hundred times less often than by default.
_SELDOM = 1000


def spare_calls() -> None:
    """Call once when the program has started: what is there by then is never looked at again, the rest seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _SELDOM)
