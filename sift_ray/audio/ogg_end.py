"""Whether an Ogg stream ends where its writer ended it, and the file with it."""

from __future__ import annotations

from typing import Final

LONGEST_PAGE: Final = 27 + 255 + 255 * 255
"""Bytes of the longest page: its header, its table of segments, the segments."""

_CAPTURE: Final = b"OggS\x00"  # the pattern that pages begin with, and the version
_BEGIN: Final = _CAPTURE + b"\x02"
_END_OF_STREAM: Final = 0x04
_SERIAL: Final = slice(14, 18)  # of a page


def ends_whole(tail: bytes) -> bool:
    """Return whether the last page is whole and says that the stream ends with it (RFC 3533, section 6).

    Without that flag pages were lost: decoders take the last page that they find for the end, so that nothing else
    tells a file that was cut. What writers of tags put behind the last page does not matter.

    Args:
        tail: The last `LONGEST_PAGE` bytes of the file or more, or all of it.
    """
    start = tail.rfind(_CAPTURE)
    segments = start + 27
    if start < 0 or len(tail) < segments:
        return False
    table = tail[segments : segments + tail[segments - 1]]
    whole = len(table) == tail[segments - 1] and segments + len(table) + sum(table) <= len(tail)
    return whole and bool(tail[start + 5] & _END_OF_STREAM)


def has_several_streams(head: bytes, tail: bytes) -> bool:
    """Return whether another stream follows the first, or lies between its pages.

    The last page is then of another stream than the first page; or, of files of one stream put together, a page within
    the tail begins a stream.

    Args:
        head: The first 18 bytes of the file.
        tail: The last `LONGEST_PAGE` bytes of the file or more, or all of it.
    """
    last = tail[tail.rfind(_CAPTURE) :]
    other = head.startswith(_CAPTURE) and head[_SERIAL] != last[_SERIAL]
    return other or tail.rfind(_BEGIN) > tail.find(_CAPTURE)
