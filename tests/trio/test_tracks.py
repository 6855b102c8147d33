"""Calls whose parties have a track each: read, dropped and recorded apart. The platform is a simulated Yeastar PBX."""

from __future__ import annotations

import itertools
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from callstream_core import events as e
from callstream_core.audio import AudioFormat, linear
from callstream_core.dialect import Capabilities
from callstream_core.dialects.yeastar import FRAGMENT, Party, YeastarProfile
from callstream_trio import Call, Server, ServerSettings, apps
from callstream_trio.admission import Admission, HeaderToken
from callstream_trio.call import CallLimits
from callstream_trio.caller import dial
from callstream_trio.dial import DialFailed, DialSettings
from callstream_trio.parties import _MAX_PARTIES, PartyWriter
from callstream_trio.tracks import _MAX_FULL, _MAX_TRACKS, Tracks

A, B = "PJSIP/1009-0000000a", "PJSIP/trunk-0000000b"
FAST = YeastarProfile(rate=16000)
SETTINGS = ServerSettings(profiles={"yeastar": FAST})


def fragments(first: int, count: int) -> list[bytes]:
    """Return fragments no two of which are alike."""
    return [(1000 + first + number).to_bytes(2, "little") * 640 for number in range(count)]


def started(track: str, rate: int = 16000) -> e.TrackStarted:
    return e.TrackStarted(track=track, format=YeastarProfile(rate=rate).audio)


def tapped(limits: CallLimits | None = None, profile: YeastarProfile = FAST) -> Call:
    """Return a call that has heard its opening, without a socket."""
    call = Call(limits)
    call.hear(profile.opening(), 0.0)
    return call


def url_of(server: Server) -> str:
    host, port = server.addresses[0]
    return f"ws://{host}:{port}/yeastar"


async def read(call: Call, track: str) -> bytes:
    with trio.fail_after(5):
        return b"".join([piece async for piece in call.audio(track=track)])


