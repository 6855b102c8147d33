"""Recordings of the official packages, which a script spoke to as jambonz: what it said, and what they answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from callstream_core.events import MessageIgnored, PeerMisbehaved
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import decode_event, decode_order
from callstream_core.jambonz.values import Verb
from tests.jambonz.recordings import SCRIPTED, AppReplay, lines_of
from tests.jambonz.sim import Sim

PROBES = [path for path in SCRIPTED if "probes" in path.stem]
SOCKETS = [path for path in SCRIPTED if "reconnect" in path.stem]


def test_all_are_here() -> None:
    kinds = ("handshake", "probes", "reconnect-adulting-redirect-first")
    assert [path.stem for path in SCRIPTED] == [f"peer-{name}-sim-{kind}" for name in ("ncw", "sdk") for kind in kinds]


@pytest.mark.parametrize("path", PROBES, ids=lambda path: path.stem)
def test_the_application_hears_every_word(path: Path) -> None:
    heard = AppReplay(path).heard
    names = [type(event).__name__ for event in heard if isinstance(event, w.Notice | MessageIgnored | PeerMisbehaved)]
    said = [line for line in lines_of(path) if line.speaker == "jambonz" and line.kind != "close"]
    assert names == [
        "SessionOffered",
        "CallStatusChanged",
        "VerbProgressed",
        "ErrorReported",
        "HookCalled",
        "HookCalled",
        "TargetAnswered",
        "SessionRedirected",
        "LlmReported",
        "ToolCalled",
        "SpeechStreamChanged",
        "SpeechStreamChanged",
        "TokensAnswered",
        "MessageIgnored",
        "PeerMisbehaved",
        "PeerMisbehaved",
    ]
    assert len(said) == len(names)
    assert isinstance(heard[-1], w.ControlClosed)
    assert heard[-1].outcome is w.Outcome.ENDED


@pytest.mark.parametrize("path", PROBES, ids=lambda path: path.stem)
def test_our_application_acks_the_same_as_the_package(path: Path) -> None:
    replay = AppReplay(path)
    assert replay.refused == []
    assert replay.said == replay.expected
    wanted = {f"m{number}" for number in (1, 5, 6, 7, 8)}
    assert {found["msgid"] for found in replay.said} == wanted


@pytest.mark.parametrize("path", SOCKETS, ids=lambda path: path.stem)
def test_each_socket_begins_with_its_own_word(path: Path) -> None:
    heard = AppReplay(path).heard
    begun = [type(event) for event in heard if isinstance(event, w.Question)]
    assert begun == [w.SessionReconnected, w.LegPromoted, w.SessionRedirected]
    acked = [event.reason for event in heard if isinstance(event, w.Acked)]
    assert acked == [w.AckReason.NO_VERBS_WANTED] * 2
    assert sum(isinstance(event, w.ControlClosed) for event in heard) == 3


@pytest.mark.parametrize("path", SCRIPTED, ids=lambda path: path.stem)
def test_the_platform_takes_what_the_packages_answer(path: Path) -> None:
    for line in lines_of(path):
        if line.speaker == "app" and line.kind == "text":
            ack = decode_order(line.message)
            assert isinstance(ack, o.Ack)
            assert not isinstance(ack.verbs, o.Unusable)
            assert all(isinstance(verb, Verb) for verb in ack.verbs or ())


@pytest.mark.parametrize("path", PROBES, ids=lambda path: path.stem)
def test_the_platform_says_the_same_words_and_hears_their_acks(path: Path) -> None:
    """The call goes on as the script has it, whatever is said in it."""
    sim = Sim()
    names = {"m1": sim.question["msgid"]}
    for line in lines_of(path):
        if line.kind == "close":
            break
        if line.speaker == "app":
            found = json.loads(line.message)
            sim.say(found | {"msgid": names[found["msgid"]]})
            sim.wait(0.05)
            continue
        word = None if line.kind == "binary" or line.message == "not json" else decode_event(line.message)
        if isinstance(word, w.Notice) and not isinstance(word, w.SessionOffered):
            sim.happen(word)
            said = sim.messages[-1][1]
            names[word.msgid] = said["msgid"]
            assert _plain(said) == _plain(json.loads(line.message))
    assert sim.platform.counters == {}


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    # The socket's own call is the simulated one.
    return {key: value for key, value in found.items() if key not in ("msgid", "call_sid", "b3")}


@pytest.mark.parametrize("path", [path for path in SCRIPTED if "handshake" in path.stem], ids=lambda path: path.stem)
def test_a_socket_on_which_nothing_was_said(path: Path) -> None:
    heard = AppReplay(path).heard
    assert heard
    assert not [event for event in heard if isinstance(event, w.Notice)]
    assert all(event.redials is not w.Redial.SOON for event in heard if isinstance(event, w.ControlClosed))
