"""Phone calls for LiveKit Agents, without a room: audio in and out, with exact positions of playback."""

from callstream_livekit.audio import CallstreamAudioInput, CallstreamAudioOutput, connect

__all__ = ["CallstreamAudioInput", "CallstreamAudioOutput", "connect"]
