"""64-bit hashes of text columns, by NumPy alone: equal texts are found without keeping any."""

from __future__ import annotations

import functools
import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_BYTES_AT_ONCE: Final = 1 << 16  # (the powers of so many bytes stay in a processor's cache)
_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_NULL: Final = np.uint64(0x6A09E667F3BCC909)


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> Hashes:
    """Return a hash of each text (uint64 [rows]); null has one of its own.

    A polynomial modulo 2^64 over the bytes, and the length; then mixed.
    Texts that differ share a hash with a chance of about 2^-64, unless someone makes them so on purpose.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    array = array.cast(pa.large_string())
    made = np.zeros(len(array), np.uint64)
    if not len(array):
        return made
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    start = 0
    while start < len(array):
        end = int(np.searchsorted(offsets, offsets[start] + _BYTES_AT_ONCE, side="right")) - 1
        if end <= start:  # one text of more bytes than that
            long = hashlib.blake2b(data[offsets[start] : offsets[start + 1]].tobytes(), digest_size=8).digest()
            made[start] = int.from_bytes(long, "big")
            start += 1
            continue
        made[start:end] = _polynomials(data, offsets[start : end + 1])
        start = end
    lengths = np.diff(offsets).astype(np.uint64)
    made = mixed(made + lengths * np.uint64(_BASE))
    if array.null_count:
        made[np.asarray(array.is_null().to_numpy(zero_copy_only=False))] = _NULL
    return made


def _polynomials(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Hashes:
    powers, inverses = _powers()
    piece = data[offsets[0] : offsets[-1]]
    sums = np.zeros(len(piece) + 1, np.uint64)
    np.multiply(piece, powers[: len(piece)], out=sums[1:])
    np.cumsum(sums, out=sums)
    places = offsets - offsets[0]
    made: Hashes = np.diff(sums[places]) * inverses[places[:-1]]
    return made


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """Return the powers of the base and of its inverse, from 0 on."""
    one, *powers = (np.uint64(1), np.uint64(_BASE), np.uint64(pow(_BASE, -1, 2**64)))
    base, inverse = (np.cumprod(np.append(one, np.full(_BYTES_AT_ONCE, number, np.uint64))) for number in powers)
    return base, inverse


def mixed(values: Hashes) -> Hashes:
    """Return the values with their bits well mixed (the finaliser of splitmix64, Steele et al. 2014)."""
    made = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    made = (made ^ (made >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return made ^ (made >> np.uint64(31))


def joined(*columns: Hashes) -> Hashes:
    """Return one hash a row of several columns' hashes; their order counts."""
    made = np.zeros_like(columns[0])
    for column in columns:
        made = mixed(made * np.uint64(_BASE) + column + np.uint64(1))
    return made
