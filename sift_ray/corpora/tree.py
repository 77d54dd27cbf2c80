"""A corpus's folder, on disk or in a bucket, as its reader sees it: names, text lines, confined addresses."""

from __future__ import annotations

import errno
import io
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from posixpath import normpath
from typing import BinaryIO, Final, Protocol

from sift_ray.corpora.storage_errors import raise_if_storage_failed
from sift_ray.corpora.tables_read import noted, unpacked
from sift_ray.corpora.utterance import CorpusError
from sift_ray.object_store import S3Connection, split_s3

_UTF_16: Final = ("\udcff\udcfe", "\udcfe\udcff")  # its byte-order marks, as bytes that are not UTF-8
_READ_AHEAD: Final = 1 << 20
_PARENTS: Final = 8192


class OutsideRootError(Exception):
    """A path leaves the folder that it must stay in; the message names both."""


class Tree(Protocol):
    """A folder. Paths are relative to it, with `/`; `""` is the folder itself."""

    uri: str
    """Absolute local path with links resolved, or `s3://bucket/prefix`; without a slash at its end."""

    @property
    def connection(self) -> S3Connection | None:
        """The object store that it lies in."""

    @property
    def name(self) -> str:
        """The folder's own name, as it was given."""

    def address(self, path: str) -> str:
        """Return the address of a file as the folder's was given: links are not resolved, nothing is looked at."""

    def folders(self, path: str = "") -> list[str]:
        """Return the sorted names of the folders directly under `path`; empty where it is not there."""

    def files(self, path: str = "") -> list[str]:
        """Return the sorted names of the files directly under `path`; empty where it is not there."""

    def walk(self, suffixes: tuple[str, ...], path: str = "") -> list[str]:
        """Return the sorted relative paths of all files under `path` that end in one of `suffixes`, lower case.

        Empty where `path` is not there.

        Raises:
            CorpusError: a folder below can't be looked into.
        """

    def has(self, path: str) -> bool:
        """Whether a file is there."""

    def folder(self, path: str) -> Tree | None:
        """Return the folder `path` as a tree of its own (links to elsewhere are followed here), None where not."""

    def locate(self, path: str) -> str:
        """Return the absolute address of a file, links resolved.

        Raises:
            OutsideRootError: it is not under this folder.
            ValueError, OSError: no such name can be (a NUL in it, a loop of links).
        """

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading, seekable, its bytes as they are.

        Raises:
            OSError: it can't be opened. OutsideRootError: it is not under this folder. ValueError: as `locate`.
        """


class LocalTree:
    """A folder on this machine, or mounted.

    Files of a snapshot in a Hugging Face cache are links to `blobs/` beside `snapshots/`: these may be followed.
    """

    connection = None

    def __init__(self, path: str | Path, blobs: str | None = None, given: str | None = None) -> None:
        self._given = Path(given or path).absolute()
        self._name = Path(path).absolute().name
        self.uri = os.path.realpath(path)
        self._blobs = blobs or _blobs_of(Path(self.uri))
        self._inside = tuple(f"{folder.rstrip('/')}/" for folder in (self.uri, self._blobs) if folder)
        self._real_parent = lru_cache(_PARENTS)(_real_path)

    @property
    def name(self) -> str:
        """The folder's own name, as it was given."""
        return self._name

    def address(self, path: str) -> str:
        """Return the path of a file below the folder's own, as it was given."""
        return str(self._given / path)

    def folders(self, path: str = "") -> list[str]:
        """Return the names of folders."""
        return self._names(path, folders=True)

    def files(self, path: str = "") -> list[str]:
        """Return the names of files."""
        return self._names(path, folders=False)

    def _names(self, path: str, *, folders: bool) -> list[str]:
        target = self._join(path)
        if not Path(target).is_dir():
            return []
        with os.scandir(target) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry) == folders)

    def walk(self, suffixes: tuple[str, ...], path: str = "") -> list[str]:
        """Return the paths of files; links to folders are not followed."""
        found = []
        for folder, _, names in os.walk(self._join(path), onerror=_not_looked_into):
            below = os.path.relpath(folder, self.uri)
            for name in names:
                if name.lower().endswith(suffixes):
                    found.append(name if below == "." else f"{below}/{name}")
        return sorted(found)

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        return Path(self._join(path)).is_file()

    def folder(self, path: str) -> Tree | None:
        """Return a folder as a tree."""
        target = Path(self._join(path))
        return LocalTree(target, self._blobs, self.address(path)) if target.is_dir() else None

    def locate(self, path: str) -> str:
        """Return the address of a file under this folder."""
        # realpath asks for every part of a path; the folders are the same for thousands of files
        folder, _, name = self._join(path).rpartition("/")
        if name in ("", ".", ".."):
            resolved = _real_path(f"{folder}/{name}")
        else:
            parent = self._real_parent(folder or "/")
            resolved = f"{parent}/{name}" if parent != "/" else f"/{name}"
            if _is_link(resolved):
                resolved = _real_path(resolved)
        if not resolved.startswith(self._inside):
            raise OutsideRootError(f"{path} leaves the corpus root {self.uri}: it is {resolved}")
        return resolved

    def open(self, path: str) -> BinaryIO:
        """Open a file."""
        return Path(self.locate(path)).open("rb")

    def _join(self, path: str) -> str:
        return os.path.join(self.uri, path) if path else self.uri  # noqa: PTH118 (an absolute path must win, cheaply)


