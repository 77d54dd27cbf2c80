"""Opens encoded audio wherever its address says: a file, a part of a tar or Parquet shard, an object, a web page."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import SEEK_CUR, SEEK_END, BufferedReader, BytesIO, RawIOBase
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from sift_ray.config import StorageConfig
from sift_ray.corpora.audio_uri import TAR_WINDOW, AudioUri
from sift_ray.corpora.utterance import CorpusError
from sift_ray.object_store import S3Connection

_HEADER_READ: Final = 1 << 16
_SPAN_READ: Final = 1 << 18
_COLUMN_READ: Final = 4 << 20
_MOST_COLUMN: Final = 64 << 20
_MOST_HELD: Final = 64 << 20  # of a recording whose spans are read one after the other
MOST_BYTES: Final = 512 << 20
"""An encoded clip larger than this is refused before it is read."""

_NO_SUCH_FILE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_REFUSED: Final = (errno.EACCES, errno.EPERM)
# what a place that only damaged bytes name makes the system say
_NO_SUCH_PLACE: Final = (errno.EINVAL, errno.EOVERFLOW)
# what Arrow's filesystems say without an error number
_NO_FILE_WORDS: Final = (
    "AWS Error NO_SUCH_KEY",
    "AWS Error RESOURCE_NOT_FOUND",
    "Not a regular file",
    "is a directory",
)


class AudioUnavailableError(Exception):
    """The bytes of a clip can't be had.

    Attributes:
        reason: A slug: missing_audio (nothing is there, or the user may not read it), empty_audio, storage_error
            (it may be read another time), unreadable_shard, truncated_shard, too_large or web_refused.
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

        A path is given for a local file alone. What lies in a Parquet shard, on the web or, read whole, in a tar or
        bucket is in memory; headers in tars and buckets are read in ranges, and spans of recordings above 64 MiB too.

        Args:
            uri: The address.
            whole: All of it, or of its span, will be read. False: only its header will.

        Raises:
            AudioUnavailableError: it is not there, empty or too large, its shard is damaged, or the store failed;
                where it is read in ranges, also at the end (this then takes the place of what the caller made of it).
        """
        if uri.row is not None:
            yield BytesIO(_not_empty(self._row(uri), uri))
        elif uri.bytes is not None and whole:
            yield BytesIO(_not_empty(self._member(uri), uri))
        elif uri.bytes is not None:
            with self._member_in_ranges(uri, *uri.bytes) as file:
                yield file
        elif uri.member is not None:
            raise AudioUnavailableError("missing_audio", f"{uri}: where in the tar the member lies is not given")
        elif not uri.scheme:
            _local_size(uri.file)
            yield uri.file
        else:
            span = uri.start_s is not None or uri.end_s is not None
            with self._span(uri, whole=whole) if span else self._object(uri, whole=whole) as file:
                yield file

    def size(self, uri: AudioUri) -> int:
        """Return the bytes of a local file.

        Raises:
            AudioUnavailableError: it is not there, empty, or the disk can't be asked.
        """
        return _local_size(uri.file)

    def _filesystem(self, file: str) -> tuple[pafs.FileSystem, str]:
        if file.startswith("s3://"):
            return self._connection.filesystem, file.removeprefix("s3://")
        if "://" in file:
            raise AudioUnavailableError("missing_audio", f"{file}: no such place can be read from")
        return pafs.LocalFileSystem(), file

    @contextmanager
    def _object(self, uri: AudioUri, *, whole: bool) -> Iterator[BinaryIO]:
        if uri.scheme == "https":
            yield BytesIO(_fetched(uri))
            return
        with explained(uri.file):
            filesystem, path = self._filesystem(uri.file)
            file = filesystem.open_input_file(path)
            size = file.size()
        with file:
            if size == 0:
                raise AudioUnavailableError("empty_audio", f"{uri.file}: no bytes")
            if whole:
                if size > MOST_BYTES:
                    raise AudioUnavailableError("too_large", f"{uri.file}: {size:,} bytes; split it, or give spans")
                with explained(uri.file):
                    content = file.read()
                yield BytesIO(content)
                return
            part = FilePart(file, 0, size)
            try:
                yield BufferedReader(part, _HEADER_READ)
            finally:
                part.check(uri.file)

    @contextmanager
    def _span(self, uri: AudioUri, *, whole: bool) -> Iterator[BinaryIO]:
        if uri.scheme == "https":
            held: _OpenObject | None = getattr(self._places, "object", None)
            if held is None or held.name != uri.file:
                content = _fetched(uri)
                held = _OpenObject(uri.file, BytesIO(content), len(content), content)
                self._places.object = held if held.size <= _MOST_HELD else None
        else:
            held = self._held(uri.file)
        if held.size == 0:
            raise AudioUnavailableError("empty_audio", f"{uri.file}: no bytes")
        # (decoders of MP3 go through a recording from its start for each span of it)
        if whole and held.content is None and held.size <= _MOST_HELD:
            with explained(uri.file):
                held.content = held.file.read_at(held.size, 0)
        if held.content is not None:
            yield BytesIO(held.content)
        else:
            with self._in_ranges(held, 0, held.size, _SPAN_READ if whole else _HEADER_READ) as file:
                yield file

    @contextmanager
    def _member_in_ranges(self, uri: AudioUri, start: int, size: int) -> Iterator[BinaryIO]:
        if size == 0:
            raise AudioUnavailableError("empty_audio", f"{uri}: no bytes")
        tar = self._held(uri.file)
        if start + size > tar.size:
            there = max(tar.size - start, 0)
            raise AudioUnavailableError("truncated_shard", f"{uri}: {there:,} of {size:,} bytes are there")
        with self._in_ranges(tar, start, size, _HEADER_READ) as file:
            yield file

    def _held(self, name: str) -> _OpenObject:
        """Return a tar or recording opened: what this thread opened last is kept, as the next clip is mostly of it."""
        held: _OpenObject | None = getattr(self._places, "object", None)
        if held is None or held.name != name:
            self._places.object = None
            with explained(name):
                filesystem, path = self._filesystem(name)
                file = filesystem.open_input_file(path)
                held = _OpenObject(name, file, file.size())
            self._places.object = held
        return held

    @contextmanager
    def _in_ranges(self, held: _OpenObject, start: int, size: int, step: int) -> Iterator[BinaryIO]:
        part = FilePart(held.file, start, size)
        try:
            yield BufferedReader(part, step)
        finally:
            try:
                part.check(held.name)
            except AudioUnavailableError:
                self._places.object = None
                raise

    def _member(self, uri: AudioUri) -> bytes:
        assert uri.bytes is not None
        start, size = uri.bytes
        if size > MOST_BYTES:
            raise AudioUnavailableError("too_large", f"{uri}: {size:,} bytes")
        window: _TarWindow | None = getattr(self._places, "window", None)
        if window is None or not window.holds(uri.file, start, size):
            # on disk the rest of the window comes cheaper from the system's own cache
            ahead = (start // TAR_WINDOW + 1) * TAR_WINDOW - start if uri.scheme else 0
            with explained(uri.file):
                filesystem, path = self._filesystem(uri.file)
                with filesystem.open_input_file(path) as file:
                    read = file.read_at(max(size, ahead), start) if start < file.size() else b""
            window = _TarWindow(uri.file, start, read)
            if len(read) > size:
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
            self._places.cursor = None
            with explained(uri.file):
                filesystem, path = self._filesystem(uri.file)
                cursor = _RowGroupCursor(uri.file, uri.column, group, filesystem.open_input_file(path))
            self._places.cursor = cursor
        try:
            return cursor.read(row)
        except AudioUnavailableError as error:
            if error.reason == "storage_error":  # another try may go better; damage stays
                self._places.cursor = None
            raise


@lru_cache(maxsize=4)
def audio_source(storage: StorageConfig) -> AudioSource:
    """Return this process's source for a store; what it has read of a shard is kept from batch to batch."""
    return AudioSource(storage)


