"""Reads columns of finished waves batch by batch, parts of nested ones too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.storage import OutputRoot, stable_id

Hashes = npt.NDArray[np.uint64]

_ROWS_AT_ONCE: Final = 65_536


def batches(root: OutputRoot, path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file, given as `OutputRoot.locate` gives it, with some of its columns.

    A field of nested ones is named by the fields that it lies in (`pairs.evidence.key`), lists left out; the batch then
    holds the outer column with nothing but these.
    """
    with root.filesystem.open_input_file(path) as file:
        parquet = pq.ParquetFile(file)
        yield from parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=_leaves(parquet, columns))


def whole(root: OutputRoot, path: str, columns: Sequence[str]) -> pa.Table:
    """Return the same as one table."""
    with root.filesystem.open_input_file(path) as file:
        parquet = pq.ParquetFile(file)
        return parquet.read(columns=_leaves(parquet, columns))


def _leaves(parquet: Any, columns: Sequence[str]) -> list[str]:
    leaves = [parquet.schema.column(place).path for place in range(len(parquet.schema))]
    return [leaf for leaf in leaves if _named(leaf) in columns or leaf.split(".")[0] in columns]


def _named(leaf: str) -> str:
    """Return the path of a leaf without the steps that Parquet puts into lists."""
    parts = leaf.split(".")
    kept = [part for place, part in enumerate(parts) if not _of_list(parts, place)]
    return ".".join(kept)


def _of_list(parts: Sequence[str], place: int) -> bool:
    return parts[place] == "list" or (parts[place] in ("element", "item") and place > 0 and parts[place - 1] == "list")


def ranks(ids: Any, *salt: str) -> Hashes:
    """Return what rows are drawn by: a hash of each id (int64) and the salt, the same on every machine."""
    seed = np.uint64(stable_id("report", *salt) & 0xFFFFFFFFFFFFFFFF)
    mixed = np.asarray(ids, dtype=np.int64).view(np.uint64) ^ seed
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    made: Hashes = mixed ^ (mixed >> np.uint64(31))
    return made


def least(hashes: Hashes, wanted: int) -> list[int]:
    """Return where the `wanted` least of the hashes stand, from the least up."""
    few = np.argpartition(hashes, wanted - 1)[:wanted] if len(hashes) > wanted else np.arange(len(hashes))
    places: list[int] = few[np.argsort(hashes[few], kind="stable")].tolist()
    return places
