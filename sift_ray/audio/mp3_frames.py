"""The frames of an MP3, counted without decoding: its header may tell no length, and decoders then guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# kbit/s of layer III by the header's four bits, from 1 to 14
_BITRATES: Final = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Hz by the header's two bits, of MPEG 1; 2 has half of it, 2.5 a quarter
_RATES: Final = (44_100, 48_000, 32_000)
_TAG_REACH: Final = 192  # bytes of a first frame in which its tag begins


@dataclass(frozen=True, slots=True)
class Mp3Frames:
    """What a walk over the frames found.

    Attributes:
        samples: Samples of a channel in all frames, with the encoder's delay and padding.
        tagged: Whether a first frame without audio tells the length (Xing, Info, VBRI).
        cut_short: Whether the file ends within a frame.
        damaged_at: The byte at which no frame begins although frames come later; None: nowhere.
    """

    samples: int
    tagged: bool
    cut_short: bool
    damaged_at: int | None


def walk_frames(data: bytes) -> Mp3Frames | None:
    """Count the frames of a layer III stream, from header to header.

    Args:
        data: The whole file; ID3v2 before the audio and tags of any kind behind it are passed over.

    Returns:
        None where no frame of layer III comes first, or its length can't be known from its header (free format).
    """
    place = _behind_tags(data)
    kind = _kind(data[place : place + 4])
    if kind is None or not _length(data[place : place + 4], kind):
        return None
    first = data[place : place + _TAG_REACH]
    lengths = _Lengths(kind)
    frames, last = 0, len(data) - 4
    while place <= last:
        length = lengths[data[place : place + 4]]
        if not length:
            break
        place += length
        frames += 1
    tagged = any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))
    return Mp3Frames(
        samples=(frames - tagged) * (1152 if kind[0] == 1 else 576),
        tagged=tagged,
        cut_short=place > len(data),
        damaged_at=place if _has_frames(data, place, kind) else None,
    )


class _Lengths(dict[bytes, int]):
    """Frames' bytes by header: a file has few different ones."""

    def __init__(self, kind: tuple[int, int]) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, header: bytes) -> int:
        self[header] = length = _length(header, self._kind)
        return length


def _behind_tags(data: bytes) -> int:
    place = 0
    while data[place : place + 3] == b"ID3" and len(data) >= place + 10:
        size = 0
        for byte in data[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        place += 10 + size + (10 if data[place + 5] & 0x10 else 0)
    return place


def _kind(header: bytes) -> tuple[int, int] | None:
    """Return (1 for MPEG 1, else 2; samples in a second), or None for what is no header of layer III."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate = header[1] >> 3 & 3, header[2] >> 2 & 3
    if version == 1 or rate == 3:
        return None
    return (1, _RATES[rate]) if version == 3 else (2, _RATES[rate] // (2 if version == 2 else 4))


def _length(header: bytes, kind: tuple[int, int]) -> int:
    """Return a frame's bytes; 0 for a header that is none, or of another kind than the first."""
    bitrate = header[2] >> 4
    if _kind(header) != kind or bitrate in (0, 15):
        return 0
    slots = 144_000 if kind[0] == 1 else 72_000
    return slots * _BITRATES[kind[0]][bitrate - 1] // kind[1] + (header[2] >> 1 & 1)


def _has_frames(data: bytes, place: int, kind: tuple[int, int]) -> bool:
    """Whether two frames in a row begin anywhere from `place` on: one alone may be chance."""
    while (place := data.find(b"\xff", place)) >= 0:
        length = _length(data[place : place + 4], kind) if place + 4 <= len(data) else 0
        if length and place + length + 4 <= len(data) and _length(data[place + length : place + length + 4], kind):
            return True
        place += 1
    return False
