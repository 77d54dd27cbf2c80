"""The output root, local or S3: files put whole, waves listed, completion marked by a manifest put last.

Layout under the root: `<stage>/wave=NNNNN/part-NNNNN.parquet` beside `<stage>/wave=NNNNN/_MANIFEST.json`. A wave
without a manifest does not count: it is deleted and run again. Nothing else marks completion.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sift_ray.config import Config
from sift_ray.config_storage import StorageConfig
from sift_ray.fsspec_root import PACKAGES, FsspecRoot
from sift_ray.object_store import S3Connection, split_s3

MANIFEST_NAME = "_MANIFEST.json"
_DELETED_AT_ONCE = 1000  # the most that S3 takes in a request

Counts = dict[str, dict[str, int | float]]
"""What a shard or wave holds: table name → row label → number. Sums over shards are the wave's, and so on."""


class StorageError(RuntimeError):
    """The output root can't be read or written; the message says which and why."""


class OutputRoot(Protocol):
    """A folder that holds everything that a job makes. Paths are relative to it, with `/`."""

    uri: str

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem for table data; picklable."""

    def locate(self, path: str) -> str:
        """Return `path` as the filesystem wants it."""

    def read(self, path: str) -> bytes:
        """Return the whole file. Raises FileNotFoundError where there is none."""

    def put(self, path: str, data: bytes) -> None:
        """Write the whole file, or nothing: no reader ever sees a part of it."""

    def exists(self, path: str) -> bool:
        """Whether a file is there."""

    def names(self, path: str) -> list[str]:
        """Return the sorted names of files and folders directly under `path`; empty where it is not there.

        What a writer that was killed left half-written is not among them.
        """

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all under it; nothing happens where it is not there."""

    def abort_uploads(self, path: str) -> None:
        """Give up what writers that died had begun to upload to a file, or to any under a folder: `names` lacks it.

        To be called only where nobody writes: an upload that is under way fails with the others.
        """


class LocalRoot:
    """An output root on a filesystem that all nodes share (or on the one machine there is)."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).absolute()
        self.uri = str(self._folder)

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The local filesystem."""
        return pafs.LocalFileSystem()

    def locate(self, path: str) -> str:
        """Return the absolute path."""
        return str(self._folder / path)

    def read(self, path: str) -> bytes:
        """Return the whole file."""
        return (self._folder / path).read_bytes()

    def put(self, path: str, data: bytes) -> None:
        """Write beside the target, flush to disk, then rename over it."""
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)  # mkstemp's 0600 would lock out other users of the dataset
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return (self._folder / path).is_file()

    def names(self, path: str) -> list[str]:
        """Return the sorted names directly under `path`; not hidden ones, which `put` gives to what is unfinished."""
        folder = self._folder / path
        names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
        return sorted(name for name in names if not name.startswith("."))

    def delete(self, path: str) -> None:
        """Delete a file or a folder."""
        target = self._folder / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def abort_uploads(self, path: str) -> None:
        """Do nothing: a disk knows no uploads."""


