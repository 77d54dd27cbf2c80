"""Clips of the formats that only FFmpeg knows, through PyAV: m4a, bare AAC, WebM."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.audio.errors import DecodeError
from sift_ray.audio.selection import NativeClip, Selection

HEAD_BYTES: Final = 12
"""What `stream_format` needs of a file."""

# lossy decoders overshoot full scale, or stay just below it
_FULL_SCALE: Final = 32767 / 32768
# the last frame may be left out, or padded: an AAC frame is at most 2048 samples, an MP3's 1152
_SLACK_FRAMES: Final = 2 * 2048
# so much before a span decoding begins: an AAC frame needs the one before it
_LEAD_S: Final = 0.5
_MP4: Final = "mov"


def stream_format(head: bytes) -> str | None:
    """Return FFmpeg's name for the container that a file's first bytes tell, or None for one that is not read."""
    if head[4:8] == b"ftyp":
        return _MP4
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    return None


def read_stream(file: BinaryIO, container: str, selection: Selection) -> NativeClip:
    """Read the part of a file that is asked for, and no more than `max_s` and a second of it.

    A bare AAC or MP3 stream claims no length: where it was cut between two frames, nothing tells.

    Args:
        file: Seekable, at its start.
        container: FFmpeg's name of the format.
        selection: The part.

    Raises:
        DecodeError: as `decode` says; unsupported_format where PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        detail = f"{selection.name}: to read this ({container}), install sift-ray[m4a]"
        raise DecodeError("unsupported_format", detail) from error
    try:
        # tags need not be UTF-8
        with av.open(file, format=container, metadata_errors="ignore") as opened:
            return _read(opened, container, selection)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError("unreadable_audio", f"{selection.name}: {error}") from error


def _read(opened: Any, container: str, selection: Selection) -> NativeClip:
    from av import AudioResampler

    name = selection.name
    stream = next(iter(opened.streams.audio), None)
    if stream is None:
        raise DecodeError("unreadable_audio", f"{name}: no stream of audio in it")
    claimed_s = _claimed_s(opened, stream, container)
    if claimed_s is not None and selection.end_s is None and not selection.cut and claimed_s > selection.max_s:
        raise selection.too_long(claimed_s)
    seeks = container == _MP4 and selection.start_s > _LEAD_S  # elsewhere times are rounded, or guessed
    if seeks:
        opened.seek(int((selection.start_s - _LEAD_S) / stream.time_base), stream=stream)
    # packed: of planar frames PyAV gives no more than 8 channels rightly
    packed = AudioResampler(format="flt")
    parts: list[NDArray[np.float32]] = []
    rate = place = first = enough = 0  # frames; `place` is where the next part begins
    for decoded in opened.decode(stream):
        if not rate:
            rate = decoded.sample_rate
            selection.check_layout(decoded.layout.nb_channels, rate)
            first = selection.first(rate)
            enough = first + (selection.span(rate) or selection.most(rate) + rate)
            if seeks:
                place = round((decoded.pts - (stream.start_time or 0)) * stream.time_base * rate)
        for frame in packed.resample(decoded):
            part = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
            # what lies before the clip is dropped as it comes
            parts.append(part[max(0, first - place) :])
            place += len(part)
        if place >= enough:
            break
    else:
        place = _checked_end(place, rate, claimed_s, selection)
    _, count, cut = selection.frames(place, rate)
    samples = np.concatenate(parts)[:count]
    return NativeClip(selection.of_channel(samples), rate, _FULL_SCALE, cut)


def _claimed_s(opened: Any, stream: Any, container: str) -> float | None:
    """Return the seconds that the header claims; None where there are none, or FFmpeg guesses."""
    if container == _MP4 and stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return None if container != "matroska" or opened.duration is None else opened.duration / 1e6


def _checked_end(held: int, rate: int, claimed_s: float | None, selection: Selection) -> int:
    """Return how many frames a stream has that ended after `held`, without the padding behind those claimed."""
    name = selection.name
    if not held:
        raise DecodeError("empty_audio", f"{name}: no audio in it")
    if claimed_s is None:
        return held
    claimed = round(claimed_s * rate)
    if held < claimed - _SLACK_FRAMES:
        raise DecodeError("truncated_audio", f"{name}: {held} of the {claimed} frames that it claims")
    if held > claimed + _SLACK_FRAMES:
        raise DecodeError("wrong_length", f"{name}: the header claims {claimed} frames, and there are {held}")
    return min(held, claimed)