@dataclass(slots=True)
class _OpenObject:
    """A tar or recording that a thread has open, and all of its content where that was read."""

    name: str
    file: Any
    size: int
    content: bytes | None = None


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


class _TarWindow:
    def __init__(self, file: str, start: int, content: bytes) -> None:
        self._file, self._start, self._content = file, start, content

    def holds(self, file: str, start: int, size: int) -> bool:
        return file == self._file and self._start <= start and start + size <= self._start + len(self._content)

    def take(self, start: int, size: int) -> bytes:
        return self._content[start - self._start : start - self._start + size]


class _RowGroupCursor:
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


@contextmanager
def explained(file: str) -> Iterator[None]:
    """Turn what filesystems and Parquet raise into AudioUnavailableError, whose detail begins with `file`."""
    try:
        yield
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise AudioUnavailableError(_reason(error), f"{file}: {' '.join(str(error).split())}") from error


def _reason(error: Exception) -> str:
    """Tell a file that is not there (for this user) from a store that fails and from bytes that make no sense.

    Arrow raises OSError for the latter too: then without an error number, and not in the words of its S3 client.
    """
    text = str(error)
    number = getattr(error, "errno", None)
    if isinstance(error, UnicodeEncodeError) or any(word in text for word in _NO_FILE_WORDS):
        return "missing_audio"
    if number in _NO_SUCH_FILE or number in _REFUSED:
        return "missing_audio"
    if isinstance(error, OSError) and number not in _NO_SUCH_PLACE and (number is not None or "AWS Error" in text):
        return "storage_error"
    return "unreadable_shard"