class S3Root:
    """An output root under `s3://bucket/prefix`: pyarrow for tables, boto3 for listing and markers.

    Credentials come by the SDK's own ways; see `object_store`.
    """

    def __init__(self, uri: str, storage: StorageConfig | None = None) -> None:
        try:
            self._bucket, self._prefix = split_s3(uri)
        except ValueError as error:
            raise StorageError(str(error)) from error
        self.uri = uri.rstrip("/")
        self._connection = S3Connection(storage)

    @property
    def client(self) -> Any:
        """The boto3 client."""
        return self._connection.client

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow S3 filesystem of the same endpoint."""
        return self._connection.filesystem

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self._prefix, path.strip("/")) if part)

    def locate(self, path: str) -> str:
        """Return `bucket/key`."""
        return f"{self._bucket}/{self._key(path)}"

    def read(self, path: str) -> bytes:
        """Return the whole object."""
        try:
            return self._connection.read(self._bucket, self._key(path))
        except self.client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(f"{self.uri}/{path}") from error
        except self.client.exceptions.ClientError as error:
            # (an answer that was cut says 404, and not of what)
            if error.response.get("Error", {}).get("Code") != "404" or self.exists(path):
                raise
            raise FileNotFoundError(f"{self.uri}/{path}") from error

    def put(self, path: str, data: bytes) -> None:
        """Put one object; S3 shows it whole or not at all."""
        self.client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data)

    def exists(self, path: str) -> bool:
        """Whether an object of exactly this key is there."""
        key = self._key(path)
        answer = self.client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
        return any(item["Key"] == key for item in answer.get("Contents", ()))

    def names(self, path: str) -> list[str]:
        """Return the sorted names directly under `path`."""
        files, folders = self._connection.names(self._bucket, self._key(path))
        return sorted({*files, *folders})

    def delete(self, path: str) -> None:
        """Delete the object, and all objects under it as a folder; abort uploads to them that were never finished."""
        key = self._key(path)
        if not path.endswith(".json"):  # (markers are put in one piece)
            self._connection.abort_uploads(self._bucket, key)
        found = (name for name, _ in self._connection.keys(self._bucket, key))
        under = (name for name in found if name == key or name.startswith(f"{key}/"))
        while batch := [{"Key": name} for name in islice(under, _DELETED_AT_ONCE)]:
            answer = self.client.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
            if answer.get("Errors"):
                raise StorageError(f"{self.uri}/{path}: could not delete: {answer['Errors'][0]}")

    def abort_uploads(self, path: str) -> None:
        """Abort uploads in parts to `path`, or under it as a folder, for one request where there are none."""
        self._connection.abort_uploads(self._bucket, self._key(path))


def open_root(uri: str, storage: StorageConfig | None = None) -> OutputRoot:
    """Open `uri`: a local folder, `s3://bucket/prefix` (`storage` says how to speak to it), `gs://` or `abfs://`.

    Raises:
        StorageError: the scheme is not known.
    """
    if uri.startswith("s3://"):
        return S3Root(uri, storage)
    scheme, mark, _ = uri.partition("://")
    if mark and scheme in PACKAGES:
        try:
            return FsspecRoot(uri)
        except ValueError as error:
            raise StorageError(str(error)) from error
    if mark:
        raise StorageError(f"{uri}: an output is a local folder, s3://bucket/prefix, or one at {', '.join(PACKAGES)}")
    return LocalRoot(uri)


def root_of(config: Config) -> OutputRoot:
    """Open the output root of a job."""
    return open_root(config.output, config.storage)


def fetch_folder(root: OutputRoot, path: str, target: Path) -> Path:
    """Copy the files directly under `path` to the local folder `target`, once; return `target`.

    Several workers of a node may ask at once: each copies apart and the first to rename wins.

    Raises:
        StorageError: nothing lies there, or the listing lacks the mark of a finished folder that has one.
    """
    if isinstance(root, LocalRoot):
        return Path(root.locate(path))
    if target.is_dir():
        return target
    names = root.names(path)
    # what is copied is kept for good: no part of a folder may be taken for the whole
    if not names or (MANIFEST_NAME not in names and root.exists(f"{path}/{MANIFEST_NAME}")):
        raise StorageError(f"{root.uri}/{path}: {len(names)} files are listed there, which is not all; run again")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        copy = Path(temporary) / "copy"
        copy.mkdir()
        for name in names:
            (copy / name).write_bytes(root.read(f"{path}/{name}"))
        try:
            copy.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


class ShardInfo(BaseModel):
    """One file of a wave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int
    bytes: int


