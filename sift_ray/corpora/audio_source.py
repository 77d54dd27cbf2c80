"""Opens encoded audio wherever its address says: a file, a part of a tar or Parquet shard, an object, a web page."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader, BytesIO
from typing import Any, BinaryIO, Final

import pyarrow.fs as pafs

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_uri import TAR_WINDOW, AudioUri
from sift_ray.corpora.shard_parts import FilePart, RowGroupCursor, TarWindow
from sift_ray.corpora.storage_errors import AudioUnavailableError, explained, reason_of
from sift_ray.object_store import S3Connection

_HEADER_READ: Final = 1 << 16
_SPAN_READ: Final = 1 << 18
_MOST_HELD: Final = 64 << 20  # of a recording whose spans are read one after the other
MOST_BYTES: Final = 512 << 20
"""An encoded clip larger than this is refused before it is read."""


class AudioSource:
    """Opens addresses. What one process reads of a shard serves the clips beside it too.

    Threads may share it: each keeps its own place in the shards that it reads.
    """

    def __init__(self, storage: StorageConfig) -> None:
        self._connection = S3Connection(storage)
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
        window: TarWindow | None = getattr(self._places, "window", None)
        if window is None or not window.holds(uri.file, start, size):
            # on disk the rest of the window comes cheaper from the system's own cache
            ahead = (start // TAR_WINDOW + 1) * TAR_WINDOW - start if uri.scheme else 0
            with explained(uri.file):
                filesystem, path = self._filesystem(uri.file)
                with filesystem.open_input_file(path) as file:
                    read = file.read_at(max(size, ahead), start) if start < file.size() else b""
            window = TarWindow(uri.file, start, read)
            if len(read) > size:
                self._places.window = window
        content = window.take(start, size)
        if len(content) < size:
            raise AudioUnavailableError("truncated_shard", f"{uri}: {len(content):,} of {size:,} bytes are there")
        return content

    def _row(self, uri: AudioUri) -> bytes:
        assert uri.row is not None
        group, row = uri.row
        cursor: RowGroupCursor | None = getattr(self._places, "cursor", None)
        if cursor is None or not cursor.can_reach(uri.file, uri.column, group, row):
            self._places.cursor = None
            with explained(uri.file):
                filesystem, path = self._filesystem(uri.file)
                cursor = RowGroupCursor(uri.file, uri.column, group, filesystem.open_input_file(path))
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


def _local_size(file: str) -> int:
    try:
        status = os.stat(file)  # noqa: PTH116 (a Path costs more than the question)
    except ValueError as error:  # a NUL in the name
        raise AudioUnavailableError("missing_audio", f"{file!r}: {error}") from error
    except OSError as error:
        raise AudioUnavailableError(reason_of(error), f"{file}: {error.strerror}") from error
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
