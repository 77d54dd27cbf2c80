"""Durations that audio headers claim, without decoding anything."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

import soundfile as sf

UNKNOWN_FRAMES: Final = 1 << 62
"""From here on a frame count is libsndfile's way of saying that a (FLAC) header tells none."""

_SNIFFED: Final = 12


class HeaderError(Exception):
    """A header gives no duration. `reason`: empty_audio or unreadable_header."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def header_duration(file: str | BinaryIO, name: str) -> float:
    """Return the seconds of audio that a file's header claims, without decoding it.

    What libsndfile can't read is tried with PyAV, where its first bytes are those of MP4 (m4a), ADTS (aac) or WebM.
    An MP3 that begins with no Xing or VBRI tag claims nothing: then it is taken to have one bit rate throughout.

    Args:
        file: A local path or an open, seekable binary file.
        name: What errors call the file.

    Raises:
        HeaderError: neither library can read the header, or it claims no audio.
    """
    try:
        with sf.SoundFile(file) as sound:
            frames, rate = sound.frames, sound.samplerate
    except (sf.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        container = _container(file)
        if container is not None:
            return _container_duration(file, container, name)
        problem = error.error_string if isinstance(error, sf.LibsndfileError) else error
        raise HeaderError("unreadable_header", f"{name}: {problem}") from error
    if frames >= UNKNOWN_FRAMES:
        raise HeaderError("unreadable_header", f"{name}: the header tells no length; encode the file again")
    if frames <= 0:
        raise HeaderError("empty_audio", f"{name}: the header claims no audio")
    return float(frames) / float(rate)


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's name of the container that begins with these bytes (12 are enough), None for any other.

    Known are those that libsndfile can't read: `mp4` (m4a), `aac` (ADTS) and `matroska` (WebM).
    """
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    # the sync word and layer 0, which no MP3 has
    return "aac" if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None


def _container(file: str | BinaryIO) -> str | None:
    try:
        with _opened(file) as stream:
            return container_of(stream.read(_SNIFFED))
    except (OSError, ValueError):
        return None  # (libsndfile's error stands)


def _opened(file: str | BinaryIO) -> Any:
    if isinstance(file, str):
        return Path(file).open("rb")
    file.seek(0)
    return nullcontext(file)


def _container_duration(file: str | BinaryIO, container: str, name: str) -> float:
    try:
        import av
    except ImportError as error:
        detail = f"{name}: libsndfile can't read {container}; pip install 'sift-ray[m4a]' for PyAV, which can"
        raise HeaderError("unreadable_header", detail) from error
    # an open file and a fixed format: nothing in the file can make FFmpeg open something else
    try:
        with (
            _opened(file) as stream,
            av.open(stream, format=container, metadata_errors="ignore") as opened,
        ):
            if not opened.streams.audio:
                raise HeaderError("unreadable_header", f"{name}: no audio is in it")
            audio = opened.streams.audio[0]
            seconds = 0.0
            if container != "aac" and audio.duration:
                seconds = float(audio.duration * audio.time_base)
            elif container != "aac" and opened.duration:
                seconds = opened.duration / av.time_base
            else:
                # ADTS has no header of the whole, and a WebM from a live recording no length: packets have theirs
                seconds = float(sum(packet.duration or 0 for packet in opened.demux(audio)) * audio.time_base)
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise HeaderError("unreadable_header", f"{name}: {error}") from error
    if seconds <= 0:
        raise HeaderError("empty_audio", f"{name}: the header claims no audio")
    return seconds
