"""Opens encoded audio wherever its address says: a file, a part of a tar or Parquet shard, an object, a web page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from sift_ray.config import StorageConfig
from sift_ray.corpora.audio_uri import TAR_WINDOW, AudioUri
from sift_ray.object_store import S3Connection

_HEADER_READ: Final = 1 << 16
_SPAN_READ: Final = 1 << 18
_ROWS_AT_ONCE: Final = 16
MOST_BYTES: Final = 512 << 20
"""An encoded clip larger than this is refused before it is read."""


class AudioUnavailableError(Exception):
    """The bytes of a clip can't be had.

    Attributes:
        reason: A slug: missing_audio, empty_audio, storage_error, unreadable_shard, truncated_shard or too_large.
        detail: For a person: names the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class AudioSource:
    """Opens addresses. What one process reads of a shard serves the clips beside it too.

    Threads may share it: each keeps its own place in the shards that it reads.
    """

    def __init__(self, storage: StorageConfig) -> None:
        self._connection = S3Connection(storage.endpoint_url, storage.region)
        self._places = threading.local()

    @contextmanager
    def open(self, uri: AudioUri, *, whole: bool = True) -> Iterator[str | BinaryIO]:
        """Give a local path, or a seekable file of the encoded audio. Spans (`t`) and channels are the caller's.

        Args:
            uri: The address.
            whole: All of it will be read. False: only its header will; objects are then read in small ranges.

        Raises:
            AudioUnavailableError: it is not there, empty, or its shard is damaged.
        """
        if uri.row is not None:
            yield BytesIO(_not_empty(self._row(uri), uri))
        elif uri.bytes is not None:
            yield BytesIO(_not_empty(self._member(uri), uri))
        elif uri.member is not None:
            raise AudioUnavailableError("missing_audio", f"{uri}: where in the tar the member lies is not given")
        elif not uri.scheme:
            yield _local_file(uri.file)
        else:
            with self._remote(uri, whole=whole and uri.start_s is None) as file:
                yield file

    def size(self, uri: AudioUri) -> int:
        """Return the bytes of a whole file; raises as `open` does."""
        if not uri.scheme:
            return Path(_local_file(uri.file)).stat().st_size
        filesystem, path = self._filesystem(uri.file)
        info = filesystem.get_file_info(path)
        if info.type != pafs.FileType.File:
            raise AudioUnavailableError("missing_audio", f"{uri.file}: no such file")
        return int(info.size)

    def _filesystem(self, file: str) -> tuple[pafs.FileSystem, str]:
        if file.startswith("s3://"):
            return self._connection.filesystem, file.removeprefix("s3://")
        if "://" in file:
            raise AudioUnavailableError("missing_audio", f"{file}: no such place can be read from")
        return pafs.LocalFileSystem(), file

    @contextmanager
    def _remote(self, uri: AudioUri, *, whole: bool) -> Iterator[BinaryIO]:
        if uri.scheme == "https":
            from sift_ray.corpora.web import fetch

            yield BytesIO(_not_empty(fetch(uri.file, MOST_BYTES), uri))
            return
        with _explained(uri.file):
            filesystem, path = self._filesystem(uri.file)
            file = filesystem.open_input_file(path)
        with file:
            size = file.size()
            if size == 0:
                raise AudioUnavailableError("empty_audio", f"{uri.file}: no bytes")
            if whole:
                if size > MOST_BYTES:
                    raise AudioUnavailableError("too_large", f"{uri.file}: {size:,} bytes; split it, or give spans")
                with _explained(uri.file):
                    content = file.read()
                yield BytesIO(content)
            else:
                yield BufferedReader(file, _HEADER_READ if uri.start_s is None else _SPAN_READ)

    def _member(self, uri: AudioUri) -> bytes:
        assert uri.bytes is not None
        start, size = uri.bytes
        if size > MOST_BYTES:
            raise AudioUnavailableError("too_large", f"{uri}: {size:,} bytes")
        window: _TarWindow | None = getattr(self._places, "window", None)
        if window is None or not window.holds(uri.file, start, size):
            with _explained(uri.file):
                filesystem, path = self._filesystem(uri.file)
                with filesystem.open_input_file(path) as file:
                    # on disk the rest of the window comes cheaper from the system's own cache
                    ahead = (start // TAR_WINDOW + 1) * TAR_WINDOW - start if uri.scheme else 0
                    file.seek(start)
                    window = _TarWindow(uri.file, start, file.read(max(size, ahead)))
            self._places.window = window
        content = window.take(start, size)
        if len(content) < size:
            raise AudioUnavailableError("truncated_shard", f"{uri}: {len(content):,} of {size:,} bytes are there")
        return content

    def _row(self, uri: AudioUri) -> bytes:
        assert uri.row is not None
        group, row = uri.row
        cursor: _RowGroupCursor | None = getattr(self._places, "cursor", None)
        if cursor is None or not cursor.can_reach(uri.file, uri.column, group, row):
            with _explained(uri.file):
                filesystem, path = self._filesystem(uri.file)
                cursor = _RowGroupCursor(uri.file, uri.column, group, filesystem.open_input_file(path))
            self._places.cursor = cursor
        try:
            with _explained(uri.file):
                return cursor.read(row)
        except AudioUnavailableError:
            self._places.cursor = None
            raise


@lru_cache(maxsize=4)
def audio_source(storage: StorageConfig) -> AudioSource:
    """Return this process's source for a store; what it has read of a shard is kept from batch to batch."""
    return AudioSource(storage)


class _TarWindow:
    def __init__(self, file: str, start: int, content: bytes) -> None:
        self._file, self._start, self._content = file, start, content

    def holds(self, file: str, start: int, size: int) -> bool:
        return file == self._file and self._start <= start and start + size <= self._start + len(self._content)

    def take(self, start: int, size: int) -> bytes:
        return self._content[start - self._start : start - self._start + size]


class _RowGroupCursor:
    """Goes through the audio of one row group, forward, some rows at a time: a group may hold gigabytes."""

    def __init__(self, file: str, column: str, group: int, stream: Any) -> None:
        self._key = (file, column, group)
        shard = pq.ParquetFile(stream)
        if not 0 <= group < shard.num_row_groups:
            raise IndexError(f"there are {shard.num_row_groups} row groups, not {group + 1}")
        field = shard.schema_arrow.field(column)
        columns = [f"{column}.bytes"] if pa.types.is_struct(field.type) else [column]
        self._batches = shard.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns)
        self._first = 0
        self._values: list[Any] = []

    def can_reach(self, file: str, column: str, group: int, row: int) -> bool:
        return (file, column, group) == self._key and row >= self._first

    def read(self, row: int) -> bytes:
        while row >= self._first + len(self._values):
            self._first += len(self._values)
            self._values = []
            batch = next(self._batches, None)
            if batch is None:
                raise IndexError(f"the row group has {self._first} rows, not {row + 1}")
            self._values = batch.column(0).to_pylist()
        value = self._values[row - self._first]
        content = value.get("bytes") if isinstance(value, dict) else value
        return content or b""


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """Turn what filesystems and Parquet raise into reasons."""
    try:
        yield
    except FileNotFoundError as error:
        raise AudioUnavailableError("missing_audio", f"{file}: no such file") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, KeyError, IndexError) as error:
        raise AudioUnavailableError("unreadable_shard", f"{file}: {error}") from error
    except OSError as error:
        damaged = any(word in str(error).lower() for word in ("corrupt", "thrift", "decompress", "page", "magic"))
        raise AudioUnavailableError("unreadable_shard" if damaged else "storage_error", f"{file}: {error}") from error


def _local_file(file: str) -> str:
    path = Path(file)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise AudioUnavailableError("missing_audio", f"{file}: {error}") from error
    if not path.is_file():
        raise AudioUnavailableError("missing_audio", f"{file}: not a file")
    if status.st_size == 0:
        raise AudioUnavailableError("empty_audio", f"{file}: no bytes")
    return file


def _not_empty(content: bytes, uri: AudioUri) -> bytes:
    if not content:
        raise AudioUnavailableError("empty_audio", f"{uri}: no bytes")
    return content
