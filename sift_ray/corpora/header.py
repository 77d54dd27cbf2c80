"""Durations that audio headers claim, without decoding anything."""

from __future__ import annotations

from typing import BinaryIO, Final

import soundfile as sf

UNKNOWN_FRAMES: Final = 1 << 62
"""From here on a frame count is libsndfile's way of saying that a (FLAC) header tells none."""


class HeaderError(Exception):
    """A header gives no duration. `reason`: missing_audio, empty_audio or unreadable_header."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def header_duration(file: str | BinaryIO, name: str) -> float:
    """Return the seconds of audio that a file's header claims, without decoding it.

    Args:
        file: A local path or an open, seekable binary file.
        name: What errors call the file.

    Raises:
        HeaderError: libsndfile can't read the header, or it claims no frames.
    """
    try:
        info = sf.info(file)
    except (sf.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        raise HeaderError("unreadable_header", f"{name}: {error}") from error
    if info.frames >= UNKNOWN_FRAMES:
        raise HeaderError("unreadable_header", f"{name}: the header tells no length; encode the file again")
    if info.frames <= 0:
        raise HeaderError("empty_audio", f"{name}: the header claims no audio")
    return float(info.frames) / float(info.samplerate)
