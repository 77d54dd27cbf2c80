"""What filesystems, object stores and Parquet say when a clip or a shard can't be read, sorted by what it means."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from sift_ray.corpora.utterance import CorpusError

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


@contextmanager
def explained(file: str) -> Iterator[None]:
    """Turn what filesystems and Parquet raise into AudioUnavailableError, whose detail begins with `file`."""
    try:
        yield
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise AudioUnavailableError(reason_of(error), f"{file}: {' '.join(str(error).split())}") from error


def reason_of(error: Exception) -> str:
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
        reason, detail, number = reason_of(error), str(error), getattr(error, "errno", None)
    if not detail.startswith(where):
        detail = f"{where}: {detail}"
    if reason == "storage_error":
        raise CorpusError(f"{detail}; plan again when the storage answers") from error
    if number in _REFUSED and not one_clip:
        raise CorpusError(f"{detail}; let the job's user read it, and plan again") from error
