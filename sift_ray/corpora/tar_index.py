"""Goes through tar shards: where the bytes of each member lie, so that it can be read without the others."""

from __future__ import annotations

import logging
import tarfile
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from io import SEEK_CUR, SEEK_END, BufferedReader, RawIOBase
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa

from sift_ray.corpora.reading import Reading
from sift_ray.corpora.storage_errors import AudioUnavailableError, explained, raise_if_storage_failed
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import CorpusError

_LOG: Final = logging.getLogger(__name__)
_BLOCK: Final = 512
_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
# writers fill up the last record, of 10 KiB unless told otherwise
_MOST_PADDING: Final = 1 << 20
_MOST_BYTES: Final = 256 << 20
_INDEX_BYTES: Final = 1 << 10  # of an index without members
_MOST_PASSES: Final = 4
_STEP: Final = 1 << 20
_BUFFER: Final = 1 << 14
# what damaged headers make tarfile raise; it goes one call deeper for each of a chain of long-name headers
_DAMAGE: Final = (tarfile.TarError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member of a tar that is no folder.

    Attributes:
        name: As the tar has it; bytes that are not UTF-8 are lone surrogates.
        start: Where its content starts in the tar, in bytes.
        size: Bytes of the content.
        regular: Whether it is a file; else a link, device or sparse file, whose content can't be read from there.
    """

    name: str
    start: int
    size: int
    regular: bool


class TarError(AudioUnavailableError):
    """From some place on a tar can't be read.

    Attributes:
        reason: unreadable_shard, truncated_shard or storage_error.
        detail: For a person.
        member: Name of the member that is cut off there; None where no member is known to be.
    """

    def __init__(self, reason: str, detail: str, member: str | None = None) -> None:
        super().__init__(reason, detail)
        self.member = member


def tar_members(file: BinaryIO, where: str) -> Iterator[TarMember]:
    """Yield the members of an uncompressed tar in their order, except folders; contents are passed over.

    The caller may move `file` between members.

    Args:
        file: Open, seekable; it stays open.
        where: What errors call it.

    Raises:
        AudioUnavailableError: the file can't be read.
        TarError: the rest of it is damaged or missing; the members before were yielded.
    """
    with explained(where):
        total = file.seek(0, SEEK_END)
        file.seek(0)
        head = file.read(8)
        file.seek(0)
    if not total:
        raise TarError("unreadable_shard", f"{where}: no bytes; fetch the shard again")
    if head.startswith(_COMPRESSED):
        raise TarError("unreadable_shard", f"{where}: a compressed tar can't be read in parts; unpack it to a .tar")
    try:
        with explained(where):
            tar = tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except _DAMAGE as error:
        raise TarError("unreadable_shard", f"{where}: {error}; fetch the shard again") from error
    while member := _next(tar, file, total, where):
        if member.isdir():
            continue
        regular = member.isreg() and not member.issparse()
        if regular and member.offset_data + member.size > total:
            held = max(total - member.offset_data, 0)
            detail = f"{where}: {member.name}: {held:,} of {member.size:,} bytes are there; fetch the shard again"
            raise TarError("truncated_shard", detail, member.name)
        yield TarMember(member.name, member.offset_data, member.size, regular)
    _check_end(file, tar.offset, total, where)


def _next(tar: tarfile.TarFile, file: BinaryIO, total: int, where: str) -> tarfile.TarInfo | None:
    try:
        with explained(where):
            member = tar.next()
    except _DAMAGE as error:
        reason = "truncated_shard" if file.tell() >= total else "unreadable_shard"
        raise TarError(reason, f"{where}: {error}; fetch the shard again") from error
    tar.members.clear()  # type: ignore[attr-defined]  # (tarfile would keep them all)
    if member is not None and member.size < 0:
        raise TarError("unreadable_shard", f"{where}: {member.name}: a size below 0; fetch the shard again")
    return member


def _check_end(file: BinaryIO, end: int, total: int, where: str) -> None:
    """Raise where the archive ends otherwise than with its end mark, which tarfile passes over."""
    with explained(where):
        file.seek(min(end, total))
        block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        detail = f"{where}: it ends without the mark of a tar's end: what followed is lost; fetch the shard again"
        raise TarError("truncated_shard", detail)
    if any(block):
        raise TarError("unreadable_shard", f"{where}: no member begins at byte {end:,}; fetch the shard again")
    if total - end > _MOST_PADDING:
        detail = f"{where}: the mark of its end stands at byte {end:,} of {total:,}; what follows is not read"
        raise TarError("unreadable_shard", detail)


class TarIndexes:
    """Where members lie in tars, for rows that name the member alone.

    The tars that were asked for last are remembered, 32 bytes a member, up to 256 MiB in all: rows that stand in the
    order of their tars cost one pass over each, and in any order where so much holds them all.

    Args:
        reading: How the corpus is read.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._indexes: OrderedDict[str, _TarIndex] = OrderedDict()
        self._held = self._passes = 0
        self._tars: set[str] = set()

    def member(self, tree: Tree, path: str, member: str) -> tuple[int, int] | None:
        """Return (start, size) in bytes of a member's content, None where the tar has no such file.

        Args:
            tree: The folder that the tar must lie under.
            path: The tar, absolute or in the folder.
            member: The member's whole name in the tar; of several, the last counts, as when it is unpacked.

        Raises:
            AudioUnavailableError: the tar can't be read, at all or where the member may lie.
            OutsideRootError: it is not under the folder. ValueError: as `Tree.locate`.
            CorpusError: the store failed while the tar was gone through (the next call tries again), or rows go to
                and fro between more tars than can be remembered.
        """
        with explained(path):
            where = tree.locate(path)
        index = self._indexes.get(where)
        if index is None:
            index = self._indexes[where] = self._pass_over(tree, path, where)
            self._held += index.bytes
        self._indexes.move_to_end(where)
        while self._held > _MOST_BYTES and len(self._indexes) > 1:
            self._held -= self._indexes.popitem(last=False)[1].bytes
        return index.find(member)

    def _pass_over(self, tree: Tree, path: str, where: str) -> _TarIndex:
        self._tars.add(where)
        self._passes += 1
        if self._passes > _MOST_PASSES * len(self._tars) + 8:
            raise CorpusError(
                f"{where}: rows go to and fro between {len(self._tars):,} tars, and each return costs a pass over one; "
                "sort the manifest by tar"
            )
        return _TarIndex(tree, path, where, self._reading.threads)


class _TarIndex:
    def __init__(self, tree: Tree, path: str, where: str, requests: int) -> None:
        digests, places = bytearray(), array("q")
        self._problem: AudioUnavailableError | None = None
        try:
            with open_shard(tree, path, requests) as file:
                for member in tar_members(file, where):
                    if member.regular:
                        digests += _digest(member.name)
                        places.extend((member.start, member.size))
        except AudioUnavailableError as error:
            raise_if_storage_failed(where, error)
            _LOG.warning("%s (rows whose members are not found before that are rejected)", error.detail)
            self._problem = error
        keys = np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)
        order = np.argsort(keys[:, 0], kind="stable")
        self._keys = keys[order]
        self._places = np.frombuffer(places, np.int64).reshape(-1, 2)[order]
        self.bytes = self._keys.nbytes + self._places.nbytes + _INDEX_BYTES

    def find(self, name: str) -> tuple[int, int] | None:
        first, second = np.frombuffer(_digest(name), np.uint64)
        place = int(np.searchsorted(self._keys[:, 0], first, side="right")) - 1
        while place >= 0 and self._keys[place, 0] == first:
            if self._keys[place, 1] == second:
                start, size = self._places[place].tolist()
                return start, size
            place -= 1
        if self._problem is not None:
            raise AudioUnavailableError(self._problem.reason, self._problem.detail)
        return None


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


