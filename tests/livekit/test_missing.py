"""Without LiveKit, the adapter says what to install."""

from __future__ import annotations

import subprocess
import sys


def test_a_missing_framework_is_named_with_what_to_install() -> None:
    code = "import sys; sys.modules['livekit'] = None; import callstream_livekit"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'callstream[livekit]'" in done.stderr
