"""Read the weights of a model without running anything that their file holds.

A torch file is a pickle, and a pickle can name any function to be called. torch's own reader of weights alone refuses
what is not a tensor; yet Lightning writes objects of the training's classes beside the state dict. For such a file
`load_checkpoint` reads the zip archive itself, with stand-ins for whatever is not a tensor.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sift_ray.features.checkpoints import CheckpointError, one_line

if TYPE_CHECKING:
    import torch

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
        raise CheckpointError(f"{path}: can't be read ({one_line(error)}); is the file whole?") from error
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


class _Maker:
    """What a pickle may call; an object without attributes, as a pickle may also set those of what it is given."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets attributes of a function")


class _Tensor(_Maker):
    __slots__ = ()

    def __call__(
        self, storage: torch.Tensor, offset: int, shape: Sequence[int], stride: Sequence[int], *_: Any
    ) -> torch.Tensor:
        return storage.as_strided(shape, stride, offset)  # which refuses to go beyond the storage


class _Parameter(_Maker):
    __slots__ = ()

    def __call__(self, data: torch.Tensor, *_: Any) -> torch.Tensor:
        return data


class _Attribute(_Maker):
    """Nested classes are pickled as getattr(class, name): the one function that must seem to work."""

    __slots__ = ()

    def __call__(self, owner: Any, name: Any) -> type[Foreign]:
        return _foreign(f"{getattr(owner, 'origin', owner)}.{name}")


_KNOWN: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor(),
    ("torch._utils", "_rebuild_parameter"): _Parameter(),
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "getattr"): _Attribute(),
    ("__builtin__", "getattr"): _Attribute(),
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
