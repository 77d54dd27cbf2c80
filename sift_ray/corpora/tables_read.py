"""Which tables a plan was read from, and whether they still say the same.

A table is a text file with a line for each of many utterances: TSV, JSON lines, transcripts. Audio, Parquet, shards
and the texts of single clips are not looked at: they may be hundreds of thousands.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from sift_ray.object_store import S3Connection, StoreError, split_s3

log = logging.getLogger(__name__)

_READ: Final = 1 << 20


class TableMark(NamedTuple):
    """What a table was like.

    Attributes:
        stamp: bytes and time of change, or entity tag, before it was read: while these are the same, the table is.
        sha256: of its bytes, unpacked, as they were read, which a copy elsewhere shares; empty where it was not read
            to its end.
    """

    stamp: str
    sha256: str


_NOTED: Final[ContextVar[dict[str, TableMark] | None]] = ContextVar("tables read", default=None)


@contextmanager
def noting() -> Iterator[dict[str, TableMark]]:
    """Gather the marks of the tables that are read in the block, in this thread, by address."""
    noted: dict[str, TableMark] = {}
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


@contextmanager
def noted(address: str, stream: BinaryIO, connection: S3Connection | None) -> Iterator[BinaryIO]:
    """Give a table's stream to be read; where tables are noted, its mark is kept once the block is left.

    Args:
        address: the table's path as the config leads to it, links not resolved, or `s3://bucket/key`.
        stream: its bytes, unpacked.
        connection: the object store, for `s3://`.
    """
    found = _NOTED.get()
    if found is None:
        yield stream
        return
    try:
        stamp = _stamp(address, connection)
    except (OSError, BotoCoreError, ClientError) as error:  # (what can be read, and says nothing of itself)
        log.debug("%s has no stamp: %s", address, error)
        stamp = ""
    hashing = _Hashing(stream)
    yield cast(BinaryIO, io.BufferedReader(hashing, _READ))
    found[address] = TableMark(stamp, hashing.digest())


def changed(then: Mapping[str, TableMark], connection: S3Connection) -> list[str]:
    """Return what has changed since the marks were taken, a sentence a table.

    A table that is gone or out of reach is warned of: nothing that is left to do may need it.
    """
    found = []
    away: dict[str, int] = {}
    for address, mark in then.items():
        store = address.split("/", 3)[2] if address.startswith("s3://") else ""
        if store in away:
            away[store] += 1
            continue
        try:
            same = _stamp(address, connection) == mark.stamp or _digest(address, connection) == mark.sha256
        except FileNotFoundError:
            log.warning("%s is not there any more; what was planned from it stays planned", address)
        except (OSError, BotoCoreError, ClientError, StoreError) as error:
            log.warning("%s can't be read, so nobody can tell whether it is as it was planned: %s", address, error)
            if store:
                away[store] = 0  # (each try may take a minute)
        else:
            if not same:
                found.append(f"{address}: it says something else now")
    for store, tables in away.items():
        if tables:
            log.warning("s3://%s: %d more tables are not looked at", store, tables)
    return found


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._hash.update(data)
        self._ended = not data
        return len(data)

    def digest(self) -> str:
        """Return the digest of all bytes; empty where not all were read."""
        return self._hash.hexdigest() if self._ended else ""


def _stamp(address: str, connection: S3Connection | None) -> str:
    if connection is None or not address.startswith("s3://"):
        status = Path(address).stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    bucket, key = split_s3(address)
    try:
        answer = connection.client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
            raise FileNotFoundError(address) from error
        raise
    return f"{answer['ContentLength']} {answer['ETag']}"


def _digest(address: str, connection: S3Connection) -> str:
    found = hashlib.sha256()
    with _opened(address, connection) as raw, unpacked(raw, address) as stream:
        while data := stream.read(_READ):
            found.update(data)
    return found.hexdigest()


def _opened(address: str, connection: S3Connection) -> BinaryIO:
    if not address.startswith("s3://"):
        return Path(address).open("rb")
    path = address.removeprefix("s3://")
    return cast(BinaryIO, connection.filesystem.open_input_stream(path, buffer_size=_READ))


def unpacked(raw: BinaryIO, path: str) -> BinaryIO:
    """Return the bytes of a file whose name may end in `.gz`."""
    return gzip.GzipFile(fileobj=raw) if path.lower().endswith(".gz") else raw  # type: ignore[return-value]
