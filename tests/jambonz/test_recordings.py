"""Recordings of a real jambonz, replayed into both ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callstream_core.events import MessageIgnored, PeerMisbehaved
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import words as w
from callstream_core.jambonz.verbs import Pause
from tests.jambonz.recordings import FILES, AppReplay, PlatformReplay, determined

# What the recorded application did that ours does not do: how often, by file.
REFUSED = {
    "02": 1,  # no verbs for the offer
    "03": 1,
    "05": 1,  # verbs that jambonz refuses
    "05b": 1,
    "09": 1,  # an ack for nothing
    "13": 1,
    "15": 1,
    "23": 1,  # acks of a reconnect: the session made them itself
    "25": 1,
    "28": 1,
    "28b": 1,  # one that is too long by the `queueCommand` that we always say
    "30": 1,
    "55": 1,  # a hook after the end
    "61": 1,
    "62": 1,
    "65": 1,  # a command before the first ack
    "68": 1,  # verbs for the hook of an interrupted verb
    "peer-ncw-engine-session-close": 1,
    "peer-sdk-engine-session-close": 1,
}
# From here on our application says something else, because it waits for room by itself, or was heard (65).
DIVERGES = {"32": 6, "33": 7, "65": 2, "peer-ncw-engine-tts-backpressure": 6, "peer-sdk-engine-tts-backpressure": 6}

HAPPENS: dict[str, dict[float, h.Stimulus | str]] = {
    "27": {17.139: h.CallerHungUp()},
    "28": {0.688: "x" * 24_577, 2.188: h.CallerHungUp({"x_bye": "1", "reason": "Q.850;cause=16"})},
    "47": {0.13: h.FarEndRang(), 0.235: h.FarEndAnswered(), 0.336: h.CallerHungUp()},
    "48": {
        0.566: h.HttpAnswered((Pause(length=0.1, id="from-http"),)),
        1.198: h.CallerHungUp({"x_bye": "1", "reason": "Q.850;cause=16"}),
    },
    "50": {0.826: h.CallerHungUp()},
    "64": {0.4: h.CallerHungUp()},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "25": {"loses_first_ack": True},
    "40": {"refusal": h.Refusal.SUBPROTOCOL},
    "41": {"refusal": h.Refusal.HANDSHAKE},
}


def number_of(path: Path) -> str:
    return path.stem.split("-")[1] if path.stem.startswith("control") else path.stem


@pytest.mark.parametrize("path", FILES, ids=number_of)
def test_the_application_hears_all_and_says_the_same(path: Path) -> None:
    replay = AppReplay(path)
    assert not [event for event in replay.heard if isinstance(event, PeerMisbehaved | MessageIgnored)]
    assert len(replay.refused) == REFUSED.get(number_of(path), 0), replay.refused
    until = DIVERGES.get(number_of(path))
    assert replay.said[:until] == replay.expected[:until]


@pytest.mark.parametrize("path", FILES, ids=number_of)
def test_the_platform_says_what_jambonz_said(path: Path) -> None:
    name = number_of(path)
    replay = PlatformReplay(path, HAPPENS.get(name), **OPTIONS.get(name, {}))
    assert replay.said == replay.expected
    if name == "47":
        # That recording's call information was made up.
        return
    for connection, found in replay.data.items():
        expected = [determined(message) for message in replay.expected_data[connection]]
        assert [determined(message) for message in found] == expected


def test_there_are_recordings_of_every_kind_of_end() -> None:
    found = {event.outcome for path in FILES for event in AppReplay(path).heard if isinstance(event, w.ControlClosed)}
    assert found == set(w.Outcome)
