"""Hashes with the places where they were seen, more than memory holds.

They are parted by their first bits; what is held goes to a file a part whenever it grows too large. A part is read
back and sorted by itself, so memory is that of the buffers and of one part, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sift_ray.validate.hashing import Hashes

Places = NDArray[np.int64]

_PARTS_BITS: Final = 7


class Sorted(NamedTuple):
    """A part: hashes in order (uint64 [n]), and of equal ones the places in the order that they were added."""

    hashes: Hashes
    places: Places


class HashSpill:
    """Any number of (hash, place); a hash's entries all come back in one part."""

    def __init__(self, folder: Path, *, held_bytes: int = 32 << 20) -> None:
        """Take a scratch folder that is not there yet; the caller deletes it.

        Args:
            folder: where parts go, 16 bytes an entry.
            held_bytes: what is held before it goes there; less than that never touches the disk.
        """
        folder.mkdir()
        self._folder = folder
        self._held_bytes = held_bytes
        self._held: list[list[NDArray[np.uint64]]] = [[] for _ in range(1 << _PARTS_BITS)]
        self._bytes = 0
        self.entries = 0

    def add(self, hashes: Hashes, places: Places) -> None:
        """Put entries in; both arrays have one length."""
        entries = np.column_stack([hashes, places.view(np.uint64)])
        part = (hashes >> np.uint64(64 - _PARTS_BITS)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=1 << _PARTS_BITS))
        entries = entries[order]
        start = 0
        for number, end in enumerate(ends.tolist()):
            if end > start:
                self._held[number].append(entries[start:end])
            start = end
        self.entries += len(hashes)
        self._bytes += entries.nbytes
        if self._bytes > self._held_bytes:
            self._put_away()

    def _put_away(self) -> None:
        for number, held in enumerate(self._held):
            if held:
                with self._file(number).open("ab") as file:
                    for entries in held:
                        file.write(entries.tobytes())
                held.clear()
        self._bytes = 0

    def _file(self, number: int) -> Path:
        return self._folder / f"part-{number:03d}"

    def part(self, number: int) -> Sorted:
        """Return a part, from 0 to `PARTS` - 1, sorted."""
        file = self._file(number)
        pieces = list(self._held[number])
        if file.exists():
            pieces.insert(0, np.fromfile(file, np.uint64).reshape(-1, 2))
        entries = np.concatenate(pieces) if pieces else np.empty((0, 2), np.uint64)
        hashes = np.ascontiguousarray(entries[:, 0])
        order = np.argsort(hashes, kind="stable")
        return Sorted(hashes[order], np.ascontiguousarray(entries[:, 1])[order].view(np.int64))

    def parts(self) -> Iterator[Sorted]:
        """Yield every part, sorted."""
        return (self.part(number) for number in range(PARTS))


PARTS: Final = 1 << _PARTS_BITS
"""How many parts there are, of whatever table: equal hashes lie in parts of one number."""


def repeats(part: Sorted) -> tuple[Places, Places]:
    """Return the places of all entries whose hash came before in the part, and for each the place of the first."""
    if not len(part.hashes):
        return part.places, part.places
    begins = np.append(True, part.hashes[1:] != part.hashes[:-1])
    firsts = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    return part.places[~begins], part.places[firsts[~begins]]


def absent(part: Sorted, known: Sorted) -> NDArray[np.bool_]:
    """Return which entries of `part` have a hash that `known`, the other table's part of the same number, lacks."""
    if not len(known.hashes):
        return np.ones(len(part.hashes), np.bool_)
    found = np.minimum(np.searchsorted(known.hashes, part.hashes), len(known.hashes) - 1)
    missing: NDArray[np.bool_] = known.hashes[found] != part.hashes
    return missing
