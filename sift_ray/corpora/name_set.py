"""A set of names in eight bytes each: a corpus has millions, too many for a set of strings."""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_left

import numpy as np


class NameSet:
    """Names by their 64-bit hashes; cheap to ask once all of them are in.

    That any two of ten million names share a hash is a chance of about 1 in 370,000.
    """

    def __init__(self) -> None:
        self._keys = bytearray()
        self._sorted: memoryview | None = None

    def add(self, name: str) -> None:
        """Put a name in."""
        self._sorted = None  # a buffer that is looked at can't grow
        self._keys += _key(name)

    def __contains__(self, name: str) -> bool:
        if self._sorted is None:
            np.frombuffer(self._keys, dtype=np.uint64).sort()  # in place
            self._sorted = memoryview(self._keys).cast("Q")
        key = int.from_bytes(_key(name), sys.byteorder)
        place = bisect_left(self._sorted, key)
        return place < len(self._sorted) and self._sorted[place] == key


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
