"""Which tables a plan was read from, and whether they still say the same.

A table is a text file with a line for each of many utterances: a TSV, transcripts, a manifest. Audio, shards and the
texts of single clips are no tables: they may be hundreds of thousands, and are read where they are needed.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from sift_ray.object_store import S3Connection, split_s3

log = logging.getLogger(__name__)

_NOTED: Final[ContextVar[dict[str, None] | None]] = ContextVar("tables read", default=None)
_GONE: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class TableMark(NamedTuple):
    """What a table was like.

    Attributes:
        stamp: bytes and time of change, or entity tag: as long as these are the same, the table is.
        sha256: of its bytes, which a copy elsewhere shares.
    """

    stamp: str
    sha256: str


@contextmanager
def noting() -> Iterator[dict[str, None]]:
    """Gather the addresses of tables that are read in the block, in this thread."""
    noted: dict[str, None] = {}
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def note(address: str) -> None:
    """Remember a table that is being read: an absolute path or `s3://bucket/key`."""
    noted = _NOTED.get()
    if noted is not None:
        noted[address] = None


def marks(addresses: Iterable[str], connection: S3Connection) -> dict[str, TableMark]:
    """Return the mark of each table, all of which are there.

    Raises:
        OSError: one can't be read.
    """
    return {address: TableMark(_stamp(address, connection), _digest(address, connection)) for address in addresses}


def changed(then: Mapping[str, TableMark], connection: S3Connection) -> list[str]:
    """Return what has changed since the marks were taken, a sentence a table.

    A corpus that can't be reached from here (its folder or bucket) is not looked at: nothing that is left to do may
    need it.
    """
    found = []
    for address, mark in then.items():
        try:
            if _stamp(address, connection) != mark.stamp and _digest(address, connection) != mark.sha256:
                found.append(f"{address}: it says something else now")
        except FileNotFoundError:
            if address.startswith("s3://") or Path(address).parent.is_dir():
                found.append(f"{address}: it is gone")
        except (OSError, BotoCoreError, ClientError) as error:
            log.info("%s can't be reached, so nobody can tell whether it is as it was planned: %s", address, error)
    return found


def _stamp(address: str, connection: S3Connection) -> str:
    if not address.startswith("s3://"):
        status = Path(address).stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    bucket, key = split_s3(address)
    try:
        answer = connection.client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _GONE:
            raise FileNotFoundError(address) from error
        raise
    return f"{answer['ContentLength']} {answer['ETag']}"


def _digest(address: str, connection: S3Connection) -> str:
    if not address.startswith("s3://"):
        with Path(address).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    with connection.filesystem.open_input_file(address.removeprefix("s3://")) as stream:
        return hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