@contextmanager
def open_shard(tree: Tree, path: str, requests: int) -> Iterator[BinaryIO]:
    """Open a tar for `tar_members`.

    Args:
        tree: The folder that the tar must lie under.
        path: The tar, absolute or in the folder.
        requests: How many megabytes of an object are asked for at a time.

    Raises:
        AudioUnavailableError: it can't be opened.
        OutsideRootError: it is not under the folder.
    """
    with explained(f"{tree.uri}/{path}"):
        file = tree.open(path)
    with file:
        stored = getattr(file, "raw", None)
        if isinstance(stored, pa.NativeFile):
            with _ReadAhead(stored, requests) as ahead:
                yield BufferedReader(ahead, _BUFFER)
        else:
            yield file


class _ReadAhead(RawIOBase):
    """An object that is read onward: a store takes long to begin an answer, so several are awaited at a time.

    What was read last is kept, as a sample's header may be asked for once its last member was seen.
    """

    def __init__(self, file: Any, requests: int) -> None:
        super().__init__()
        self._file, self._size = file, int(file.size())
        self._requests = requests
        self._pool = ThreadPoolExecutor(requests)
        self._blocks: dict[int, Future[bytes]] = {}
        self._at = 0

    def close(self) -> None:
        """End the requests."""
        self._pool.shutdown(cancel_futures=True)
        super().close()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file."""
        self._at = max(offset + {SEEK_CUR: self._at, SEEK_END: self._size}.get(whence, 0), 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read at most as much as fits."""
        if self._at >= self._size:
            return 0
        number, offset = divmod(self._at, _STEP)
        part = memoryview(self._block(number))[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _block(self, number: int) -> bytes:
        # (who comes from the block before is likely to go on)
        last = number + self._requests if number - 1 in self._blocks else number + 1
        for wanted in range(number, min(last, -(-self._size // _STEP))):
            if wanted not in self._blocks:
                self._blocks[wanted] = self._pool.submit(self._file.read_at, _STEP, wanted * _STEP)
        if len(self._blocks) > 2 * self._requests:
            near = range(number - self._requests, number + self._requests)
            self._blocks = {kept: block for kept, block in self._blocks.items() if kept in near}
        return self._blocks[number].result()
