"""Rows of either layout as batches of the same columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sift_ray.schema import RELEASE
from sift_ray.storage import OutputRoot
from sift_ray.validate.findings import Example, Tell
from sift_ray.validate.jsonl import jsonl_tables
from sift_ray.validate.messages import Said, read_messages
from sift_ray.validate.shards import Shard

PUBLISHED: Final = ("id", "messages", "task", "data_source")
"""The four keys of the published layout."""

_BATCH_ROWS: Final = 1 << 15
_ROW_BITS: Final = 40


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a shard.

    Attributes:
        shard: the file.
        numbers: of each row in its file, from 1 (of a line of JSON too); int64 [rows].
        table: the columns of `schema.RELEASE` that the file has, in its types; each is one chunk.
        said: what its messages hold.
    """

    shard: Shard
    numbers: NDArray[np.int64]
    table: pa.Table
    said: Said

    def __len__(self) -> int:
        return len(self.numbers)

    def has(self, name: str) -> bool:
        """Whether the file has a column."""
        return name in self.table.column_names

    def column(self, name: str) -> pa.Array:
        """Return a column as one array."""
        column = self.table[name]
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def places(self) -> NDArray[np.int64]:
        """Return for each row a number that names it in the whole release; see `place_of`."""
        return (np.int64(self.shard.number) << _ROW_BITS) + self.numbers


def place_of(place: int) -> tuple[int, int]:
    """Return the number of the shard and of the row in it."""
    return divmod(place, 1 << _ROW_BITS)


def shard_numbers(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers of the shards of many places."""
    return places >> _ROW_BITS


def read_batches(root: OutputRoot, shard: Shard, tell: Tell | None = None) -> Iterator[Batch]:
    """Yield the rows of a shard, some thousands at a time; rows that are none are left out.

    What is wrong with the file's form goes to `tell`: rules `unreadable_file`, `empty_file`, `schema`, `null_value`,
    `unreadable_row` and `row_keys`. Without it nothing is told.
    """
    told = tell or _nobody
    tables = jsonl_tables if shard.kind == "jsonl" else _parquet_tables
    rows = 0
    try:
        for numbers, table in tables(root, shard, told):
            rows += len(numbers)
            kept, whole = _without_nulls(shard, numbers, table, told)
            if whole.num_rows:
                yield Batch(shard, kept, whole, read_messages(_one(whole["messages"])))
    except (OSError, pa.ArrowException, EOFError) as error:
        told("unreadable_file", 1, [Example(shard.path, None, f"{type(error).__name__}: {error}")])
        return
    if not rows:
        told("empty_file", 1, [Example(shard.path, None, "no rows")])


def _nobody(rule: str, count: int, examples: Iterable[Example]) -> None:
    del rule, count, examples


def _parquet_tables(root: OutputRoot, shard: Shard, tell: Tell) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    with root.filesystem.open_input_file(shard.location) as source, pq.ParquetFile(source) as file:
        there = file.schema_arrow
        wanted = [field for field in RELEASE if field.name in there.names]
        ours = "sample_id" in there.names
        faults = [f"no column {name!r}" for name in (RELEASE.names if ours else PUBLISHED) if name not in there.names]
        for field in wanted:
            if there.field(field.name).type != field.type:
                faults.append(f"column {field.name!r} is {there.field(field.name).type}, not {field.type}")
        tell("schema", len(faults), [Example(shard.path, None, fault) for fault in faults])
        if any(name not in there.names for name in PUBLISHED):
            return
        schema = pa.schema([field.with_nullable(True) for field in wanted])
        first = 1
        for batch in file.iter_batches(_BATCH_ROWS, columns=[field.name for field in wanted]):
            table = pa.Table.from_batches([batch]).select(schema.names)
            if table.schema != schema:
                table = table.cast(schema)
            yield np.arange(first, first + table.num_rows), table
            first += table.num_rows


def _without_nulls(
    shard: Shard, numbers: NDArray[np.int64], table: pa.Table, tell: Tell
) -> tuple[NDArray[np.int64], pa.Table]:
    """Leave out the rows that lack a value which none may lack, and tell of them."""
    lacking = np.zeros(table.num_rows, np.bool_)
    for name in table.column_names:
        column = table[name]
        if column.null_count and not RELEASE.field(name).nullable:
            mask = np.asarray(column.is_null().to_numpy(), np.bool_)
            places = np.flatnonzero(mask)
            tell("null_value", len(places), [Example(shard.path, int(numbers[i]), name) for i in places[:5]])
            lacking |= mask
    if not lacking.any():
        return numbers, table
    return numbers[~lacking], table.filter(pa.array(~lacking))


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def row_at(root: OutputRoot, shard: Shard, number: int) -> Batch | None:
    """Return one row of a shard by its number, None where it is gone; reads the file up to it."""
    for batch in read_batches(root, shard):
        at = np.flatnonzero(batch.numbers == number)
        if at.size:
            table = batch.table.slice(int(at[0]), 1).combine_chunks()
            return Batch(shard, batch.numbers[at], table, read_messages(_one(table["messages"])))
    return None
