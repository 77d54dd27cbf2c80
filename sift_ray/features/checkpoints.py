"""Find the weights of a model by the name in the config, and read them without running anything that they hold.

A torch file is a pickle, and a pickle can name any function to be called. torch's own reader of weights alone refuses
what is not a tensor; yet Lightning writes objects of the training's classes beside the state dict. For such a file
`load_checkpoint` reads the zip archive itself, with stand-ins for whatever is not a tensor.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import urllib3

if TYPE_CHECKING:
    import torch

_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
_BACKOFF_S: Final = 1.0
_MOST_ADDRESSES: Final = 5  # one after another, each redirecting to the next
_BLOCK: Final = 1 << 20
_HUB_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


class CheckpointError(ValueError):
    """Weights can't be had or read; the message says which, why, and what to do."""


def find_checkpoint(source: str, *, filenames: Sequence[str], revision: str | None = None) -> Path:
    """Return the file that `source` names, downloaded if need be.

    Args:
        source: a file, a folder, an https address, or `organisation/model` on the Hugging Face hub.
        filenames: what the file is called in a folder or on the hub; the first that is there is taken.
        revision: branch, tag or commit on the hub; default its main branch.

    Returns:
        A local file. Downloads from an address lie in `$XDG_CACHE_HOME/sift-ray/checkpoints`, those from the hub where
        its library keeps them (`HF_HOME`); what lies there is not downloaded again.

    Raises:
        CheckpointError: there is no such file, or it can't be downloaded.
    """
    path = _local(source)
    if path is not None:
        return _files(path, filenames)[0]
    return _download(source) if _is_url(source) else _from_hub(source, filenames, revision)


def checkpoint_identity(source: str, *, filenames: Sequence[str], revision: str | None = None) -> str:
    """Return what tells the weights of `source` from others, for fingerprints; nothing is downloaded.

    Arguments are those of `find_checkpoint`.

    Returns:
        16 hex digits of the SHA-256 of a file, or of those of `filenames` that a folder holds; an address as it stands;
        `organisation/model@revision` for the hub, where a branch may move, and a commit does not.

    Raises:
        CheckpointError: there is no such file or folder, or the folder holds none of `filenames`.
    """
    path = _local(source)
    if path is None:
        return source if _is_url(source) else f"{source}@{revision or 'main'}"
    if path.is_file():
        return _sha256(path)[:16]
    digest = hashlib.sha256()
    for file in _files(path, filenames):
        digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a file of safetensors or torch, or under `state_dict` in a Lightning checkpoint.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        CheckpointError: the file can't be read, or holds anything else.
    """
    import torch

    checkpoint = load_checkpoint(path)
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping) or not weights:
        raise CheckpointError(f"{path}: holds no weights; give the file of a saved state dict")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{path}: {name!r} is no tensor; give the file of a saved state dict")
    return dict(weights)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return all that a file of safetensors or torch holds; no code of the file is run, and no class imported.

    Returns:
        The dict that was saved, tensors on the CPU. What torch does not count as safe is `Foreign`: an object an
        instance of it, a class or function by itself a subclass.

    Raises:
        CheckpointError: the file is missing, damaged, or holds no dict.
    """
    try:
        checkpoint = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except CheckpointError:
        raise
    except ImportError as error:
        raise CheckpointError(f"{path}: reading it needs {error.name}; install sift-ray[models]") from error
    except Exception as error:  # a damaged file can make its reader raise anything
        raise CheckpointError(f"{path}: can't be read ({_one_line(error)}); is the file whole?") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path}: holds a {type(checkpoint).__name__}, not a dict of weights")
    return checkpoint


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)


def _read_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            return _read_with_stand_ins(path)
        # torch's own message would advise to trust the file
        raise CheckpointError(
            f"{path}: damaged, a program, no weights at all, or in torch's format before 1.6 with other objects beside "
            "them; give a file of safetensors or of today's torch.save"
        ) from error


class Foreign:
    """Stands in a checkpoint for an object of a class that is not known here.

    Attributes:
        origin: module and name of the class, or of the function that would have made the object.
        args: what it would have been made from.
        state: what its attributes would have been set from; None where nothing was.
        items: what would have been appended, added or (as pairs) set.
    """

    origin = ""
    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any, **_: Any) -> Foreign:
        """Keep what the object would have been made from."""
        made = super().__new__(cls)
        made.args = args
        made.state = None
        made.items = []
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def extend(self, items: Sequence[Any]) -> None:
        """Keep items of what would have been a list."""
        self.items.extend(items)

    def add(self, item: Any) -> None:
        """Keep an item of what would have been a set."""
        self.items.append(item)

    def __repr__(self) -> str:
        return f"<{self.origin} in a checkpoint>"


def _foreign(origin: str) -> type[Foreign]:
    return type("Foreign", (Foreign,), {"origin": origin})


def _attribute(owner: Any, name: Any) -> type[Foreign]:
    # nested classes are pickled as getattr(class, name): the one function that must seem to work
    return _foreign(f"{getattr(owner, 'origin', owner)}.{name}")