# Case 8


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "ptime"), [(8000, 0.08), (16000, 0.04)])
async def test_08_the_simulated_pbx_keeps_time(rate: int, ptime: float) -> None:
    profile = YeastarProfile(rate=rate)
    arrivals: dict[str, list[float]] = {A: [], B: []}

    class Clock:
        def take(self, audio: e.AudioReceived, now: float) -> tuple[()]:
            assert len(audio.data) == FRAGMENT
            arrivals[audio.track].append(now)
            return ()

    async def handler(call: Call) -> None:
        call.connect(Clock())
        await call.wait_ended()

    server = Server(handler, settings=ServerSettings(profiles={"yeastar": profile}))
    async with server.listening(["127.0.0.1:0"]), dial(url_of(server), "yeastar", profile=profile) as caller:
        caller.say_audio(bytes(FRAGMENT * 10))
        caller.say_audio(bytes(FRAGMENT * 10), track=B)
        await trio.sleep(11 * ptime)
    for times in arrivals.values():
        assert len(times) == 10
        steps = [after - before for before, after in itertools.pairwise(times)]
        assert sorted(steps)[len(steps) // 2] == pytest.approx(ptime, abs=0.01)
        assert times[-1] - times[0] == pytest.approx(9 * ptime, abs=0.02)


# Reading


async def test_parties_are_read_apart_while_the_call_lasts() -> None:
    heard: dict[str, bytes] = {}
    told: list[e.Event] = []

    async def handler(call: Call) -> None:
        await call.answer()
        async with trio.open_nursery() as nursery:

            async def listen(track: str) -> None:
                heard[track] = await read(call, track)

            async for event in call:
                told.append(event)
                if isinstance(event, e.TrackStarted):
                    assert event.track in call.tracks
                    nursery.start_soon(listen, event.track)

    server = Server(handler, settings=SETTINGS)
    async with server.listening(["127.0.0.1:0"]):
        async with dial(url_of(server), "yeastar", profile=FAST) as caller:
            caller.say_audio(b"".join(fragments(0, 5)))
            caller.say_audio(b"".join(fragments(100, 3)), track=B)
            await trio.sleep(0.15)
            caller.join("third", number="3000")
            caller.say_audio(b"".join(fragments(200, 2)), track="third")
            await trio.sleep(0.1)
            caller.leave(A)
            caller.say_audio(b"".join(fragments(300, 2)), track=B)
            await trio.sleep(0.1)
        with trio.fail_after(5):
            while server.calls:  # noqa: ASYNC110 (nobody sets an event for it)
                await trio.sleep(0.01)
    assert heard == {
        A: b"".join(fragments(0, 5)),
        B: b"".join(fragments(100, 3) + fragments(300, 2)),
        "third": b"".join(fragments(200, 2)),
    }
    assert [event.track for event in told if isinstance(event, e.TrackEnded)] == [A, B, "third"]
    assert isinstance(told[-1], e.SessionClosed)
    assert told[-1].is_clean
    assert server.endings == {"ended by platform": 1}


async def test_audio_is_converted_and_what_waited_is_one_piece() -> None:
    call = tapped(profile=YeastarProfile())
    call.hear(started(A, 8000), 0.0)
    for number, piece in enumerate(fragments(0, 20)):
        call.hear(e.AudioReceived(piece, A), 0.08 * number)
    call.hear(e.TrackEnded(A), 2.0)
    pieces = [piece async for piece in call.audio(16000, track=A)]
    assert len(pieces) == 1
    assert len(pieces[0]) / 32000 == pytest.approx(1.6, abs=0.05)
    assert await read(call, A) == b""


async def test_a_reader_waits_for_audio_and_for_the_end_of_the_call() -> None:
    call = tapped()
    call.hear(started(A), 0.0)
    heard: list[bytes] = []

    async def listen() -> None:
        heard.append(await read(call, A))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for piece in fragments(0, 3):
            await trio.testing.wait_all_tasks_blocked()
            call.hear(e.AudioReceived(piece, A), 0.0)
        await trio.testing.wait_all_tasks_blocked()
        call.hear(e.SessionClosed(initiator=e.Side.PLATFORM, code=None), 1.0)
    assert heard == [b"".join(fragments(0, 3))]


def test_a_track_has_to_be_named_where_there_are_several() -> None:
    call = tapped()
    with pytest.raises(ValueError, match=r"call\.audio\(track=…\)"):
        call.audio()
    with pytest.raises(ValueError, match=r"there is no track 'x'; there are none yet"):
        call.audio(track="x")
    call.hear(started(A), 0.0)
    with pytest.raises(ValueError, match=f"there are {A}"):
        call.audio(track="x")
    single = Call()
    single.hear(
        e.SessionOpened(
            dialect="x",
            profile="",
            ids={},
            call_id="1",
            caller_format=linear(8000),
            reply_format=None,
            capabilities=Capabilities(),
        ),
        0.0,
    )
    assert single.tracks == []
    with pytest.raises(ValueError, match="not in tracks"):
        single.audio(track=A)


# Case 19


async def test_19_a_slow_reader_loses_the_oldest_of_his_track_and_no_end() -> None:
    call = tapped(CallLimits(max_unread_audio=1.0, max_events=4))
    call.hear(started(A), 0.0)
    call.hear(started(B), 0.0)
    slow, quick = fragments(0, 40), fragments(100, 40)
    heard = b""
    for number in range(40):
        call.hear(e.AudioReceived(slow[number], A), number * 0.04)
        call.hear(e.AudioReceived(quick[number], B), number * 0.04)
        call.hear(e.Tolerated("gap", "again and again"), number * 0.04)
        heard += await call._next_of(call._find(B))
    call.hear(e.TrackEnded(A), 2.0)
    call.hear(e.TrackEnded(B), 2.0)
    assert heard == b"".join(quick)
    assert await read(call, A) == b"".join(slow[-25:])
    assert call.stats.dropped_by_track == {A: 15}
    assert call.stats.audio_dropped == 15
    assert await read(call, B) == b""
    events = [await anext(call) for _ in range(4)]
    assert [type(event) for event in events] == [e.Tolerated, e.Tolerated, e.TrackEnded, e.TrackEnded]
    assert call.stats.events_dropped == 40
    call.hear(e.TrackEnded(A), 2.0)
    for _ in range(10):
        call.hear(e.MessageIgnored("again and again"), 2.0)
    assert await anext(call) == e.TrackEnded(A)


def test_19_many_slow_parties_together_have_a_bound_too() -> None:
    tracks = Tracks(1.0)
    for number in range(2 * _MAX_FULL):
        tracks.hear(started(f"t{number}"))
        for piece in fragments(0, 25):
            tracks.keep(e.AudioReceived(piece, f"t{number}"), 0.0)
    assert sum(tracks.find(f"t{number}").size for number in range(2 * _MAX_FULL)) == _MAX_FULL * 25 * FRAGMENT
    assert tracks.all_dropped == sum(tracks.dropped.values()) == _MAX_FULL * 25


def test_tracks_without_end_are_forgotten() -> None:
    tracks = Tracks(1.0)
    for number in range(_MAX_TRACKS):
        tracks.hear(started(f"t{number}"))
    tracks.hear(started("more"))
    assert len(tracks.open) == _MAX_TRACKS + 1
    tracks.keep(e.AudioReceived(bytes(FRAGMENT), "t5"), 0.0)
    tracks.hear(e.TrackEnded("t5"))
    tracks.hear(started("another"))
    with pytest.raises(ValueError, match="no track 't5'"):
        tracks.find("t5")
    assert tracks.all_dropped == 1
    tracks.hear(e.TrackEnded("nobody"))
    tracks.keep(e.AudioReceived(b"", "nobody"), 0.0)
    assert tracks.all_dropped == 2


async def test_a_party_that_comes_back_goes_on_where_it_was() -> None:
    call = tapped()
    for number, piece in enumerate(fragments(0, 3)):
        call.hear(started(A), number)
        call.hear(e.AudioReceived(piece, A), number)
        call.hear(e.TrackEnded(A), number)
    assert call.tracks == []
    assert await read(call, A) == b"".join(fragments(0, 3))


def test_packets_are_read_one_by_one() -> None:
    tracks = Tracks(1.0)
    tracks.hear(e.TrackStarted(track=A, format=AudioFormat(encoding="opus", rate=48000, frame_size=0)))
    for data in (b"1", b"22"):
        tracks.keep(e.AudioReceived(data, A), 0.0)
    track = tracks.find(A)
    assert [track.take(), track.take(), track.take(), track.size] == [b"1", b"22", b"", 0]


# Recording


def sound(path: Path) -> tuple[int, npt.NDArray[np.int16]]:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return file.getframerate(), samples


def column(*parts: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Return runs of one value each: how many fragments, and which value."""
    return np.concatenate([np.full(640 * count, value, "<i2") for count, value in parts])


def test_parties_have_their_channels_and_their_time(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    writer = PartyWriter(path, FAST.audio)
    said: list[tuple[str, float, bytes]] = []
    for number in range(200):
        at = 7.0 + number * 0.04
        said.append(("a", at, (1).to_bytes(2, "little") * 640))
        if 50 <= number < 100 or number >= 150:
            # The network has it come a little early and late by turns.
            said.append(("b", at + number % 2 * 0.03, (2).to_bytes(2, "little") * 640))
        if number == 120:
            said.append(("c", at, (3).to_bytes(2, "little") * 640))
    for start in range(0, len(said), 30):
        writer.write(said[start : start + 30])
    writer.close()
    rate, samples = sound(path)
    assert rate == 16000
    assert writer.parties == ["a", "b", "c"]
    assert (samples[:, 0] == column((200, 1))).all()
    assert (samples[:, 1] == column((50, 0), (50, 2), (50, 0), (50, 2))).all()
    assert (samples[:, 2] == column((120, 0), (1, 3), (79, 0))).all()
    assert [each.name for each in tmp_path.iterdir()] == ["call.wav"]


def test_the_first_piece_has_its_time_to_the_sample(tmp_path: Path) -> None:
    writer = PartyWriter(tmp_path / "call.wav", FAST.audio)
    writer.write([])
    writer.write([("a", 3.0, b"\1\0" * 640), ("b", 3.02, b"\2\0" * 640), ("a", 3.05, b"\1\0" * 640)])
    writer.close()
    _, samples = sound(tmp_path / "call.wav")
    assert (samples[:, 0] == column((2, 1))).all()
    assert samples[:, 1].nonzero()[0].tolist() == list(range(320, 960))


def test_a_long_silence_takes_no_memory(tmp_path: Path) -> None:
    writer = PartyWriter(tmp_path / "call.wav", FAST.audio)
    writer.write([("a", 0.0, bytes(FRAGMENT)), ("b", 0.0, bytes(FRAGMENT))])
    writer.write([("a", 600.0, b"\1\0" * 640)])
    assert sum(len(samples) for party in writer._parties.values() for _, samples in party.pieces) <= 1280
    writer.close()
    _, samples = sound(tmp_path / "call.wav")
    assert len(samples) == 16000 * 600 + 640
    assert samples.nonzero()[0].min() == 16000 * 600


def test_parties_beyond_the_last_channel_are_counted(tmp_path: Path) -> None:
    writer = PartyWriter(tmp_path / "call.wav", FAST.audio)
    writer.write([(f"p{number}", 0.0, bytes(FRAGMENT)) for number in range(_MAX_PARTIES + 2)])
    writer.close()
    assert writer.refused == 2 * FRAGMENT
    assert sound(tmp_path / "call.wav")[1].shape == (640, _MAX_PARTIES)


def test_a_disk_that_fails_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = PartyWriter(tmp_path / "call.wav", FAST.audio)
    writer.write([("a", 0.0, b"\1\0" * 640)])

    def full(_path: Path, _target: Path) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        writer.write([("b", 0.0, bytes(FRAGMENT))])
    assert [each.name for each in tmp_path.iterdir()] == ["call.wav"]
    assert sound(tmp_path / "call.wav")[1].shape == (640, 1)


async def test_one_file_per_call_with_every_party(tmp_path: Path, logs: list[EventDict]) -> None:
    profile = YeastarProfile(rate=16000, callid="12.7", parties=(Party("a", "1"), Party("b", "2")))
    server = Server(apps.record(tmp_path), settings=SETTINGS)
    async with server.listening(["127.0.0.1:0"]):
        async with dial(url_of(server), "yeastar", profile=profile) as caller:
            caller.say_audio(b"\1\0" * 640 * 10)
            await trio.sleep(0.2)
            caller.say_audio(b"\2\0" * 640 * 5, track="b")
            await trio.sleep(0.25)
        with trio.fail_after(10):
            while server.calls:  # noqa: ASYNC110 (nobody sets an event for it)
                await trio.sleep(0.01)
    rate, samples = sound(tmp_path / "12.7-001.wav")
    assert rate == 16000
    assert samples.shape[1] == 2
    assert (samples[:6400, 0] == 1).all()
    [start, *_] = samples[:, 1].nonzero()[0]
    assert start / 16000 == pytest.approx(0.2, abs=0.06)
    assert (samples[start : start + 3200, 1] == 2).all()
    [recorded] = [entry for entry in logs if entry["event"] == "recorded"]
    assert recorded["parties"] == ["a", "b"]


async def test_the_built_in_handlers_take_a_tap(tmp_path: Path) -> None:
    for app in (apps.echo, apps.bridge(), apps.tone, apps.play(tmp_path / "none.wav")):
        server = Server(app, settings=SETTINGS)
        async with server.listening(["127.0.0.1:0"]):
            async with dial(url_of(server), "yeastar", profile=FAST) as caller:
                caller.say_audio(bytes(FRAGMENT * 3))
                await trio.sleep(0.2)
            with trio.fail_after(5):
                while server.calls:  # noqa: ASYNC110 (nobody sets an event for it)
                    await trio.sleep(0.01)
        assert not [how for how in server.endings if not how.startswith("ended by")], server.endings


async def test_the_secret_gets_the_pbx_in() -> None:
    async def handler(call: Call) -> None:
        await call.wait_ended()

    profile = YeastarProfile(rate=16000, secret_name="X-Tap-Key", secret="Bearer abc")
    rules = Admission(auth=[HeaderToken("x-tap-key", "Bearer abc")])
    server = Server(handler, settings=ServerSettings(admission=rules))
    async with server.listening(["127.0.0.1:0"]):
        with pytest.raises(DialFailed) as failed:
            async with dial(url_of(server), "yeastar", profile=profile):
                pass
        assert failed.value.status == 401
        settings = DialSettings(attempts=1, headers=profile.request_headers)
        async with dial(url_of(server), "yeastar", profile=profile, settings=settings) as caller:
            caller.say_audio(bytes(FRAGMENT))
            await trio.sleep(0.05)
            assert caller.ended is None
