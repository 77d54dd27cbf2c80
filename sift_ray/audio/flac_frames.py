"""Whether a FLAC goes on behind the end that its header claims (RFC 9639)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 42
"""The magic, and the first block of metadata: STREAMINFO."""

TAIL_BYTES: Final = 1 << 16
"""Of most recordings this holds several frames."""

_LONGEST_HEADER: Final = 16
_BLOCKS: Final = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}
_RATES: Final = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_BITS: Final = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}


def _divided(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x107 if byte & 0x80 else 0)
    return byte


_REMAINDERS: Final = bytes(map(_divided, range(256)))


@dataclass(frozen=True, slots=True)
class _Stream:
    """What STREAMINFO tells of the frames to come."""

    shortest: int  # of a block, in samples
    longest: int
    rate: int
    channels: int
    bits: int


def goes_on(head: bytes, tail: bytes, claimed: int) -> bool:
    """Return whether a frame of the tail begins at or behind the end that the header claims.

    Frames are known by their header, its checksum, and by the one before, which ends where it begins: bytes that look
    like a frame are not rare. A frame whose predecessor does not begin in the tail is not seen.

    Args:
        head: The first `HEAD_BYTES` of the file.
        tail: The last `TAIL_BYTES`.
        claimed: Samples of a channel.
    """
    stream = _stream(head)
    if stream is None or claimed <= 0:
        return False
    next_first = -1
    for first, count in _frames_backward(tail, stream):
        if first + count == next_first:
            return True
        if first < claimed:
            return False
        next_first = first
    return False


def _stream(head: bytes) -> _Stream | None:
    if len(head) < HEAD_BYTES or head[:4] != b"fLaC" or head[4] & 0x7F:
        return None
    packed = int.from_bytes(head[18:26], "big")
    return _Stream(
        shortest=int.from_bytes(head[8:10], "big"),
        longest=int.from_bytes(head[10:12], "big"),
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
    )


def _frames_backward(tail: bytes, stream: _Stream) -> Iterator[tuple[int, int]]:
    """Yield (first sample, samples) of the frames that begin in the tail, the last one first."""
    # frames of one length are numbered; else their first sample is
    sync = b"\xff\xf8" if stream.shortest == stream.longest else b"\xff\xf9"
    place = len(tail)
    while (place := tail.rfind(sync, 0, place + 1)) >= 0:
        frame = _frame(tail[place : place + _LONGEST_HEADER], stream)
        if frame is not None:
            number, count = frame
            yield (number * stream.longest if sync[1] == 0xF8 else number), count


def _frame(header: bytes, stream: _Stream) -> tuple[int, int] | None:
    """Return (number, samples) of a frame by its header; None for what is no header of this stream's."""
    if len(header) < 6 or not _is_of(stream, header):
        return None
    block, rate = header[2] >> 4, header[2] & 15
    # the number is coded as UTF-8 codes characters, in up to 7 bytes
    ones = 8 - (header[4] ^ 0xFF).bit_length()
    if ones in (1, 8):
        return None
    length = max(ones, 1)
    number = header[4] & 0x7F >> ones
    for byte in header[5 : 4 + length]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    place = 4 + length
    count = _BLOCKS.get(block, 0)
    if block in (6, 7):
        count = int.from_bytes(header[place : place + block - 5], "big") + 1
        place += block - 5
    place += 0 if rate < 12 else 1 if rate == 12 else 2
    # of a whole header and its checksum nothing remains
    if not 0 < count <= stream.longest or len(header) <= place or _remainder(header[: place + 1]):
        return None
    return number, count


def _is_of(stream: _Stream, header: bytes) -> bool:
    """Whether a frame's header tells the stream's rate, channels and bits, or leaves them to STREAMINFO."""
    rate, channels, bits = header[2] & 15, header[3] >> 4, header[3] >> 1 & 7
    if rate == 15 or (rate < 12 and _RATES[rate] not in (0, stream.rate)):
        return False
    if channels + 1 != stream.channels and not (stream.channels == 2 and 8 <= channels <= 10):
        return False
    return not header[3] & 1 and (not bits or _BITS.get(bits) == stream.bits)


def _remainder(data: bytes) -> int:
    """Return what remains of a division by x^8 + x^2 + x + 1: 0 of bytes with their checksum behind them."""
    value = 0
    for byte in data:
        value = _REMAINDERS[value ^ byte]
    return value