class _InertUnpickler(pickle.Unpickler):
    """Makes tensors, dicts, lists, numbers and strings, and a `Foreign` for everything else that is named."""

    def __init__(self, data: bytes, storage: Callable[[str, str, int], torch.Tensor]) -> None:
        super().__init__(io.BytesIO(data))
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global; nothing is imported."""
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return _KNOWN.get((module, name)) or _foreign(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """Return the values of one storage: torch names them by ("storage", type, key, device, size)."""
        kind, dtype, key, _, size = pid
        if kind != "storage" or dtype not in _STORAGES.values():
            raise pickle.UnpicklingError(f"values of a type that is not known: {dtype!r}")
        return self._storage(dtype, key, size)


def _tensor(storage: torch.Tensor, offset: int, shape: Sequence[int], stride: Sequence[int], *_: Any) -> torch.Tensor:
    return storage.as_strided(shape, stride, offset)  # which refuses to go beyond the storage


def _parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    return data


_KNOWN: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "getattr"): _attribute,
    ("__builtin__", "getattr"): _attribute,
}


def _read_with_stand_ins(path: Path) -> Any:
    import torch

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise CheckpointError(f"{path}: an archive of another kind; give a file of torch.save")
        root = roots[0]
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise CheckpointError(f"{path}: written on a big-endian machine; save it again as safetensors")
        storages: dict[str, torch.Tensor] = {}

        def storage(dtype: str, key: str, size: int) -> torch.Tensor:
            if key not in storages:
                values = bytearray(archive.read(f"{root}data/{key}"))
                kind = getattr(torch, dtype)
                storages[key] = torch.frombuffer(values, dtype=kind, count=size) if size else torch.empty(0, dtype=kind)
            return storages[key]

        return _InertUnpickler(archive.read(f"{root}data.pkl"), storage).load()


def _local(source: str) -> Path | None:
    """Return the file or folder that `source` names; None for an address or a hub id."""
    if source.startswith("https://"):
        return None
    if "://" in source:
        raise CheckpointError(f"{source}: weights are downloaded over https alone; give such an address, or a file")
    path = Path(source).expanduser()
    if source and path.exists():
        return path
    if not _HUB_ID.fullmatch(source):
        raise CheckpointError(f"{source}: no such file or folder; give one, an https address, or a hub id")
    return None


def _is_url(source: str) -> bool:
    return source.startswith("https://")


def _files(path: Path, filenames: Sequence[str]) -> list[Path]:
    if path.is_file():
        return [path]
    found = [path / name for name in filenames if (path / name).is_file()]
    if not found:
        raise CheckpointError(
            f"{path}: the folder holds no {' or '.join(filenames)}; give the folder or file of a model"
        )
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sift-ray" / "checkpoints"


def _download(url: str) -> Path:
    name = re.sub(r"[^\w.-]", "_", url.partition("?")[0].rpartition("/")[2], flags=re.ASCII)[-100:]
    target = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16] / (name or "checkpoint")
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _fetch(url, file)
        # whole or not at all; a second process that does the same does no harm
        Path(partial).chmod(0o644)
        Path(partial).replace(target)
    except urllib3.exceptions.HTTPError as error:
        raise CheckpointError(
            f"{url}: can't be downloaded ({_one_line(error)}); download it elsewhere, and give the file's path"
        ) from error
    finally:
        Path(partial).unlink(missing_ok=True)
    return target


def _fetch(url: str, file: io.BufferedWriter) -> None:
    # certificates are checked (SSL_CERT_FILE names other authorities)
    retries = urllib3.Retry(
        total=5,
        redirect=0,
        backoff_factor=_BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        respect_retry_after_header=False,
    )
    with urllib3.PoolManager(timeout=_TIMEOUT, retries=retries) as pool:
        address = url
        for _ in range(_MOST_ADDRESSES):
            answer = pool.request("GET", address, preload_content=False, redirect=False)
            try:
                target = answer.get_redirect_location()
                if not target:
                    _save(url, answer, file)
                    return
            finally:
                answer.close()
            address = urljoin(address, target)
            if not _is_url(address):
                raise CheckpointError(f"{url}: can't be downloaded (it leads to {address}, which is not https)")
    raise CheckpointError(f"{url}: can't be downloaded (one redirect after another); give the last address")


def _save(url: str, answer: urllib3.BaseHTTPResponse, file: io.BufferedWriter) -> None:
    if answer.status != 200:
        raise CheckpointError(f"{url}: can't be downloaded (HTTP {answer.status}); check the address, or give a file")
    for block in answer.stream(_BLOCK):
        file.write(block)


def _from_hub(repo: str, filenames: Sequence[str], revision: str | None) -> Path:
    try:
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(
            f"{repo}: no such file or folder, and to look for it on the hub needs huggingface-hub; "
            "install sift-ray[models]"
        ) from error
    where = f"{repo}@{revision or 'main'}"
    missing: Exception | None = None
    for filename in filenames:
        try:
            return Path(hf_hub_download(repo, filename, revision=revision))
        except hub.EntryNotFoundError as error:
            # not there, or (of the same class) not in the cache while the hub can't be reached
            missing = error
        except hub.GatedRepoError as error:
            raise CheckpointError(
                f"{where}: open only to those who accept its terms: do so at https://huggingface.co/{repo}, "
                "then log in with `hf auth login` or set HF_TOKEN"
            ) from error
        except hub.RepositoryNotFoundError as error:
            raise CheckpointError(
                f"{where}: no such file or folder, and the hub shows no such model; check the name, and for a private "
                "one log in with `hf auth login` or set HF_TOKEN"
            ) from error
        except hub.RevisionNotFoundError as error:
            raise CheckpointError(f"{where}: the model has no such revision; check it on the hub") from error
        except Exception as error:  # of whichever library the hub's own uses for the net
            raise CheckpointError(f"{where}: can't be downloaded from the hub ({_one_line(error)})") from error
    names = " or ".join(filenames)
    if isinstance(missing, hub.LocalEntryNotFoundError):
        raise CheckpointError(
            f"{where}: no such file or folder, the hub does not answer ({_one_line(missing.__cause__ or missing)}), "
            f"and no {names} of it lies in the cache; download it elsewhere, and give the file's path"
        ) from missing
    raise CheckpointError(f"{where}: the model holds no {names}; give the file's path") from missing


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
