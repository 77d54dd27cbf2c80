"""Rows sorted on disk: any number goes in, and all come back in order, a bounded number of bytes in memory at a time.

Rows are gathered into runs, each sorted and written in small batches. Reading back merges the runs: of each the
next few batches are held, and what can't be overtaken by a row still on disk is sorted and handed out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TAKEN_ROWS: Final = 1024  # of a sorted run: written without a second copy of the whole
_SCANNED_BATCHES: Final = 64


class SortedSpool:
    """Tables of one schema, sorted by int64 columns that together tell every row from every other."""

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        by: Sequence[str],
        *,
        run_bytes: int = 8 << 20,
        batch_bytes: int = 32 << 10,
        fan_in: int = 128,
    ) -> None:
        """Take a scratch folder that is not there yet.

        Args:
            folder: Where the runs are written; the caller deletes it.
            schema: Of all tables.
            by: The columns to sort by, the first one first; without nulls.
            run_bytes: Arrow bytes gathered before they are sorted and written; a merge holds about a quarter of this.
            batch_bytes: Arrow bytes read from a run at once.
            fan_in: The most runs merged (and files open) at once, at least 2; where there are more, some are merged
                into one first.
        """
        folder.mkdir()
        self._folder, self.schema, self._by = folder, schema, tuple(by)
        self._run_bytes, self._batch_bytes, self._fan_in = run_bytes, batch_bytes, fan_in
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._runs: list[Path] = []
        self._written = 0
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Put rows in."""
        self._pending.append(table)
        self._pending_bytes += table.nbytes
        self.rows += table.num_rows
        if self._pending_bytes >= self._run_bytes:
            self._flush()

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of about a quarter of `run_bytes`; may be called again."""
        self._flush()
        while len(self._runs) > self._fan_in:
            # as few as will do, the oldest (the smallest, where some were merged before) first
            several = self._runs[: min(self._fan_in, len(self._runs) - self._fan_in + 1)]
            merged = self._write_run(self._merged(several))
            self._runs = [*self._runs[len(several) :], merged]
            for run in several:
                run.unlink()
        yield from self._merged(self._runs)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of all rows, in no order that means anything."""
        self._flush()
        fields = sorted(self.schema.get_field_index(name) for name in columns)
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        for run in self._runs:
            with pa.OSFile(str(run)) as file:
                reader = pa.ipc.open_file(file, options=options)
                for first in range(0, reader.num_record_batches, _SCANNED_BATCHES):
                    last = min(first + _SCANNED_BATCHES, reader.num_record_batches)
                    yield pa.Table.from_batches([reader.get_batch(place) for place in range(first, last)])

    def _flush(self) -> None:
        if self._pending_bytes:
            table = pa.concat_tables(self._pending).combine_chunks()
            self._pending, self._pending_bytes = [], 0
            order = self._order(table)
            parts = (order[first : first + _TAKEN_ROWS] for first in range(0, len(order), _TAKEN_ROWS))
            self._runs.append(self._write_run(table.take(part) for part in parts))
            pa.default_memory_pool().release_unused()  # (it would keep several times what is in use)

    def _write_run(self, tables: Iterable[pa.Table]) -> Path:
        path = self._folder / f"{self._written:06d}.arrow"
        self._written += 1
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, self.schema, options=options) as writer:
            for table in tables:
                rows = self._batch_bytes * table.num_rows // max(1, table.nbytes)
                writer.write_table(table, max_chunksize=max(1, rows))
        return path

    def _merged(self, runs: Sequence[Path]) -> Iterator[pa.Table]:
        with ExitStack() as files:
            cursors = [_Cursor(files.enter_context(pa.OSFile(str(run))), self._by) for run in runs]
            batches = sum(cursor.batches for cursor in cursors)
            while cursors:
                for cursor in cursors:
                    # a run's part of all rows is its part of any stretch of the order
                    cursor.fill(self._run_bytes // 4 * cursor.batches // batches)
                # rows after the least of the last rows held may have to wait for rows that are still on disk
                limit = min((cursor.last for cursor in cursors if cursor.more), default=None)
                yield self._sorted(pa.concat_tables([cursor.take(limit) for cursor in cursors]).combine_chunks())
                cursors = [cursor for cursor in cursors if cursor.more or cursor.rows]
                pa.default_memory_pool().release_unused()

    def _sorted(self, table: pa.Table) -> pa.Table:
        return table.take(self._order(table))

    def _order(self, table: pa.Table) -> NDArray[np.int64]:
        order: NDArray[np.int64] = np.lexsort([table.column(name).to_numpy() for name in reversed(self._by)])
        return order


class _Cursor:
    """The rows of a sorted run that come next."""

    def __init__(self, file: pa.NativeFile, by: Sequence[str]) -> None:
        self._reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(use_threads=False))
        self._by = by
        self.batches: int = self._reader.num_record_batches
        self._next = 0
        self._held = self._reader.schema.empty_table()

    @property
    def more(self) -> bool:
        """Whether rows of the run are still on disk."""
        return self._next < self.batches

    @property
    def rows(self) -> int:
        """How many rows are held."""
        return int(self._held.num_rows)

    @property
    def last(self) -> tuple[int, ...]:
        """Where the last row held stands in the order."""
        return tuple(self._held.column(name)[-1].as_py() for name in self._by)

    def fill(self, least_bytes: int) -> None:
        """Hold at least so many bytes (and one batch), or all that is left."""
        parts, held = [self._held], self._held.nbytes
        while self.more and (held < least_bytes or not held):
            parts.append(pa.Table.from_batches([self._reader.get_batch(self._next)]))
            held += parts[-1].nbytes
            self._next += 1
        self._held = pa.concat_tables(parts)

    def take(self, limit: tuple[int, ...] | None) -> pa.Table:
        """Give up the rows up to and with `limit`; None: all that are held."""
        first, last = 0, self.rows
        if limit is not None:
            # the rows of equal leading columns, ever fewer; those before them are all less than the limit
            for name, value in zip(self._by, limit, strict=True):
                column = self._held.column(name).slice(first, last - first).to_numpy()
                first, last = (first + int(np.searchsorted(column, value, side)) for side in ("left", "right"))
        taken = self._held.slice(0, last)
        self._held = self._held.slice(last)
        return taken