def _blobs_of(folder: Path) -> str | None:
    """Return the folder of the contents when `folder` is a snapshot (`<cache>/snapshots/<revision>`), else None."""
    blobs = folder.parent.parent / "blobs"
    return str(blobs) if folder.parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink() else None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _not_looked_into(error: OSError) -> None:
    # os.walk would pass over the folder without a word
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise CorpusError(f"{error.filename}: {error.strerror}; the corpus must be readable as a whole") from error


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _real_path(path: str) -> str:
    """Return the path with its links resolved; what is not there counts as no link.

    Raises:
        OSError: links lead in a circle. ValueError: a NUL is in the path.
    """
    resolved = os.path.realpath(path)
    # at a circle realpath stops, and what it leaves unresolved behind it may still lead anywhere
    if os.path.realpath(resolved) != resolved or _is_link(resolved):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return resolved


class S3Tree:
    """A folder in a bucket."""

    def __init__(self, uri: str, connection: S3Connection) -> None:
        self._bucket, self._prefix = split_s3(uri)
        self.uri = uri.rstrip("/")
        self._root = normpath(self.uri.removeprefix("s3://"))
        self.connection = connection

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.uri.rpartition("/")[2]

    def address(self, path: str) -> str:
        """Return the address of an object."""
        return self.locate(path)

    def folders(self, path: str = "") -> list[str]:
        """Return the names of folders."""
        return self.connection.names(self._bucket, self._key(path))[1]

    def files(self, path: str = "") -> list[str]:
        """Return the names of objects."""
        return self.connection.names(self._bucket, self._key(path))[0]

    def walk(self, suffixes: tuple[str, ...], path: str = "") -> list[str]:
        """Return the paths of objects."""
        start = f"{self._key(path)}/".lstrip("/")
        above = len(f"{self._prefix}/") if self._prefix else 0
        return sorted(
            key[above:] for key, _ in self.connection.keys(self._bucket, start) if key.lower().endswith(suffixes)
        )

    def has(self, path: str) -> bool:
        """Whether an object of exactly this key is there."""
        key = self._key(path)
        return any(name == key for name, _ in self.connection.keys(self._bucket, key, limit=1))

    def folder(self, path: str) -> Tree | None:
        """Return a folder as a tree; one without an object in it is not there."""
        start = f"{self._key(path)}/".lstrip("/")
        if not any(self.connection.keys(self._bucket, start, limit=1)):
            return None
        return S3Tree(f"s3://{self._bucket}/{start}", self.connection)

    def locate(self, path: str) -> str:
        """Return `s3://bucket/key` of an object under this folder; whether it is there is not asked."""
        if "\0" in path:
            raise ValueError("embedded null byte")
        scheme, separator, address = path.partition("://")
        key = normpath(address if separator else f"{self._root}/{path}")
        elsewhere = path.startswith("/") or (separator and scheme != "s3")
        if elsewhere or not key.startswith(f"{self._root}/"):
            raise OutsideRootError(f"{path} leaves the corpus root {self.uri}")
        return f"{self.uri}{key[len(self._root) :]}"

    def open(self, path: str) -> BinaryIO:
        """Open an object; what is read comes in ranges of a megabyte."""
        stream = self.connection.filesystem.open_input_file(self.locate(path).removeprefix("s3://"))
        return io.BufferedReader(stream, _READ_AHEAD)

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self._prefix, path.strip("/")) if part)


