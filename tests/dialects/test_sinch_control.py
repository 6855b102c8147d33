"""What makes Sinch connect, and the signature of its callbacks."""

from __future__ import annotations

from typing import Any

import pytest

from callstream_core.dialects.sinch import ConnectStream, DialStream, is_signed, signature

URL = "wss://voice.example.net/sinch?t=9f2c"
# The example of the vendor's page on callback request signing.
KEY, SECRET = "669E367E-6BBA-48AB-AF15-266871C28135", "BeIukql3pTKJ8RGL5zo0DA=="
BODY = (
    b'{"event":"ace","callid":"822aa4b7-05b4-4d83-87c7-1f835ee0b6f6_257",'
    b'"timestamp":"2014-09-24T10:59:41Z","version":1}'
)
SIGNED = {
    "content-type": "application/json",
    "X-Timestamp": "2014-09-24T10:59:41Z",
    "Authorization": f"application {KEY}:Tg6fMyo8mj9pYfWQ9ssbx3Tc1BNC87IEygAfLbJqZb4=",
}


def test_an_incoming_call_is_connected() -> None:
    action = ConnectStream(
        endpoint=URL,
        rate=16000,
        max_duration=900,
        headers={"tenant": "blue"},
        instructions=[{"name": "answer"}],
    )
    assert action.as_json() == {
        "instructions": [{"name": "answer"}],
        "action": {
            "name": "connectStream",
            "destination": {"type": "Websocket", "endpoint": URL},
            "streamingOptions": {"version": 1, "sampleRate": 16000},
            "maxDuration": 900,
            "callHeaders": [{"key": "tenant", "value": "blue"}],
        },
    }
    assert ConnectStream(endpoint=URL).as_json() == {
        "instructions": [],
        "action": {
            "name": "connectStream",
            "destination": {"type": "Websocket", "endpoint": URL},
            "streamingOptions": {"version": 1},
        },
    }


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"endpoint": "https://voice.example.net"}, "no WebSocket URL"),
        ({"endpoint": "wss://"}, "no WebSocket URL"),
        ({"endpoint": "wss://a b"}, "no WebSocket URL"),
        ({"endpoint": "wss://bücher.example"}, "no WebSocket URL"),
        ({"endpoint": "wss://[::1"}, "Invalid IPv6"),
        ({"rate": 3999}, "3999 Hz"),
        ({"rate": 192001}, "192001 Hz"),
        ({"version": 0}, "version is a positive number"),
        ({"max_duration": 0}, "max_duration is a positive number"),
        ({"max_duration": 14401}, "14400 at most"),
        ({"headers": {"k" * 24: "ü" * 501}}, "1026 bytes"),
    ],
)
def test_what_sinch_would_refuse_of_an_action(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ConnectStream(**({"endpoint": URL} | wrong))


def test_limits_of_an_action_are_reached() -> None:
    ConnectStream(endpoint="ws://127.0.0.1:8787", max_duration=14400, headers={"k" * 24: "ü" * 500})


def test_a_stream_is_dialled() -> None:
    command = DialStream(
        endpoint=URL,
        rate=24000,
        headers={"a": "\tb"},
        name="stream",
        caller={"type": "PHONE", "phone": {"number": "+15550100"}},
        dial_timeout=10,
        max_duration=600,
        bridge="b",
        events={"onAnswer": [{"command": "x"}], "onHangup": [{"command": "hangup"}]},
    )
    assert command.as_json() == {
        "command": "dial",
        "to": {
            "type": "STREAM",
            "stream": {
                "endpoint": URL,
                "streamOptions": {"version": 1, "codec": "PCM", "sampleRate": 24000},
                "callHeaders": [{"key": "a", "value": "\tb"}],
            },
        },
        "callName": "stream",
        "from": {"type": "PHONE", "phone": {"number": "+15550100"}},
        "dialTimeoutDurationSeconds": 10,
        "maxCallDurationSeconds": 600,
        "events": {
            "onAnswer": [{"command": "bridgeCall", "bridgeName": "b"}, {"command": "x"}],
            "onHangup": [{"command": "hangup"}],
        },
    }
    assert DialStream(endpoint=URL).as_json() == {
        "command": "dial",
        "to": {
            "type": "STREAM",
            "stream": {"endpoint": URL, "streamOptions": {"version": 1, "codec": "PCM", "sampleRate": 8000}},
        },
    }


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"endpoint": "ftp://x"}, "no WebSocket URL"),
        ({"rate": 11025}, "rate"),
        ({"version": 0}, "version"),
        ({"dial_timeout": 0}, "dial_timeout"),
        ({"max_duration": -1}, "max_duration"),
        ({"headers": {str(n): "" for n in range(17)}}, "17 headers"),
        ({"headers": {"": "v"}}, "1 to 255 characters"),
        ({"headers": {"k" * 256: "v"}}, "1 to 255 characters"),
        ({"headers": {"k": "v" * 256}}, "1 to 255 characters"),
        ({"headers": {"k": "ü"}}, "printable ASCII"),
        ({"headers": {"k\n": "v"}}, "printable ASCII"),
        ({"events": {"onSneeze": []}}, "onSneeze"),
    ],
)
def test_what_sinch_would_refuse_of_a_dial(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        DialStream(**({"endpoint": URL} | wrong))


def test_limits_of_a_dial_are_reached() -> None:
    DialStream(endpoint=URL, headers={f"{n:0>255}": "v" * 255 for n in range(16)})


def test_the_documented_signature() -> None:
    assert is_signed(SIGNED, key=KEY, secret=SECRET, path="/sinch/callback/ace", body=BODY)


@pytest.mark.parametrize(
    "changes",
    [
        {"body": BODY + b" "},
        {"path": "/sinch/callback/ice"},
        {"method": "PUT"},
        {"key": "another"},
        {"secret": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"headers": {}},
        {"headers": SIGNED | {"X-Timestamp": "2014-09-24T10:59:42Z"}},
        {"headers": SIGNED | {"content-type": "text/plain"}},
        {"headers": SIGNED | {"Authorization": f"basic {KEY}:Tg6fMyo8mj9pYfWQ9ssbx3Tc1BNC87IEygAfLbJqZb4="}},
        {"headers": SIGNED | {"Authorization": f"application {KEY}:\udcff"}},
        {"headers": SIGNED | {"X-Timestamp": "\udcff"}},
    ],
)
def test_another_request_is_not_signed(changes: dict[str, Any]) -> None:
    arguments = {"headers": SIGNED, "key": KEY, "secret": SECRET, "path": "/sinch/callback/ace", "body": BODY} | changes
    assert not is_signed(arguments.pop("headers"), **arguments)


def test_a_request_without_a_body() -> None:
    signed = signature(secret=SECRET, method="get", path="/x", body=b"", content_type="", timestamp="t")
    headers = {"x-timestamp": "t", "authorization": f"Application {KEY}:{signed}"}
    assert is_signed(headers, key=KEY, secret=SECRET, method="GET", path="/x", body=b"")
