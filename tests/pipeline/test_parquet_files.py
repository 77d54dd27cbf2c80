"""A stage's files, as readers find them who want a few columns, or a few rows, of millions."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.pipeline.parquet_files import ROW_GROUP_ROWS, write_parquet
from sift_ray.pipeline.wave_pieces import of_wave
from sift_ray.pipeline.wave_writing import WrittenFile, write_by_wave
from sift_ray.pipeline.waves import Stage
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, conform
from sift_ray.storage import LocalRoot, read_table

ROWS = 2 * ROW_GROUP_ROWS + 100


def rows(schema: pa.Schema, count: int = ROWS) -> pa.Table:
    """Rows of a stage that hold as little as they may, and their units."""
    needed = [field for field in schema if not field.nullable and field.name != "unit_id"]
    same = {field.name: pa.array([[] if pa.types.is_list(field.type) else "x"] * count, field.type) for field in needed}
    return conform(pa.table({"unit_id": np.arange(count), **same}), schema)


def leaves(file: Path) -> list[tuple[int, Any]]:
    """Return each column of each row group, with the number of its rows."""
    told = pq.read_metadata(file)
    groups = [told.row_group(number) for number in range(told.num_row_groups)]
    return [(group.num_rows, group.column(place)) for group in groups for place in range(group.num_columns)]


@pytest.mark.parametrize("schema", [ANNOTATIONS, INSTRUCTIONS], ids=["annotations", "instructions"])
def test_every_column_has_zstd_and_a_page_index_and_row_groups_are_small(tmp_path: Path, schema: pa.Schema) -> None:
    root, table = LocalRoot(tmp_path), rows(schema)
    size = write_parquet(root, "numbers/wave=00000/part.parquet", table)
    file = tmp_path / "numbers/wave=00000/part.parquet"
    assert size == file.stat().st_size
    told = pq.read_metadata(file)
    assert [told.row_group(n).num_rows for n in range(told.num_row_groups)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 100]
    for _, column in leaves(file):
        assert column.compression == "ZSTD", column.path_in_schema
        assert column.has_column_index, column.path_in_schema
        assert column.has_offset_index, column.path_in_schema
    assert read_table(root, str(file)).equals(table)


def test_row_groups_are_as_small_as_the_caller_wants(tmp_path: Path) -> None:
    write_parquet(LocalRoot(tmp_path), "part.parquet", rows(ANNOTATIONS, 25), row_group_rows=10)
    assert sorted({count for count, _ in leaves(tmp_path / "part.parquet")}) == [5, 10]


def test_a_waves_files_are_written_so(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("unit_id", pa.int64(), nullable=False)])
    stage = Stage("numbers", schema, {}, lambda table: {"status": {"ok": table.num_rows}})
    told = write_by_wave(of_wave(3, pa.table({"unit_id": np.arange(ROWS)[::-1]})), LocalRoot(tmp_path), stage)
    (one,) = (WrittenFile.from_row(row) for row in told.to_pylist())
    assert (one.wave, one.file.rows, one.counts) == (3, ROWS, {"status": {"ok": ROWS}})
    file = tmp_path / "numbers/wave=00003" / one.file.name
    assert one.file.bytes == file.stat().st_size
    told = leaves(file)
    assert [count for count, _ in told] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 100]
    assert all(column.compression == "ZSTD" and column.has_column_index for _, column in told)
    # (sorted, so that the index tells in which page a unit is)
    assert [column.statistics.min for _, column in told] == [0, ROW_GROUP_ROWS, 2 * ROW_GROUP_ROWS]
