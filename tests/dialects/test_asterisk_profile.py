"""The variants of a simulated Asterisk: its codecs, generations and dial options."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from callstream_core import events as e
from callstream_core.dialect import Clock, Support
from callstream_core.dialects.asterisk import FORMATS, AsteriskProfile, Generation
from callstream_core.dialects.asterisk.codec import AsteriskCodec
from callstream_core.errors import Malformed
from tests.dialects.words import G1, G2, G2_21, G3, G4, JSON, PLAIN

CODECS = """
ulaw 8000 160 20 | alaw 8000 160 20 | slin 8000 320 20 | slin12 12000 480 20 | slin16 16000 640 20
slin24 24000 960 20 | slin32 32000 1280 20 | slin44 44100 1764 20 | slin48 48000 1920 20 | slin96 96000 3840 20
slin192 192000 7680 20 | g722 16000 160 20 | gsm 8000 33 20 | ilbc 8000 38 20 | g726 8000 80 20 | g726aal2 8000 80 20
adpcm 8000 80 20 | g723 8000 20 30 | siren7 16000 80 20 | siren14 32000 120 20 | g719 48000 160 20
silk8 8000 160 20 | silk12 12000 240 20 | silk16 16000 320 20 | silk24 24000 480 20 | none 8000 40 20
g729 8000 0 20 | opus 48000 0 20 | speex 8000 0 20 | speex16 16000 0 20 | speex32 32000 0 20 | codec2 8000 0 20
lpc10 8000 0 20 | amr 8000 0 20 | amrwb 16000 0 20
"""


def test_the_codecs_are_complete() -> None:
    rows = [row.split() for line in CODECS.strip().splitlines() for row in line.split("|")]
    assert {name: (int(rate), int(size), int(ptime) / 1000) for name, rate, size, ptime in rows} == {
        name: (audio.rate, audio.frame_size, audio.ptime) for name, audio in FORMATS.items()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "sln16"}, "unknown codec"),
        ({"generation": G2, "syntax": JSON}, "plain text only"),
        ({"generation": G3, "direction": e.Direction.IN}, "no media direction"),
    ],
)
def test_impossible_profiles_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attrs.evolve(AsteriskProfile(), **options)


def test_variables_may_name_what_the_driver_sets() -> None:
    variables = {"A": "1", "MEDIA_WEBSOCKET_CONNECTION_ID": "x"}
    event = AsteriskProfile(syntax=JSON, variables=variables).opening()
    assert list(event.variables.items()) == [
        ("MEDIA_WEBSOCKET_CONNECTION_ID", "x"),
        ("A", "1"),
        ("MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE", "160"),
    ]


SINCE = {
    G1: {"ANSWER", "HANGUP", "START_MEDIA_BUFFERING", "STOP_MEDIA_BUFFERING", "FLUSH_MEDIA", "GET_STATUS"},
    G2_21: {"PAUSE_MEDIA", "CONTINUE_MEDIA", "REPORT_QUEUE_DRAINED"},
    G3: {"MARK_MEDIA"},
    G4: {"SET_MEDIA_DIRECTION"},
}


@pytest.mark.parametrize("generation", Generation)
def test_each_generation_knows_its_commands(generation: Generation) -> None:
    codec = AsteriskCodec(AsteriskProfile(generation=generation, syntax=JSON if generation >= G3 else PLAIN))
    for since, names in SINCE.items():
        for name in names:
            text = name if generation < G3 else f'{{"command":"{name}","direction":"in"}}'
            if since <= generation:
                assert len(codec.decode_command(text)) == 1
            else:
                with pytest.raises(Malformed, match="unknown command"):
                    codec.decode_command(text)


@pytest.mark.parametrize(
    ("options", "capabilities"),
    [
        ({}, {"clock": Clock.PLATFORM, "has_direction": False, "max_message": 8000, "max_queue": 900}),
        ({"syntax": JSON}, {"has_direction": True, "drained": Support.NATIVE, "has_status": True}),
        ({"syntax": JSON, "format": "opus"}, {"has_direction": False, "clock": Clock.APP, "max_message": 8000}),
        ({"format": "g729"}, {"marks": Support.EMULATED, "clear": Support.EMULATED, "drained": Support.EMULATED}),
        ({"format": "gsm"}, {"max_message": 7986}),
        ({"format": "slin192"}, {"max_message": 7680}),
        ({"generation": G1}, {"drained": Support.EMULATED, "marks": Support.NATIVE}),
    ],
)
def test_what_a_channel_can_do(options: dict[str, Any], capabilities: dict[str, Any]) -> None:
    profile = AsteriskProfile(**options)
    told = profile.opening().capabilities
    assert {name: getattr(told, name) for name in capabilities} == capabilities
    platform, app = AsteriskCodec(profile), AsteriskCodec()
    app.decode_event(platform.encode_event(profile.opening())[0])
    assert app.capabilities == told