def open_tree(path: str, connection: S3Connection, what: str) -> Tree:
    """Open the folder of a corpus.

    Args:
        path: A local folder or `s3://bucket/prefix`.
        connection: The object store of `s3://`.
        what: What the folder holds, for the error.

    Raises:
        CorpusError: it is not there, or neither local nor on S3.
    """
    if path.startswith("s3://"):
        tree = S3Tree(path, connection).folder("")
        if tree is None:
            raise CorpusError(f"{path}: nothing is there; {what} needs a folder")
        return tree
    if "://" in path:
        raise CorpusError(f"{path}: {what} is read from a local or mounted folder or from s3://bucket/prefix")
    if not Path(path).is_dir():
        raise CorpusError(f"{path}: no such folder; {what} needs one")
    return LocalTree(path)


def open_file(path: str, connection: S3Connection) -> tuple[Tree, str]:
    """Return the folder of a file (a manifest), and the file's name in it.

    Raises:
        CorpusError: it is neither local nor on S3, or not there.
    """
    tree, name = open_path(path, connection, "a manifest")
    if not name:
        raise CorpusError(f"{path}: this is a folder; give the file")
    return tree, name


def open_path(path: str, connection: S3Connection, what: str) -> tuple[Tree, str]:
    """Return the folder of a file, and the file's name in it; or a folder, and an empty name.

    Raises:
        CorpusError: it is neither local nor on S3, or not there; `what` says what was looked for.
    """
    above, _, name = path.rstrip("/").rpartition("/")
    if not name or above == "s3:/":
        return open_tree(path, connection, what), ""
    tree = open_tree(above or ("/" if path.startswith("/") else "."), connection, what)
    if not path.endswith("/") and tree.has(name):
        return tree, name
    folder = tree.folder(name)
    if folder is None:
        raise CorpusError(f"{path}: no such file or folder; {what} is looked for there")
    return folder, ""


def text_lines(tree: Tree, path: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 file; a byte-order mark is dropped.

    A name that ends in `.gz` is unpacked on the way. Lines end at `\\n` (or `\\r\\n`) only: transcripts may hold
    other separators. Bytes that are not UTF-8 are kept as lone surrogates, so that one bad line does not cost the
    file.

    Raises:
        CorpusError: the file can't be opened or read.
    """
    where = f"{tree.uri}/{path}"
    try:
        with (
            tree.open(path) as raw,
            unpacked(raw, path) as plain,
            noted(tree.address(path), plain, tree.connection) as stream,
        ):
            lines = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="\n")
            for number, line in enumerate(lines, 1):
                if number == 1 and line.startswith(_UTF_16):
                    raise CorpusError(f"{where}: the file is UTF-16; save it as UTF-8")
                yield number, line.rstrip("\r\n")
    except OutsideRootError as error:
        raise CorpusError(f"{where}: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{where}: {error}; the corpus is incomplete") from error


def read_many(tree: Tree, paths: Iterable[str], threads: int) -> Iterator[bytes | OSError | OutsideRootError | None]:
    """Yield the content of many small files in the order of `paths`, None for one that is not there.

    Several are read at once, and a bounded number is held: in a bucket each costs a round trip. One that leaves the
    folder or can't be read yields the error, so that it costs its own row alone.

    Raises:
        CorpusError: the store failed.
    """

    def read(path: str) -> bytes | OSError | OutsideRootError | None:
        try:
            with tree.open(path) as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, ValueError):  # (a NUL in the name)
            return None
        except (OSError, OutsideRootError) as error:
            raise_if_storage_failed(f"{tree.uri}/{path}", error, one_clip=True)
            return error

    waiting = iter(paths)
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(waiting, 8 * threads)):
            yield from pool.map(read, batch)
