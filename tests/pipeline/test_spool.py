from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.pipeline.spool import SortedSpool

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("text", pa.string())])
INT64 = st.integers(-(2**63), 2**63 - 1)
Row = tuple[int, int, str | None]


def table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, of.type) for column, of in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def rows_of(tables: list[pa.Table]) -> list[Row]:
    return [tuple(row.values()) for t in tables for row in t.to_pylist()]


@given(
    # few values of the first column: ties of it run over the ends of batches and runs
    rows=st.lists(st.tuples(st.integers(-2, 2), INT64, st.text(max_size=30) | st.none()), max_size=200),
    pieces=st.integers(1, 50),
    run_bytes=st.integers(1, 3000),
    fan_in=st.integers(2, 5),
)
@settings(deadline=None, max_examples=100)
def test_what_goes_in_comes_back_in_order(rows: list[Row], pieces: int, run_bytes: int, fan_in: int) -> None:
    rows = list({row[:2]: row for row in rows}.values())
    with TemporaryDirectory() as folder:
        spool = SortedSpool(
            Path(folder) / "s", SCHEMA, ("a", "b"), run_bytes=run_bytes, batch_bytes=run_bytes // 4, fan_in=fan_in
        )
        for start in range(0, len(rows), pieces):
            spool.add(table(rows[start : start + pieces]))
        assert spool.rows == len(rows)
        scanned = list(spool.scan(["b", "text"]))
        assert all(t.column_names == ["b", "text"] for t in scanned)
        assert sorted(rows_of(scanned), key=str) == sorted((row[1:] for row in rows), key=str)
        assert rows_of(list(spool.tables())) == sorted(rows, key=lambda row: row[:2])
        assert rows_of(list(spool.tables())) == sorted(rows, key=lambda row: row[:2])


def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    spool = SortedSpool(tmp_path / "s", SCHEMA, ("a", "b"))
    assert list(spool.tables()) == []
    assert list(spool.scan(["a"])) == []


@pytest.mark.parametrize("fan_in", [128, 4])
def test_what_is_held_does_not_grow_with_what_is_there(tmp_path: Path, fan_in: int) -> None:
    before = pa.total_allocated_bytes()
    spool = SortedSpool(tmp_path / "s", SCHEMA, ("a", "b"), run_bytes=40_000, batch_bytes=500, fan_in=fan_in)
    for start in range(0, 20_000, 100):
        spool.add(table([(i * 7919 % 20_000, i, "x" * 50) for i in range(start, start + 100)]))
        assert pa.total_allocated_bytes() - before < 60_000
    written = sum(file.stat().st_size for file in (tmp_path / "s").iterdir())
    assert written > 400_000
    rows = 0
    for piece in spool.tables():
        rows += piece.num_rows
        assert pa.total_allocated_bytes() - before < 200_000
    assert rows == 20_000
    assert len(list((tmp_path / "s").iterdir())) <= fan_in
