"""Frames of our own, and the translation of events into frames."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import DataFrame, Frame, InputDTMFFrame, InputTransportMessageFrame, SystemFrame

from callstream_core import events as e


@dataclass
class CallstreamHeardFrame(SystemFrame):
    """After an interruption, in both directions: how much of the utterance the caller heard."""

    heard: float = 0.0
    """Seconds that were played to the caller."""
    discarded: float = 0.0
    """Seconds that were not."""
    is_estimated: bool = False
    """True where the platform cannot tell, and the clock was asked instead."""


@dataclass
class CallstreamMarkFrame(DataFrame):
    """Push it behind audio to be told when the caller has heard that audio."""

    mark: str = ""


@dataclass
class CallstreamMarkReachedFrame(SystemFrame):
    """The answer to `CallstreamMarkFrame`: exactly one for each."""

    mark: str = ""
    was_played: bool = True
    """False where the audio before the mark was cleared."""
    is_estimated: bool = False


def frame_of(event: e.Event) -> Frame | None:
    """Return the frame that says `event`, if there is one; audio is not translated here."""
    if isinstance(event, e.DigitReceived):
        try:
            return InputDTMFFrame(button=KeypadEntry(event.digit))
        except ValueError:
            # Pipecat knows no A to D.
            return InputTransportMessageFrame(message={"event": "digit", "digit": event.digit})
    if isinstance(event, e.MarkReached):
        was_played = event.outcome is e.MarkOutcome.PLAYED
        return CallstreamMarkReachedFrame(mark=event.name, was_played=was_played, is_estimated=event.is_estimated)
    if isinstance(event, e.SessionOpened):
        return InputTransportMessageFrame(message=opening_message(event))
    return None


def opening_message(opened: e.SessionOpened) -> dict[str, object]:
    """Return what the platform announced, as a message that any service can read."""
    return {
        "event": "opened",
        "dialect": opened.dialect,
        "call_id": opened.call_id,
        "ids": dict(opened.ids),
        "variables": dict(opened.variables),
    }
