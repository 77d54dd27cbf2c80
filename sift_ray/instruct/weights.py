"""Weights from elsewhere, fetched once a node: a repository of the Hugging Face hub, or a folder of an object store.

Only safetensors, configs and tokenizers are fetched. A pickle can run code as it is loaded, so none ever is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from sift_ray.config_storage import StorageConfig
from sift_ray.object_store import S3Connection, split_s3

READY: Final = "config.json"
"""The file without which a folder is no model."""

WANTED: Final = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
UNWANTED: Final = ("*/*", "consolidated*")
"""What lies in a model's folder twice, in another format."""

_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SECRETS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_TOKEN: Final = re.compile(r"hf_\w{8,}|(?<=://)[^/@\s]+@")
_DETAIL: Final = 300
_ASK_S: Final = 20.0

log = logging.getLogger(__name__)


class ModelError(ValueError):
    """The model can't be had; the message says why and what to do."""


@contextmanager
def node_lock(cache: Path, name: str) -> Iterator[None]:
    """Hold what only one process of this node may do at a time; a process that dies lets go."""
    folder = cache / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process prepares %s: waiting for it", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def made_once(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of `cache`; if it is not there yet, one process of the node lets `make` fill it."""
    target = cache / name
    if (target / READY).is_file():
        return target
    with node_lock(cache, name):
        if (target / READY).is_file():
            return target
        for left in cache.glob(f".{name}-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed: it would hold the lock otherwise
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        try:
            make(partial)
            partial.chmod(0o755)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def check_folder(name: str, folder: Path) -> None:
    """Check that `folder` holds a model that can be loaded without running any code of its own.

    Raises:
        ModelError: there is no config, no safetensors, or not all of them.
    """
    if not (folder / READY).is_file():
        raise ModelError(f"model {name}: the folder holds no {READY}; name the folder of a saved model")
    there = {path.name for path in folder.iterdir()}
    if not any(file.endswith(".safetensors") for file in there):
        pickles = sorted(file for file in there if file.endswith(_PICKLES))
        found = f" (it has {pickles[0]})" if pickles else ""
        raise ModelError(
            f"model {name}: it holds no safetensors{found}, and pickled weights, which may run code, are never loaded; "
            "take a revision or a model with safetensors, or save it anew with transformers' save_pretrained"
        )
    missing = sorted(_shards(name, folder) - there)
    if missing:
        raise ModelError(f"model {name}: {len(missing)} weight files are missing, {missing[0]} first; copy them again")


def _shards(name: str, folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"model {name}: {index.name} can't be read ({error!r}); copy the model again") from error


def fetch_hub(repository: str, revision: str | None, cache: Path) -> Path:
    """Return the local folder of a hub repository, downloaded into the hub's own cache once a node.

    `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` are obeyed as everywhere. Where the hub can't be reached,
    what the cache holds will do, if it is whole.

    Raises:
        ModelError: it can't be had, or its weights are no safetensors.
    """
    name = f"{repository}@{revision}" if revision else repository
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ModelError(f"model {name}: fetching it needs huggingface-hub; install sift-ray[vllm]") from error
    with node_lock(cache, "hub-" + re.sub(r"[^\w.-]", "--", name)):
        try:
            folder = snapshot_download(
                repository, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
            )
        except Exception as error:
            # the hub's errors come from one of three HTTP libraries, by its version
            raise ModelError(f"model {name}: {_trouble(error, revision)}") from None
    check_folder(name, Path(folder))
    return Path(folder)


def _trouble(error: Exception, revision: str | None) -> str:
    """Say in a sentence why the hub gave nothing, and what to do. No token ever stands in it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError) or (status in (401, 403) and not isinstance(error, RepositoryNotFoundError)):
        said = "the hub refuses access: accept the model's terms on its page, then set HF_TOKEN to that account's token"
    elif isinstance(error, RevisionNotFoundError):
        said = f"it has no revision {revision!r}: give a commit, tag or branch of it after the @"
    elif isinstance(error, RepositoryNotFoundError):
        said = "the hub shows no such model: check the name, or if it is private, set HF_TOKEN"
    elif isinstance(error, HFValidationError):
        said = f"that is no hub id ({without_secrets(error)}); write organisation/model or organisation/model@revision"
    elif isinstance(error, LocalEntryNotFoundError):
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        said = (
            f"{'HF_HUB_OFFLINE is set' if offline else 'the hub does not answer'}, and this node's cache does not hold "
            "all of it; connect the node, or copy the model to a folder (or s3://bucket/prefix) and name that"
        )
    else:
        said = f"it could not be fetched: {without_secrets(error)}; see that the node has a connection and room on disk"
    return said


def without_secrets(error: Exception) -> str:
    """Return "Type: message" without tokens, passwords in addresses, and keys of the environment; shortened."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for variable in _SECRETS:
        secret = os.environ.get(variable)
        if secret:
            text = text.replace(secret, "***")
    return _TOKEN.sub("***", text)[:_DETAIL]


def hub_commit(repository: str, revision: str | None) -> str | None:
    """Return the commit that `revision` (None: the main branch) of a hub repository is at now.

    None, and a warning, where the hub does not tell: it can't be reached from here, `HF_HUB_OFFLINE` is set, the
    client is not installed, or it refuses (which is an error only where the model is to be loaded).
    """
    name = f"{repository}@{revision}" if revision else repository
    try:
        from huggingface_hub import HfApi

        return HfApi().model_info(repository, revision=revision or "main", timeout=_ASK_S).sha
    except Exception as error:
        # the hub's errors come from one of three HTTP libraries, by its version
        log.warning(
            "model %s: which commit of it is meant can't be asked of the hub here, so each node takes what it finds; "
            "write %s@COMMIT to be sure that all take the same (%s)",
            name,
            repository,
            without_secrets(error),
        )
        return None


def fetch_s3(uri: str, cache: Path, storage: StorageConfig | None = None) -> Path:
    """Return a local copy of the model folder `s3://bucket/prefix`, made once a node and state of the folder.

    `storage` says where the store is; what it leaves open, and the keys, the environment.

    Raises:
        ModelError: it can't be read, or holds no model.
    """
    connection, bucket, objects = _objects(uri, storage)

    def copy(folder: Path) -> None:
        for name, item in objects.items():
            connection.client.download_file(bucket, item["Key"], str(folder / name))
        check_folder(uri, folder)

    try:
        return made_once(cache, f"s3-{_digest(objects)}", copy)
    except _store_errors() as error:
        raise ModelError(f"model {uri}: it could not be copied: {without_secrets(error)}") from None


def s3_revision(uri: str, storage: StorageConfig | None = None) -> str:
    """Return a hash of the names, sizes and tags of the model's files.

    Raises:
        ModelError: as `fetch_s3`.
    """
    return _digest(_objects(uri, storage)[2])


def _objects(uri: str, storage: StorageConfig | None) -> tuple[S3Connection, str, dict[str, Any]]:
    """Return the store, the bucket, and what is wanted of the folder, by file name."""
    try:
        bucket, prefix = split_s3(uri)
    except ValueError as error:
        raise ModelError(f"model {error}") from error
    start = f"{prefix}/" if prefix else ""
    connection = S3Connection(storage)
    try:
        pages = connection.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
        found = {item["Key"][len(start) :]: item for page in pages for item in page.get("Contents", ())}
    except _store_errors() as error:
        raise ModelError(
            f"model {uri}: the store can't be read: {without_secrets(error)}; check `storage` and the AWS_* variables"
        ) from None
    if READY not in found:
        raise ModelError(f"model {uri}: there is no {READY} under it; name the folder of a saved model")
    return connection, bucket, {name: found[name] for name in sorted(found) if _is_wanted(name)}


def _is_wanted(name: str) -> bool:
    return any(fnmatchcase(name, p) for p in WANTED) and not any(fnmatchcase(name, p) for p in UNWANTED)


def _digest(objects: dict[str, Any]) -> str:
    lines = (f"{name}\0{item['Size']}\0{item['ETag']}\n" for name, item in objects.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _store_errors() -> tuple[type[Exception], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (Boto3Error, BotoCoreError, ClientError)