class WaveManifest(BaseModel):
    """What marks a wave as done: which files, how many rows, which rows, made from what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    wave: int
    rows: int
    id_digest: str
    fingerprint: str
    files: tuple[ShardInfo, ...]
    counts: Counts
    started_at: str
    seconds: float
    versions: dict[str, str]


def wave_folder(stage: str, wave: int) -> str:
    """Return the folder of a wave, relative to the root."""
    return f"{stage}/wave={wave:05d}"


def read_manifest(root: OutputRoot, stage: str, wave: int) -> WaveManifest | None:
    """Return the manifest of a finished wave, None where the wave is not finished.

    Raises:
        StorageError: the manifest is there but can't be read as one.
    """
    path = f"{wave_folder(stage, wave)}/{MANIFEST_NAME}"
    try:
        data = root.read(path)
    except FileNotFoundError:
        return None
    try:
        return WaveManifest.model_validate_json(data)
    except ValueError as error:
        raise StorageError(
            f"{root.uri}/{path}: not a manifest of this version: {error}; delete the wave's folder to redo it"
        ) from error


def is_intact(root: OutputRoot, manifest: WaveManifest) -> bool:
    """Whether every file of a finished wave is there, in the size that it was written in."""
    if not manifest.files:
        return True
    infos = root.filesystem.get_file_info(wave_files(root, manifest))
    return all(info.size == file.bytes for info, file in zip(infos, manifest.files, strict=True))


def write_manifest(root: OutputRoot, manifest: WaveManifest) -> None:
    """Mark a wave as done. Must come after every file of it."""
    path = f"{wave_folder(manifest.stage, manifest.wave)}/{MANIFEST_NAME}"
    root.put(path, manifest.model_dump_json(indent=1).encode())


def wave_files(root: OutputRoot, manifest: WaveManifest) -> list[str]:
    """Return the wave's Parquet files as the filesystem wants them."""
    folder = wave_folder(manifest.stage, manifest.wave)
    return [root.locate(f"{folder}/{file.name}") for file in manifest.files]


def read_table(root: OutputRoot, path: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """Return one Parquet file, given as `OutputRoot.locate` gives it, with its own columns alone.

    (pyarrow would make a column of the `wave=NNNNN` in the path.)
    """
    return pq.read_table(path, columns=columns, filters=filters, filesystem=root.filesystem, partitioning=None)


def read_json(root: OutputRoot, path: str) -> dict[str, Any] | None:
    """Return the JSON object at `path`, None where there is no such file.

    Raises:
        StorageError: it is no JSON.
    """
    try:
        value: dict[str, Any] = json.loads(root.read(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(
            f"{root.uri}/{path}: not JSON: {error}. Restore it, or make its stage again with --restart-from"
        ) from error
    return value


def put_json(root: OutputRoot, path: str, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON, whole or not at all."""
    root.put(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).encode())


def fingerprint(ingredients: Mapping[str, Any]) -> str:
    """Return 16 hex digits that change when anything in `ingredients` (JSON values) does."""
    canonical = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Say what changed between two sets of ingredients, one line a key."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: was {json.dumps(before)}, is {json.dumps(after)}")
    return lines


def stable_id(*parts: str) -> int:
    """Return a signed 64-bit identity of `parts`: the same on every machine, in every run."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def id_digest(ids: NDArray[np.int64] | pa.ChunkedArray, salts: Iterable[str] | None = None) -> int:
    """Return a number that tells one multiset of ids from another, whatever their order.

    Each id is mixed by the finaliser of splitmix64 (Steele et al. 2014) and the results are added modulo 2^64, so
    digests of shards add up to the digest of the wave. `salts`, one an id, tells apart rows that share an id.
    """
    values = np.asarray(ids, dtype=np.int64).view(np.uint64)
    if salts is not None:
        salt_of: dict[str, int] = {}
        salted = [salt_of.setdefault(s, stable_id(s) & 0xFFFFFFFFFFFFFFFF) for s in salts]
        values = values ^ np.asarray(salted, dtype=np.uint64)
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return int(np.sum(mixed, dtype=np.uint64))


def add_digests(digests: Iterable[int]) -> int:
    """Return the digest of the union of disjoint sets of rows."""
    return sum(digests) % 2**64


def add_counts(many: Iterable[Counts]) -> Counts:
    """Return the sums, table by table and label by label."""
    total: Counts = {}
    for counts in many:
        for table, labels in counts.items():
            sums = total.setdefault(table, {})
            for label, number in labels.items():
                sums[label] = sums.get(label, 0) + number
    return total
