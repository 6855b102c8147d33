"""Recordings of a real Asterisk, replayed into the application's end: it must understand all, and say the same.

Where our engine says more or other than the recorded application, by its own rules:

* It asks for the queue level just before `FLUSH_MEDIA`, to tell what was heard, and ends a pause after it.
* What it knows that Asterisk refuses, it refuses itself (or does it itself, in passthrough).
* While the caller is only listened to, it keeps back what belongs behind audio.
* It spells commands in one way; the recorded application also tried others, to see what happens.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core import transcript
from callstream_core.app_session import AppSession
from callstream_core.dialects.asterisk import DIALECT
from callstream_core.errors import LocalProtocolError, Malformed
from callstream_core.limits import PlayoutSettings
from callstream_core.machine import State
from callstream_core.outputs import Output, Transmit
from tests.dialects.recordings import APP, FILES, FOLDER, PLATFORM, Recording, load

# The recorded application sent all it had at once, and asked for nothing by itself.
SETTINGS = PlayoutSettings(send_ahead=None, status_interval=None)


class Application:
    """Our application's end in the place of the recorded one: it hears the same, and is asked for the same."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.session = AppSession(DIALECT, settings=SETTINGS, now=0.0)
        self.heard: list[Output] = []
        self.said: list[str] = []
        self.expected: list[str] = []
        self.refusals: list[str] = []
        self._held: list[str] = []
        # What it was dialled with, the application cannot know.
        self._direction = e.Direction.BOTH
        self._platform = DIALECT.codec(recording.profile)
        # Knows what the application may know, as its messages come.
        self._app = DIALECT.codec(None)

    def run(self) -> None:
        for line in self.recording.lines:
            session = self.session
            while (due := session.next_timeout()) is not None and due < line.at:
                self._do(session.handle_timeout(due))
            if line.speaker == PLATFORM:
                if line.kind in (transcript.TEXT, transcript.BINARY):
                    self._app.decode_event(line.message)
                    self._do(session.receive(line.message, line.at))
                elif line.kind in (transcript.CLOSE, "tcp-closed"):
                    self._do(session.receive_close(line.code, line.at))
            elif line.kind in (transcript.TEXT, transcript.BINARY) and line.is_final and line.speaker == APP:
                self._say(line.message, line.at)

    def _do(self, outputs: list[Output]) -> list[str]:
        """Keep what was heard; return what is said."""
        self.heard += [output for output in outputs if not isinstance(output, Transmit)]
        said = [output.message for output in outputs if isinstance(output, Transmit)]
        texts = [message for message in said if isinstance(message, str)]
        self.said += texts
        return texts

    def _say(self, message: str | bytes, now: float) -> None:
        try:
            [command] = self._platform.decode_command(message)
            assert not isinstance(command, e.PeerMisbehaved)
        except Malformed:
            # What Asterisk cannot read, our engine cannot say.
            return
        if isinstance(message, str):
            self._expect(command)
        try:
            said = self._do(self.session.send(command, now))
        except LocalProtocolError as error:
            self.refusals.append(str(error))
            said = []
        if isinstance(command, c.ClearPlayout) and said:
            [flush] = self._app.encode_command(command)
            [ask], [resume] = (self._app.encode_command(extra) for extra in (c.RequestStatus(), c.ResumePlayout()))
            assert said in ([flush], [ask, flush], [flush, resume], [ask, flush, resume])
            self.said[-len(said) :] = [str(flush)]

    def _expect(self, command: c.Command) -> None:
        if self._app.refusal(command, self._direction) is not None:
            return
        [text] = self._app.encode_command(command)
        assert isinstance(text, str)
        if self._direction is e.Direction.IN and isinstance(command, c.ReportDrained):
            self._held.append(text)
            return
        self.expected.append(text)
        if isinstance(command, c.SetDirection):
            self._direction = command.direction
            if self._direction is not e.Direction.IN:
                self.expected += self._held
                self._held.clear()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_event_reads_and_writes_the_same(path: Path) -> None:
    recording = load(path)
    app, platform = DIALECT.codec(None), DIALECT.codec(recording.profile)
    for line in recording.lines:
        if line.speaker == PLATFORM and line.kind in (transcript.TEXT, transcript.BINARY):
            event, *_ = app.decode_event(line.message)
            assert not isinstance(event, e.MessageIgnored)
            [message] = platform.encode_event(event)
            if isinstance(event, e.PlatformFailed) and "SET_MEDIA_DIRECTION" in event.text:
                # Some errors end in a line feed, which the application's end leaves out.
                assert str(line.message).replace("\\n", "").rstrip("\n") == message
            else:
                assert line.message == message


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_application_understands_all_and_says_the_same(path: Path) -> None:
    application = Application(load(path))
    application.run()
    heard = application.heard
    assert [thing for thing in heard if isinstance(thing, e.PeerMisbehaved | e.MessageIgnored)] == []
    assert application.said == application.expected
    assert all("would answer" in refusal or "would discard" in refusal for refusal in application.refusals)
    lines = application.recording.lines
    frames = sum(line.kind == transcript.BINARY and line.speaker == PLATFORM for line in lines)
    assert sum(isinstance(thing, e.AudioReceived) for thing in heard) == frames
    assert isinstance(heard[0], e.SessionOpened)
    assert isinstance(heard[-1], e.SessionClosed)
    assert application.session.state is State.CLOSED


def test_marks_are_answered_as_they_were() -> None:
    application = Application(load(FOLDER / "marks-json.jsonl"))
    application.run()
    names = [thing.name for thing in application.heard if isinstance(thing, e.MarkReached)]
    said = [line.text or "" for line in application.recording.lines if line.speaker == PLATFORM]
    assert len(names) == sum("MEDIA_MARK_PROCESSED" in text for text in said) > 3


def test_a_replay_notices_an_application_that_says_something_else() -> None:
    recording = load(FOLDER / "marks-json.jsonl")
    application = Application(recording)
    application.session.receive(recording.opening.message, 0.0)
    application._do(application.session.send(c.PlaceMark("never asked for"), 0.0))
    application.run()
    assert application.said != application.expected
