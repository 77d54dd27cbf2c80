"""The rule on a release in several formats: each has the rows of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from sift_ray.validate.duplicates import Explain, Repeats
from sift_ray.validate.findings import Findings
from sift_ray.validate.hashing import Hashes, joined, text_hashes
from sift_ray.validate.reading import shard_numbers
from sift_ray.validate.shards import Shard
from sift_ray.validate.spill import PARTS, HashSpill, Places, Sorted

RULE: Final = "formats_differ"


class Held(NamedTuple):
    """What one format holds: its files, and the rows of `Duplicates`."""

    shards: Sequence[Shard]
    rows: HashSpill


def report_missing(mine: Held, other: Held, found: Findings, explain: Explain) -> None:
    """Report the rows that another format lacks: of their split and language, with their source, id, texts and task.

    (Only one of the formats has sample ids.) A row that stands there several times must do so in the other.
    """
    here, there = _folders(mine), _folders(other)
    lacking = Repeats(RULE)
    for number in range(PARTS):
        places = _absent(mine.rows.part(number), here, other.rows.part(number), there)
        lacking.add(places, places)
    lacking.settle(found, explain)


def _folders(held: Held) -> Hashes:
    """Return a hash of each file's split and language."""
    return text_hashes(pa.array([f"{shard.split}/{shard.language}" for shard in held.shards], pa.string()))


def _absent(part: Sorted, here: Hashes, other: Sorted, there: Hashes) -> Places:
    """Return the places of a part's rows that are more often in it than in the other table's part of that number."""
    mine, theirs = (
        joined(rows.hashes, folders[shard_numbers(rows.places)]) for rows, folders in ((part, here), (other, there))
    )
    order = np.argsort(mine, kind="stable")
    mine, theirs = mine[order], np.sort(theirs)
    before = np.arange(len(mine)) - np.searchsorted(mine, mine)  # how many equal ones come before each
    held = np.searchsorted(theirs, mine, side="right") - np.searchsorted(theirs, mine)
    return part.places[order[before >= held]]
