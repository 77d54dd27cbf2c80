"""Arrow columns, arrays and lists as the NumPy arrays that rulers work on; unknown is NaN, or -1."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
    if isinstance(column, np.ndarray):
        return column.astype(np.float64)
    return np.array([math.nan if v is None else v for v in column], np.float64)


def codes(column: Any) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the distinct strings of a column and each row's index among them, -1 for null."""
    if not isinstance(column, pa.Array | pa.ChunkedArray):
        column = pa.array(list(column), pa.string())
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    indices = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), indices


class Place(NamedTuple):
    """What rows that are judged alike have in common; None: it is not known."""

    corpus: str | None
    language: str | None
    gender: str | None


class Places(NamedTuple):
    """The distinct places of a batch, and which of them each row is of (int64 [rows])."""

    distinct: list[Place]
    of: npt.NDArray[np.int64]


def places(corpus: Any, language: Any, gender: Any) -> Places:
    """Return the places of rows from three columns of strings, all of one length, null where unknown."""
    columns = [codes(column) for column in (corpus, language, gender)]
    shape = tuple(len(names) + 1 for names, _ in columns)  # (the first of each is null)
    combined = np.ravel_multi_index(tuple(indices + 1 for _, indices in columns), shape)
    present = np.flatnonzero(np.bincount(combined, minlength=math.prod(shape)))
    number = np.zeros(math.prod(shape), np.int64)
    number[present] = np.arange(len(present))
    names = [[None, *names] for names, _ in columns]
    indices = zip(*np.unravel_index(present, shape), strict=True)
    distinct = [Place(*(names[k][i] for k, i in enumerate(three))) for three in indices]
    return Places(distinct, number[combined])
