"""What a simulated jambonz makes of a `listen`."""

from __future__ import annotations

from typing import Any

import pytest

from callstream_core.jambonz import JambonzProfile
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.parts import Auth, ReplyAudio
from callstream_core.jambonz.profile import caller_leg
from callstream_trio.listening import AudioOrder, audio_headers, audio_order, hooked

CONTROL = JambonzProfile(url="wss://app.example.org:8443/hook?a=1", username="me", password="pw")


def order(url: str = "/a", **more: Any) -> AudioOrder:
    return audio_order(v.Listen(url=url, **more), caller_leg(CONTROL), CONTROL, channel_rate=16000)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/a?b=c", "wss://app.example.org:8443/a?b=c"),
        ("ws://x/", "ws://x/"),
        ("http://x:1/y", "ws://x:1/y"),
        ("https://x", "wss://x"),
    ],
)
def test_where_the_audio_goes(url: str, wanted: str) -> None:
    assert order(url).url == wanted


@pytest.mark.parametrize("url", ["ftp://x/", "ws://", "nothing", "ws://x/\r\nA: b", "ws://x/ y", "ws://é/"])
def test_a_url_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match="url of listen is like wss"):
        order(url)


def test_a_name_and_a_password() -> None:
    auth = Auth(username="x", password="y:z")
    mine, other = ("Authorization", "Basic bWU6cHc="), ("Authorization", "Basic eDp5Ono=")
    assert order(ws_auth=auth).headers[2:] == (mine,)
    assert order("ws://x/", ws_auth=auth).headers[2:] == (other,)
    assert order("ws://x/").headers[2:] == ()
    open_hook = JambonzProfile(url="ws://app.example.org/")
    verb = v.Listen(url="/a", ws_auth=auth)
    assert audio_order(verb, caller_leg(open_hook), open_hook).headers[2:] == (other,)


def test_whom_the_media_server_takes_for_its_host() -> None:
    assert audio_headers("wss://x.example.org:8443/a") == (
        ("Host", "x.example.org"),
        ("Origin", "http://x.example.org"),
    )
    assert audio_headers("ws://[::1]:80/a") == (("Host", "[::1]"), ("Origin", "http://[::1]"))


@pytest.mark.parametrize(
    ("reply", "is_streaming", "takes_clips"),
    [
        (None, False, True),
        (ReplyAudio(enabled=True, streaming=True, sample_rate=16000), True, True),
        (ReplyAudio(streaming=True, sample_rate=16000), False, True),
        (ReplyAudio(enabled=True, sample_rate=16000), False, True),
        (ReplyAudio(enabled=True, streaming=True), False, True),
        (ReplyAudio(enabled=True, streaming=True, sample_rate=0), False, True),
        (ReplyAudio(enabled=False, streaming=True, sample_rate=16000), False, False),
    ],
)
def test_a_stream_needs_all_three(reply: ReplyAudio | None, is_streaming: bool, takes_clips: bool) -> None:
    profile = order(bidirectional_audio=reply).profile
    assert (profile.is_streaming, profile.takes_clips) == (is_streaming, takes_clips)
    assert profile.reply_rate == (16000 if is_streaming else None)
    assert (profile.sample_rate, profile.channel_rate) == (8000, 16000)
    assert not order(bidirectional_audio=reply, disable_bidirectional_audio=True).profile.takes_clips


def test_keys_are_told_where_that_is_ordered() -> None:
    assert not order().profile.pass_dtmf
    assert order(pass_dtmf=True).profile.pass_dtmf


@pytest.mark.parametrize("rate", [0, 11025, 8000 * 10**6])
def test_rates_that_cannot_be(rate: int) -> None:
    with pytest.raises(ValueError, match=r"^sampleRate of listen is a multiple of 8000"):
        order(sample_rate=rate)
    if rate:
        with pytest.raises(ValueError, match=r"^bidirectionalAudio.sampleRate of listen is a multiple of 8000"):
            order(bidirectional_audio=ReplyAudio(enabled=True, streaming=True, sample_rate=rate))


def test_the_first_message_tells_of_the_call() -> None:
    info = order(metadata={"tier": 1}).profile.opening().extras
    assert info is not None
    assert (info["callSid"], info["fsSipAddress"], info["from"]) == ("call-0001", "10.0.0.5:5060", "15550001")
    assert info["tier"] == 1
    assert not any("_" in key for key in info)


def test_a_url_with_a_password_is_a_hook_with_one() -> None:
    found = hooked("ws://a%40b:c%3Ad@host:1/p?q#rc=2", JambonzProfile(caller="1"))
    assert (found.url, found.username, found.password) == ("ws://host:1/p?q#rc=2", "a@b", "c:d")
    assert (found.caller, found.max_connections) == ("1", 2)
    assert hooked("ws://user@host/").password == ""
    assert hooked("ws://host/").username is None
