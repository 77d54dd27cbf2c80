"""Connections to an S3-compatible object store: pyarrow for data, boto3 for listings and markers.

Credentials come by the SDK's own ways (environment, profile, instance role); none is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.fs as pafs

from sift_ray.config import StorageConfig


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`; the key has no slash at either end.

    Raises:
        ValueError: there is no bucket in it.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"{uri}: write it as s3://bucket/prefix")
    return bucket, key.strip("/")


class S3Connection:
    """One object store; opened at the first use, and anew in every process that it travels to.

    Args:
        endpoint_url: Where the store is; None: where the environment says (`StorageConfig`), else Amazon.
        region: Its region; None: as the environment says.
    """

    def __init__(self, endpoint_url: str | None = None, region: str | None = None) -> None:
        storage = StorageConfig(endpoint_url=endpoint_url, region=region).resolved()
        self._endpoint_url, self._region = storage.endpoint_url, storage.region
        self._client: Any = None
        self._filesystem: pafs.FileSystem | None = None

    def __getstate__(self) -> dict[str, Any]:
        # a boto3 client can't travel
        return {**self.__dict__, "_client": None, "_filesystem": None}

    @property
    def client(self) -> Any:
        """The boto3 client."""
        if self._client is None:
            import boto3

            self._client = boto3.client("s3", endpoint_url=self._endpoint_url, region_name=self._region)
        return self._client

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem; its paths are `bucket/key`."""
        if self._filesystem is None:
            self._filesystem = self._open_filesystem()
        return self._filesystem

    def _open_filesystem(self) -> pafs.FileSystem:
        options: dict[str, Any] = {}
        if self._endpoint_url:
            scheme, _, host = self._endpoint_url.rstrip("/").rpartition("://")
            options = {"endpoint_override": host, "scheme": scheme or "https"}
        if self._region:
            options["region"] = self._region
        elif self._endpoint_url:
            options["region"] = "us-east-1"  # other stores ignore it, but pyarrow would ask AWS for it
        return pafs.S3FileSystem(**options)

    def keys(self, bucket: str, prefix: str, limit: int | None = None) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of every object whose key begins with `prefix`, in the order of keys, page by page.

        `limit` is how many are asked for at most; None: all.
        """
        some = {"MaxItems": limit, "PageSize": limit}
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, PaginationConfig=some
        )
        for page in pages:
            for item in page.get("Contents", ()):
                yield item["Key"], item["Size"]

    def names(self, bucket: str, prefix: str) -> tuple[list[str], list[str]]:
        """Return the sorted names of (files, folders) directly under the folder `prefix` ("" is the bucket)."""
        start = f"{prefix}/" if prefix else ""
        files: set[str] = set()
        folders: set[str] = set()
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start, Delimiter="/"):
            files.update(item["Key"][len(start) :] for item in page.get("Contents", ()))
            folders.update(item["Prefix"][len(start) :].rstrip("/") for item in page.get("CommonPrefixes", ()))
        return sorted(files - {""}), sorted(folders - {""})
