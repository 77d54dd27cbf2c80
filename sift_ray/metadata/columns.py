"""Arrow columns, arrays and lists as the NumPy arrays that rulers work on; unknown is NaN, or -1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]


def floats(column: Any) -> Floats:
    """Return an Arrow column, array or list as float64, null and None as NaN."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.Array):
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    return np.array([math.nan if v is None else v for v in column], np.float64)


def codes(column: Any) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the distinct strings of a column and each row's index among them, -1 for null."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not isinstance(column, pa.Array):
        column = pa.array(list(column), pa.string())
    if len(column) == 0:
        return [], np.zeros(0, np.int64)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    indices = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), indices
