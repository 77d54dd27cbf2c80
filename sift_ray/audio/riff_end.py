"""Whether audio lies behind what a WAV's header claims."""

from __future__ import annotations

import struct
from io import SEEK_END
from typing import BinaryIO, Final

# what comes before the audio is mostly shorter; where it is not, the chunks are gone through one by one
_HEAD_BYTES: Final = 1024
_MOST_CHUNKS: Final = 100
_BLOCK: Final = 1 << 20
# so few bytes are no audio
_NEGLIGIBLE: Final = 8
# data sizes of writers that could not know the size: 0, and from here on
_UNKNOWN_SIZE: Final = 0x7FFF_0000
_PRINTABLE: Final = range(0x20, 0x7F)
# tags that writers put behind the file as they are, not as chunks
_TAGS: Final = (b"ID3", b"TAG", b"APETAGEX")


def bytes_behind_data(file: BinaryIO) -> int:
    """Return how many bytes that are neither chunks nor padding follow the `data` chunk of a WAV, mostly 0.

    They are audio that the header does not claim, as when a size was written for a recording that then went on. Zeros,
    and tags as MP3s have them, are not counted.

    Args:
        file: Seekable, anywhere; it is left elsewhere. What does not begin as RIFF (RF64, W64, AIFF) is not looked at.
    """
    size = file.seek(0, SEEK_END)
    end = _end_of_data(file, size)
    if end is None or size - end <= _NEGLIGIBLE:
        return 0
    # chunks begin at even places, but not all writers see to it
    if any(_is_chunk(_at(file, place), size - place) for place in (end, end + end % 2)):
        return 0
    file.seek(end)
    while block := file.read(_BLOCK):
        held = len(block.lstrip(b"\0"))
        if held:
            rest = held + size - file.tell()
            return rest if rest > _NEGLIGIBLE else 0
    return 0


def _end_of_data(file: BinaryIO, size: int) -> int | None:
    """Return where the content of the `data` chunk ends; None where that can't be known."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    place = 12
    for _ in range(_MOST_CHUNKS):
        chunk = head[place : place + 8] if place + 8 <= len(head) else _at(file, place)[:8]
        if len(chunk) < 8:
            return None
        name, content = struct.unpack("<4sI", chunk)
        place += 8 + content
        if name == b"data":
            return place if 0 < content < _UNKNOWN_SIZE and place <= size else None
        place += content % 2
    return None


def _at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(_NEGLIGIBLE + 1)


def _is_chunk(start: bytes, most: int) -> bool:
    """Whether a chunk or a tag can begin with these bytes, of the file's `most` last ones."""
    if start.startswith(_TAGS):
        return True
    name, content = start[:4], int.from_bytes(start[4:8], "little")
    # a list of tags may be cut: it is no audio
    return name == b"LIST" or (8 + content <= most and all(byte in _PRINTABLE for byte in name))
