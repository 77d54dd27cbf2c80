"""Rules on what a file's place says of its rows, and on the shape of their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.validate.findings import Example, Findings
from sift_ray.validate.messages import ABOUT_ONE, ABOUT_TWO, ABOUT_TWO_TEXT_FIRST, SHAPES, any_of, shape_text
from sift_ray.validate.reading import Batch
from sift_ray.validate.shards import Listing, known_language

_FOLDER_COLUMNS: Final = (("task", "task_of_folder"), ("split", "split_of_folder"), ("language", "language_of_folder"))


def differs(column: pa.Array, value: str) -> NDArray[np.bool_]:
    """Return which values of a column are another."""
    made: NDArray[np.bool_] = pc.not_equal(column, value).to_numpy(zero_copy_only=False)
    return made


def check_listing(listing: Listing, found: Findings) -> None:
    """Look at the files before any is read."""
    for rule, paths in (("stray_file", listing.stray), ("misplaced_file", listing.misplaced)):
        found.looked(rule, len(listing.shards) + len(paths), "files")
        found.add(rule, len(paths), [Example(path, None, "") for path in paths])
    strange = [shard for shard in listing.shards if not known_language(shard)]
    for rule in ("unreadable_file", "empty_file", "schema", "unknown_language"):
        found.looked(rule, len(listing.shards), "files")
    found.add("unknown_language", len(strange), [Example(s.path, None, s.language) for s in strange])


class Structure:
    """Looks at folders, columns and the shape of messages."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, Example]] = {}

    def look(self, batch: Batch, found: Findings) -> None:
        """Look at some rows."""
        shard = batch.shard
        for name, rule in _FOLDER_COLUMNS:
            if batch.has(name):
                column = batch.column(name)
                mask = differs(column, getattr(shard, name))
                found.rows(rule, shard.path, batch.numbers, mask, lambda i, column=column: f"{column[i]}")  # type: ignore[misc]
        shape = batch.said.shape
        fits = any_of(shape, SHAPES.get(shard.task, (ABOUT_ONE,)))
        found.rows("message_shape", shard.path, batch.numbers, ~fits, lambda i: shape_text(int(shape[i])))
        if shard.task == "closed_ended_comparison":
            self._count(batch, (ABOUT_TWO, ABOUT_TWO_TEXT_FIRST))

    def _count(self, batch: Batch, orders: Sequence[int]) -> None:
        for order in orders:
            rows = np.flatnonzero(batch.said.shape == np.uint64(order))
            if rows.size:
                example = Example(batch.shard.path, int(batch.numbers[rows[0]]), shape_text(order))
                count, first = self._orders.get(order, (0, example))
                self._orders[order] = (count + rows.size, first)

    def finish(self, found: Findings) -> None:
        """Settle what only the whole release can tell."""
        if len(self._orders) > 1:
            found.looked("message_order", sum(count for count, _ in self._orders.values()), "comparisons")
            count, _ = min(self._orders.values(), key=lambda entry: entry[0])
            found.add("message_order", count, [example for _, example in self._orders.values()])
