"""Files of samples of a bounded size, written one after another: Parquet, or JSON lines as the reference has them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.config_release import Format
from sift_ray.release.layout import Group, shard_path
from sift_ray.storage import LocalRoot, OutputRoot

ROW_GROUP_ROWS: Final = 10_000
PUBLISHED_KEYS: Final = ("id", "messages", "task", "data_source")
"""The reference's keys, in its order: all that a JSON line has."""

MB: Final = 1_000_000
_LEAST_SHARE: Final = 0.4  # what is left for a folder's last file, in files; less joins the file before

Pieces = Callable[[pa.Table], Iterator[pa.Table]]
"""Cuts a row group in pieces if need be, adding what only the writer reads: audio."""


class SampleFile(Protocol):
    """A file that is being written."""

    def write(self, samples: pa.Table) -> None:
        """Append rows; in Parquet as a row group."""

    def size(self) -> int:
        """Return the bytes written so far."""

    def close(self) -> None:
        """Write the end of the file."""


class _ParquetFile:
    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        self._stream = stream
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd", write_page_index=True)

    def write(self, samples: pa.Table) -> None:
        # (in one chunk: pages end where chunks do, and the same rows must make the same bytes)
        self._writer.write_table(samples.combine_chunks(), row_group_size=max(samples.num_rows, 1))

    def size(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        self._writer.close()
        self._stream.close()


class _JsonLinesFile:
    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        del schema
        self._stream = stream

    def write(self, samples: pa.Table) -> None:
        self._stream.write(json_lines(samples))

    def size(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        self._stream.close()


_FILES: Final[dict[Format, Callable[[Any, pa.Schema], SampleFile]]] = {
    "parquet": _ParquetFile,
    "jsonl": _JsonLinesFile,
}


def json_lines(samples: pa.Table) -> bytes:
    """Return the samples as the reference publishes them: a line each, four keys, nulls spelt out, UTF-8."""
    rows = samples.select(list(PUBLISHED_KEYS)).to_pylist()
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


@dataclass
class Written:
    """What lies in a folder, in one format."""

    rows: int = 0
    files: int = 0
    bytes: int = 0
    largest: int = 0


def _copied(table: pa.Table) -> pa.Table:
    """Return the rows of a table in buffers of their own, which hold nothing else."""
    # (to join with nothing copies in a piece; to take rows would do so value by value)
    columns = [pa.concat_arrays([*column.chunks, pa.array([], column.type)]) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


class FolderWriter:
    """Writes the samples of one group in one format; whole row groups go out, the rest waits for more.

    A file ends when it has `file_mb`, unless so little is still to come that it would make a small last file.
    """

    def __init__(
        self,
        root: OutputRoot,
        base: str,
        group: Group,
        form: Format,
        schema: pa.Schema,
        *,
        rows: int,
        file_mb: int,
        pieces: Pieces | None = None,
    ) -> None:
        """Prepare a writer; nothing is opened before there are rows.

        Args:
            root: of the job.
            base: the version's folder, relative to the root.
            group: whose samples.
            form: `parquet` or `jsonl`.
            schema: of the samples as they are written.
            rows: how many will come.
            file_mb: megabytes (10^6 bytes) of a file.
            pieces: cuts each row group before it is written; None: as it is.
        """
        self._root, self._base, self._group, self._form, self._schema = root, base, group, form, schema
        self._rows, self._target, self._pieces = rows, file_mb * MB, pieces
        self._file: SampleFile | None = None
        self._path = ""
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self.written = Written()

    def write(self, samples: pa.Table) -> None:
        """Append rows."""
        self._waiting.append(samples)
        self._waiting_rows += samples.num_rows
        if self._waiting_rows >= ROW_GROUP_ROWS:
            self._flush(ROW_GROUP_ROWS)
        else:
            # (a copy: tables of a wave lie in one shared object, which the few rows that wait would keep alive)
            self._waiting[-1] = _copied(samples)

    def close(self) -> Written:
        """Write what waits and the end of the file; return what lies there now."""
        self._flush(1)
        self._end_file()
        return self.written

    def _flush(self, least: int) -> None:
        waiting = pa.concat_tables(self._waiting) if self._waiting else None
        start = 0
        while waiting is not None and waiting.num_rows - start >= least:
            group = waiting.slice(start, ROW_GROUP_ROWS)
            for piece in (group,) if self._pieces is None else self._pieces(group):
                self._append(piece)
            start += group.num_rows
        if waiting is None or start >= waiting.num_rows:
            self._waiting, self._waiting_rows = [], 0
        else:
            # (a copy: a slice would hold on to all that the wave brought)
            rest = _copied(waiting.slice(start))
            self._waiting, self._waiting_rows = [rest], rest.num_rows

    def _append(self, piece: pa.Table) -> None:
        if self._file is None:
            self._file = self._open()
        self._file.write(piece)
        self.written.rows += piece.num_rows
        if (size := self._file.size()) >= self._target:
            done = self.written
            still = (self._rows - done.rows) * (done.bytes + size) / done.rows
            if still == 0 or still >= _LEAST_SHARE * self._target:
                self._end_file()

    def _open(self) -> SampleFile:
        path = f"{self._base}/{shard_path(*self._group, self.written.files, self._form)}"
        self._path = self._root.locate(path)
        filesystem = self._root.filesystem
        if isinstance(self._root, LocalRoot):
            filesystem.create_dir(self._path.rpartition("/")[0], recursive=True)
        self.written.files += 1
        return _FILES[self._form](filesystem.open_output_stream(self._path), self._schema)

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        size = self._root.filesystem.get_file_info(self._path).size
        self.written.bytes += size
        self.written.largest = max(self.written.largest, size)
        if isinstance(self._root, LocalRoot):
            # a release must not be called complete while its files can still be lost to a power cut
            with Path(self._path).open("rb") as stream:
                os.fsync(stream.fileno())
