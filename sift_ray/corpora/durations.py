"""Seconds by clip name, for corpora of millions of clips."""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SHORTEST: Final = 1e-6
_LONGEST: Final = 1e9


class DurationTable:
    """Seconds by name in 12 bytes a name; the names themselves are not kept, a dict of millions would be too large.

    Keys are 64-bit hashes: of 10 million names two share one with a chance of about 1 in 400,000, and a name that is
    not in the table is found with a chance of about 1 in 2 million million.
    """

    def __init__(self, parts: list[tuple[memoryview, NDArray[np.float32]]]) -> None:
        self._parts = parts

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, float]]) -> DurationTable:
        """Read (name, seconds) pairs, however many.

        What is no duration of a clip (not above zero, not finite, decades) is left out: the audio itself can tell
        better. Of a name that is there twice the first stands.
        """
        # parts by the hash's first byte: each is sorted alone, so that no copy of the whole is ever made
        parts = [(bytearray(), array("f")) for _ in range(256)]
        for name, duration in pairs:
            if _SHORTEST <= duration <= _LONGEST:
                key = _key(name)
                keys, seconds = parts[key[0]]
                keys += key
                seconds.append(duration)
        table = cls([])
        for number, (keys, seconds) in enumerate(parts):
            unsorted = np.frombuffer(keys, np.uint64)
            order = np.argsort(unsorted, kind="stable")
            # (a search in a memoryview takes a third of the time of one in an array)
            table._parts.append((unsorted[order].data, np.frombuffer(seconds, np.float32)[order]))
            parts[number] = (bytearray(), array("f"))
        return table

    @property
    def nbytes(self) -> int:
        """Bytes that the table holds."""
        return sum(keys.nbytes + seconds.nbytes for keys, seconds in self._parts)

    def get(self, name: str) -> float | None:
        """Return the name's seconds (as exact as float32 is), or None."""
        digest = _key(name)
        keys, seconds = self._parts[digest[0]]
        key = int.from_bytes(digest, sys.byteorder)
        index = bisect_left(keys, key)
        if index == len(keys) or keys[index] != key:
            return None
        return float(seconds.item(index))


def _key(name: str) -> bytes:
    # a name may hold the surrogates that stand for bytes that are not UTF-8
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
