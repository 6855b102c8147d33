"""Phone calls for LiveKit Agents, without a room: audio in and out, with exact positions of playback."""

try:
    import livekit.agents  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"callstream_livekit needs LiveKit Agents ({error}): pip install 'callstream[livekit]'", name=error.name
    ) from error

from callstream_livekit.audio import CallstreamAudioInput, CallstreamAudioOutput, connect

__all__ = ["CallstreamAudioInput", "CallstreamAudioOutput", "connect"]
