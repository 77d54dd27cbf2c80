"""An output root on what fsspec speaks to: Google Cloud Storage (`gs://`) and Azure (`abfs://`, `az://`)."""

from __future__ import annotations

from typing import Any, Final

import pyarrow.fs as pafs

PACKAGES: Final = {"gs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
"""Scheme → the package that fsspec needs for it, which is also the name of this project's extra."""


class FsspecRoot:
    """An output root under `scheme://bucket/prefix`; see `storage.OutputRoot`.

    Objects are shown whole or not at all, as on S3. Credentials come by the package's own ways.
    """

    def __init__(self, uri: str) -> None:
        """Take the address; nothing is asked of the store yet.

        Raises:
            ValueError: there is no bucket in it.
        """
        scheme, _, path = uri.partition("://")
        self._scheme, self._path = scheme, path.strip("/")
        self.uri = f"{scheme}://{self._path}"
        if not self._path:
            raise ValueError(f"{uri}: write it as {scheme}://bucket/prefix")
        self._store: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}  # connections can't travel

    @property
    def store(self) -> Any:
        """The fsspec filesystem.

        Raises:
            ValueError: its package is not installed.
        """
        if self._store is None:
            import fsspec

            try:
                # other processes write too: a listing kept from before would be wrong
                self._store = fsspec.filesystem(self._scheme, use_listings_cache=False)
            except ImportError as error:
                package = PACKAGES[self._scheme]
                raise ValueError(f"{self.uri}: this needs {package}; install sift-ray[{package}]") from error
        return self._store

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem over it."""
        return pafs.PyFileSystem(pafs.FSSpecHandler(self.store))

    def locate(self, path: str) -> str:
        """Return `bucket/key`."""
        return "/".join(part for part in (self._path, path.strip("/")) if part)

    def read(self, path: str) -> bytes:
        """Return the whole object."""
        data: bytes = self.store.cat_file(self.locate(path))
        return data

    def put(self, path: str, data: bytes) -> None:
        """Put one object."""
        self.store.pipe_file(self.locate(path), data)

    def exists(self, path: str) -> bool:
        """Whether an object of exactly this key is there."""
        try:  # (`isfile` takes every failure, a store that is away among them, for "not there")
            return bool(self.store.info(self.locate(path))["type"] == "file")
        except FileNotFoundError:
            return False

    def names(self, path: str) -> list[str]:
        """Return the sorted names directly under `path`."""
        self.store.invalidate_cache()
        try:
            found = self.store.ls(self.locate(path), detail=True)
        except FileNotFoundError:
            return []
        here = self.locate(path).strip("/")
        names = (str(entry["name"]).strip("/") for entry in found)
        return sorted(name.rpartition("/")[2] for name in names if name != here)

    def delete(self, path: str) -> None:
        """Delete the object, and all objects under it as a folder."""
        self.store.invalidate_cache()
        target = self.locate(path)
        if self.store.exists(target):
            self.store.rm(target, recursive=True)

    def abort_uploads(self, path: str) -> None:
        """Do nothing: what was begun and not finished within a week, both stores drop by themselves."""