def raise_if_storage_failed(where: str, error: Exception, *, one_clip: bool = False) -> None:
    """Raise CorpusError where it is the store that failed: a plan would give up sound rows for good.

    That is an answer of S3 other than "no such key", and every error number that tells nothing of the file itself
    (ESTALE, EIO, ETIMEDOUT, ECONNRESET, …). Where the user may not read a file (EACCES, EPERM), asking again changes
    nothing: one clip then costs its own row, as a missing one does; but a shard or table would cost thousands, so
    its rights are set right first.

    Args:
        where: What the error calls the place.
        error: What was raised; an AudioUnavailableError as `explained` makes it, from its cause.
        one_clip: The file holds one clip, or its text, and no other's.
    """
    if isinstance(error, AudioUnavailableError):
        reason, detail, number = error.reason, error.detail, getattr(error.__cause__, "errno", None)
    else:
        reason, detail, number = _reason(error), str(error), getattr(error, "errno", None)
    if not detail.startswith(where):
        detail = f"{where}: {detail}"
    if reason == "storage_error":
        raise CorpusError(f"{detail}; plan again when the storage answers") from error
    if number in _REFUSED and not one_clip:
        raise CorpusError(f"{detail}; let the job's user read it, and plan again") from error


def _local_size(file: str) -> int:
    try:
        status = os.stat(file)  # noqa: PTH116 (a Path costs more than the question)
    except ValueError as error:  # a NUL in the name
        raise AudioUnavailableError("missing_audio", f"{file!r}: {error}") from error
    except OSError as error:
        raise AudioUnavailableError(_reason(error), f"{file}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise AudioUnavailableError("missing_audio", f"{file}: not a file")
    if status.st_size == 0:
        raise AudioUnavailableError("empty_audio", f"{file}: no bytes")
    if not os.access(file, os.R_OK):
        raise AudioUnavailableError("missing_audio", f"{file}: permission denied; let the job's user read it")
    return status.st_size


def _fetched(uri: AudioUri) -> bytes:
    from sift_ray.corpora.web import fetch

    return _not_empty(fetch(uri.file, MOST_BYTES), uri)


def _not_empty(content: bytes, uri: AudioUri) -> bytes:
    if not content:
        raise AudioUnavailableError("empty_audio", f"{uri}: no bytes")
    return content
