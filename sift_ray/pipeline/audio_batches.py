"""Batches with decoded audio in them: ragged int16, never padded; rows that can't go on are marked, and stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sift_ray.corpora.values import one_line

AUDIO = pa.list_(pa.int16())
FULL_SCALE = 32768.0
"""An int16 sample divided by this is an amplitude in [-1, 1)."""


class Rejects:
    """Marks rows of a batch as rejected; a row's first reason stands."""

    def __init__(self, table: pa.Table) -> None:
        self._names = ("status", "reject_stage", "reject_reason", "reject_detail")
        self._columns = {name: table.column(name).to_pylist() for name in self._names}

    def ok(self, row: int) -> bool:
        """Whether the row is still good."""
        return bool(self._columns["status"][row] == "ok")

    def add(self, row: int, stage: str, reason: str, detail: str) -> None:
        """Reject `row`."""
        if self.ok(row):
            for name, value in zip(self._names, ("rejected", stage, reason, one_line(detail)), strict=True):
                self._columns[name][row] = value

    def apply(self, table: pa.Table) -> pa.Table:
        """Return `table` with the marks."""
        for name in self._names:
            index = table.schema.get_field_index(name)
            field = table.schema.field(index)
            table = table.set_column(index, field, pa.array(self._columns[name], field.type))
        return table


def ragged(arrays: Sequence[NDArray[Any] | None], list_type: pa.ListType) -> pa.ListArray:
    """Return 1-D arrays of any lengths as one Arrow list column, None as null."""
    sizes = [0 if a is None else a.size for a in arrays]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    present = [a for a in arrays if a is not None]
    values = np.concatenate(present) if present else np.empty(0)
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(values, list_type.value_type),
        mask=pa.array([a is None for a in arrays], pa.bool_()),
    ).cast(list_type)


def waveforms(column: pa.ChunkedArray) -> list[NDArray[np.float32] | None]:
    """Return an `audio` column as float32 arrays in [-1, 1], null as None."""
    return [
        None if not clip.is_valid else clip.values.to_numpy().astype(np.float32) * np.float32(1 / FULL_SCALE)
        for clip in column
    ]
