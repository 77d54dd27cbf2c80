"""Parts of files that are read beside one another: a stretch of bytes, a window of a tar, a row group of Parquet."""

from __future__ import annotations

from io import SEEK_CUR, SEEK_END, RawIOBase
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.corpora.storage_errors import AudioUnavailableError, explained

_COLUMN_READ: Final = 4 << 20
_MOST_COLUMN: Final = 64 << 20


class FilePart(RawIOBase):
    """A part of an open file, as a file of its own.

    Decoders call it from C, where an error would be lost: it reads as the file's end, and `check` raises it.

    Args:
        file: Seekable; other parts of it may be read in between.
        start: Where the part starts, in bytes.
        size: Its bytes.
    """

    def __init__(self, file: Any, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size = file, start, size
        self._at = 0
        self._error: Exception | None = None

    def check(self, name: str) -> None:
        """Raise AudioUnavailableError if the file, which `name` calls, could not be read at some time."""
        if self._error is not None:
            with explained(name):
                raise self._error

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as much as fits."""
        view = memoryview(buffer)[: max(self._size - self._at, 0)]
        if not view or self._error is not None:
            return 0
        try:
            self._file.seek(self._start + self._at)
            count = int(self._file.readinto(view))
        except (OSError, pa.ArrowException) as error:
            self._error = error
            return 0
        self._at += count
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the part."""
        self._at = max(offset + {SEEK_CUR: self._at, SEEK_END: self._size}.get(whence, 0), 0)
        return self._at


class TarWindow:
    """A stretch of a tar that was read at once, for the members that lie in it."""

    def __init__(self, file: str, start: int, content: bytes) -> None:
        self._file, self._start, self._content = file, start, content

    def holds(self, file: str, start: int, size: int) -> bool:
        """Whether all of these bytes of that file are in it."""
        return file == self._file and self._start <= start and start + size <= self._start + len(self._content)

    def take(self, start: int, size: int) -> bytes:
        """Return bytes that it holds; fewer where the file ended."""
        return self._content[start - self._start : start - self._start + size]


class RowGroupCursor:
    """Goes through the audio of one row group, forward, row by row: a group may hold gigabytes.

    In memory is the column of the row group as it is in the file; where that is large, one page of it.
    """

    def __init__(self, file: str, column: str, group: int, stream: Any) -> None:
        self._file, self._key = file, (file, column, group)
        footer = pq.read_metadata(stream)
        if not 0 <= group < footer.num_row_groups:
            raise AudioUnavailableError("unreadable_shard", f"{file}: no row group {group} of {footer.num_row_groups}")
        name, self._struct = _bytes_column(file, footer.schema.to_arrow_schema(), column)
        # piecewise reading makes room for as much as a page's header claims, two gigabytes if it is damaged
        # (the column's own size would be nearer, but to ask a damaged footer for it ends the process)
        step = 0 if footer.row_group(group).total_byte_size <= _MOST_COLUMN else _COLUMN_READ
        shard = pq.ParquetFile(
            stream, metadata=footer, buffer_size=step, pre_buffer=False, page_checksum_verification=True
        )
        # one at a time: what stands before a corrupt page can then be read up to the last row
        self._batches = shard.iter_batches(1, row_groups=[group], columns=[name], use_threads=False)
        self._at = -1
        self._content = b""
        self._damage: AudioUnavailableError | None = None

    def can_reach(self, file: str, column: str, group: int, row: int) -> bool:
        """Whether the row is of this group, and not behind the one that was read last."""
        return (file, column, group) == self._key and row >= max(self._at, 0)

    def read(self, row: int) -> bytes:
        """Return the bytes of a row that can be reached; empty where there are none."""
        while self._at < row:
            if self._damage is not None:
                raise AudioUnavailableError(self._damage.reason, self._damage.detail)
            try:
                with explained(self._file):
                    batch = next(self._batches, None)
            except AudioUnavailableError as error:
                self._damage = error
                raise
            if batch is None:
                self._damage = AudioUnavailableError(
                    "unreadable_shard", f"{self._file}: row group {self._key[2]} ends after {self._at + 1} rows"
                )
                continue
            self._at += 1
            self._content = self._value(batch) if self._at == row else b""
        return self._content

    def _value(self, batch: Any) -> bytes:
        value = batch.column(0)[0].as_py()
        if self._struct and value is not None:
            value = value["bytes"]
        return value or b""


def _bytes_column(file: str, schema: pa.Schema, column: str) -> tuple[str, bool]:
    """Return Parquet's name for the bytes of a column, and whether they are a field of a struct."""
    kind: Any = schema.field(column).type if column in schema.names else pa.null()
    struct = pa.types.is_struct(kind)
    if struct:
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else None
    if kind not in (pa.binary(), pa.large_binary(), pa.binary_view()):
        raise AudioUnavailableError(
            "unreadable_shard", f"{file}: there is no column {column!r} of bytes, or of structs with a field of bytes"
        )
    return f"{column}.bytes" if struct else column, struct
