"""Connections to an S3-compatible object store: pyarrow for data, boto3 for listings and markers.

Credentials come by the SDK's own ways (environment, profile, instance role); none is ever stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Final

import pyarrow.fs as pafs

from sift_ray.config_storage import StorageConfig

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S: Final = 5.0
_NOT_FOR_US: Final = ("AccessDenied", "NotImplemented", "MethodNotAllowed")
_WRITING: Final = ("PutObject", "CreateMultipartUpload")
_ALSO_PAID: Final = (
    "GetObject",
    "HeadObject",
    "ListObjectsV2",
    "DeleteObjects",
    "UploadPart",
    "CompleteMultipartUpload",
    "ListMultipartUploads",
    "AbortMultipartUpload",
)


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`; the key has no slash at either end.

    Raises:
        ValueError: there is no bucket in it.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"{uri}: write it as s3://bucket/prefix")
    return bucket, key.strip("/")


class StoreError(RuntimeError):
    """The store can't be spoken to as the config says; the message says what to do."""


class S3Connection:
    """One object store; opened at the first use, and anew in every process that it travels to.

    Both clients take their time and try again, more slowly each time, when the store is throttling or goes away for a
    while (`storage.retries`).

    Args:
        storage: Where the store is and how it is spoken to; what it leaves open the environment says, else Amazon.
    """

    def __init__(self, storage: StorageConfig | None = None) -> None:
        self._storage = (storage or StorageConfig()).resolved()
        self._client: Any = None
        self._filesystem: pafs.FileSystem | None = None
        self._uploads_hidden = False

    def __getstate__(self) -> dict[str, Any]:
        # a boto3 client can't travel
        return {**self.__dict__, "_client": None, "_filesystem": None}

    @property
    def client(self) -> Any:
        """The boto3 client."""
        if self._client is None:
            import boto3
            from botocore.config import Config as ClientConfig

            storage = self._storage
            client = boto3.Session(profile_name=storage.profile).client(
                "s3",
                endpoint_url=storage.endpoint_url,
                region_name=storage.region,
                verify=storage.ca_file,
                config=ClientConfig(**_client_options(storage)),
            )
            for operation, parameters in _added_parameters(storage).items():
                client.meta.events.register(f"provide-client-params.s3.{operation}", _adding(parameters))
            self._client = client
        return self._client

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem; its paths are `bucket/key`.

        Raises:
            StoreError: the config asks for what needs s3fs, which is not installed.
        """
        if self._filesystem is None:
            storage = self._storage
            if storage.region is None and storage.profile is not None:
                import boto3

                region = boto3.Session(profile_name=storage.profile).region_name
                storage = storage.model_copy(update={"region": region})
            credentials = _fixed_credentials(storage.profile)
            if storage.encryption or storage.request_payer or credentials is None:
                self._filesystem = _through_s3fs(storage)
            else:
                self._filesystem = _through_pyarrow(storage, credentials)
        return self._filesystem

    def read(self, bucket: str, key: str) -> bytes:
        """Return the whole object.

        A connection that breaks within the answer costs a retry, too: boto3 itself tries again only before it.
        """
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        for retry in count(1):
            try:
                data: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                if retry > self._storage.retries:
                    raise
                time.sleep(min(0.1 * 2**retry, _LONGEST_PAUSE_S))
            else:
                break
        return data

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

    def abort_uploads(self, bucket: str, key: str) -> None:
        """Abort uploads in parts to `key`, or under it as a folder, that were begun and never finished.

        A writer that dies leaves them; they are in no listing, but cost as much as objects. Where the role may not see
        or abort them, or the store knows no such thing, they stay, with one warning for all that is asked; where the
        store fails, they stay until the next time. (MinIO lists them by their whole key alone, and drops them itself.)
        """
        from botocore.exceptions import BotoCoreError, ClientError

        if self._uploads_hidden:
            return
        try:
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key):
                for upload in page.get("Uploads", ()):
                    if upload["Key"] == key or upload["Key"].startswith(f"{key}/"):
                        with suppress(self.client.exceptions.NoSuchUpload):  # finished or aborted meanwhile
                            self.client.abort_multipart_upload(
                                Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                            )
        except (ClientError, BotoCoreError) as error:
            # (tidying up: it must not cost a wave that is written)
            told = getattr(error, "response", {}).get("Error", {}).get("Code")
            self._uploads_hidden = told in _NOT_FOR_US
            log.warning("s3://%s/%s: unfinished uploads there are not looked for: %s", bucket, key, error)


def _client_options(storage: StorageConfig) -> dict[str, Any]:
    """Return botocore's options of timeouts, retries and addressing."""
    style = {None: "path" if storage.endpoint_url else "auto", True: "path", False: "virtual"}[storage.path_style]
    return {
        # standard: each try waits longer, at random. (Adaptive falls to a request in two seconds, for all its client
        # does, where one in twenty is throttled.)
        "retries": {"total_max_attempts": storage.retries + 1, "mode": "standard"},
        "connect_timeout": storage.connect_timeout_s,
        "read_timeout": storage.read_timeout_s,
        "s3": {"addressing_style": style},
    }


def _encryption(storage: StorageConfig) -> dict[str, str]:
    wanted = {"ServerSideEncryption": storage.encryption, "SSEKMSKeyId": storage.kms_key_id}
    return {name: value for name, value in wanted.items() if value}


def _added_parameters(storage: StorageConfig) -> dict[str, dict[str, str]]:
    """Return what each operation's parameters gain."""
    added: dict[str, dict[str, str]] = {name: dict(_encryption(storage)) for name in _WRITING}
    if storage.request_payer:
        for name in (*_WRITING, *_ALSO_PAID):
            added.setdefault(name, {})["RequestPayer"] = "requester"
    return {name: parameters for name, parameters in added.items() if parameters}


def _adding(parameters: dict[str, str]) -> Callable[..., None]:
    def add(params: dict[str, Any], **_: Any) -> None:
        params.update(parameters)

    return add


def _fixed_credentials(profile: str | None) -> dict[str, str] | None:
    """Return a profile's keys as pyarrow takes them; none without a profile, whose ways pyarrow knows itself.

    None (no dictionary) where they run out and must be had anew, which pyarrow can't.
    """
    if profile is None:
        return {}
    import boto3
    from botocore.credentials import RefreshableCredentials

    credentials = boto3.Session(profile_name=profile).get_credentials()
    if credentials is None:
        raise StoreError(f"storage.profile {profile}: the SDK finds no credentials for it")
    if isinstance(credentials, RefreshableCredentials):
        return None
    names = {
        "access_key": credentials.access_key,
        "secret_key": credentials.secret_key,
        "session_token": credentials.token,
    }
    return {name: value for name, value in names.items() if value}


def _through_pyarrow(storage: StorageConfig, credentials: dict[str, str]) -> pafs.FileSystem:
    options: dict[str, Any] = dict(credentials)
    if storage.endpoint_url:
        scheme, _, host = storage.endpoint_url.rstrip("/").rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    if storage.region:
        options["region"] = storage.region
    elif storage.endpoint_url:
        options["region"] = "us-east-1"  # other stores ignore it, but pyarrow would ask AWS for it
    if storage.ca_file:
        options["tls_ca_file_path"] = storage.ca_file
    return pafs.S3FileSystem(
        **options,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=storage.retries + 1),
        connect_timeout=storage.connect_timeout_s,
        request_timeout=storage.read_timeout_s,
        force_virtual_addressing=storage.path_style is False,
    )


def _through_s3fs(storage: StorageConfig) -> pafs.FileSystem:
    """Open the store by s3fs: pyarrow's own client can neither encrypt, nor pay, nor renew a profile's keys."""
    try:
        import s3fs
    except ImportError as error:
        raise StoreError(
            "storage: encryption, request_payer and a profile whose keys expire need s3fs; install sift-ray[s3fs]"
        ) from error
    return pafs.PyFileSystem(
        pafs.FSSpecHandler(
            s3fs.S3FileSystem(
                profile=storage.profile,
                endpoint_url=storage.endpoint_url,
                requester_pays=storage.request_payer,
                client_kwargs={"region_name": storage.region, "verify": storage.ca_file},
                config_kwargs=_client_options(storage),
                s3_additional_kwargs=_encryption(storage),
                use_listings_cache=False,  # other processes write too
            )
        )
    )
