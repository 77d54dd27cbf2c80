"""Checkpoints of transformers that hear clips: their files, loading them safely, and what padding does to them.

Importing this module needs neither torch nor transformers; they come with the extra `models`.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sift_ray.corpora.values import one_line

_DESCRIBED: Final = ("config.json", "preprocessor_config.json", "processor_config.json")
_SAFE_WEIGHTS: Final = ("model*.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS: Final = ("pytorch_model*.bin", "pytorch_model.bin.index.json")  # where there are no others
_UNUSED_WEIGHTS: Final = ("masked_spec_embed",)  # of training only; some checkpoints lack them
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_PROBE_S: Final = (1.0, 3.0)
_PROBE_TOLERANCE: Final = 1e-4  # of the largest logit; rounding changes 1e-6 of it
_SHOWN: Final = 20  # names in a message


class PretrainedError(ValueError):
    """A checkpoint can't be used; the message says which, and why."""


class Loaded(NamedTuple):
    """A model in float32, set to evaluation, its feature extractor, and the folder that both are of."""

    model: Any
    extractor: Any
    folder: Path


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A checkpoint as a config names it.

    Attributes:
        which: where the config names it, for messages.
        name: a folder with a `config.json`, or `organisation/model` on the hub.
        revision: branch, tag or commit on the hub; None is `main`, which may move.
        vocabulary: files beside the weights that are read too.
    """

    which: str
    name: str
    revision: str | None = None
    vocabulary: tuple[str, ...] = ()

    def folder(self) -> Path | None:
        """Return the folder that the name is, or None for a hub id.

        Raises:
            PretrainedError: it is neither; the folder holds no `config.json`, or has a revision.
        """
        path = Path(self.name).expanduser()
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise PretrainedError(
                    f"{self.which}: the folder holds no config.json; name the folder of a saved checkpoint"
                )
            if self.revision is not None:
                raise PretrainedError(f"{self.which}: revision {self.revision} is of a hub id, and this is a folder")
            return path
        if self.name.startswith(("/", ".", "~")) or path.exists() or not _HUB_ID.fullmatch(self.name):
            raise PretrainedError(f"{self.which}: no such folder, nor a hub id like organisation/model")
        return None

    def digest(self) -> str | None:
        """Return the SHA-256, in hex, of the files that are loaded; None for a hub id.

        The same checkpoint elsewhere has the same one. Neither torch nor the network is needed.

        Raises:
            PretrainedError: see `folder`.
        """
        folder = self.folder()
        if folder is None:
            return None
        weights = _SAFE_WEIGHTS if any(folder.glob(_SAFE_WEIGHTS[0])) else _PICKLED_WEIGHTS
        digest = hashlib.sha256()
        for file in sorted({file for pattern in (*self._described, *weights) for file in folder.glob(pattern)}):
            with file.open("rb") as stream:
                digest.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()

    @property
    def hub_name(self) -> str:
        """`organisation/model@revision`."""
        return f"{self.name}@{self.revision or 'main'}"

    @property
    def _described(self) -> tuple[str, ...]:
        return (*_DESCRIBED, *self.vocabulary)

    def load(self, head: str, accept: Callable[[Any], None] | None = None) -> Loaded:
        """Load the model; of a hub id, only what the user's cache lacks is downloaded.

        No code of a checkpoint is run, and pickled weights are read as tensors alone.

        Args:
            head: the automatic class of transformers, such as `AutoModelForCTC`.
            accept: is shown the model's configuration first, and raises where it is of no use.

        Raises:
            PretrainedError: torch or transformers is not installed; the checkpoint is not there, is of another kind, is
                damaged, is refused by `accept`, or lacks weights.
        """
        folder = self.folder()
        try:
            import torch
            import transformers
            from huggingface_hub import snapshot_download
            from transformers.utils import logging
        except ImportError as error:
            raise PretrainedError(
                f"{self.which}: torch and transformers are needed ({error}): pip install 'sift-ray[models]'"
            ) from error
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            if folder is None:
                folder = self._downloaded(snapshot_download)
            logging.disable_progress_bar()  # of each weight, into the log of each worker
            described = transformers.AutoConfig.from_pretrained(folder, **local)
            if accept is not None:
                accept(described)
            extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, **local)
            model, told = getattr(transformers, head).from_pretrained(
                folder, config=described, weights_only=True, output_loading_info=True, **local
            )
        except Exception as error:
            # (a missing file is an OSError, a damaged one whatever torch, safetensors or json say of it)
            raise PretrainedError(f"{self.which}: {one_line(str(error)) or repr(error)}") from error
        missing = [key for key in sorted(told["missing_keys"]) if not key.endswith(_UNUSED_WEIGHTS)]
        if missing:
            # transformers makes up what is missing, and the model would hear nonsense
            raise PretrainedError(
                f"{self.which}: not a trained {type(model).__name__}; weights are missing: {some_of(missing)}"
            )
        return Loaded(model.to(torch.float32).eval(), extractor, folder)

    def _downloaded(self, download: Callable[..., str]) -> Path:
        """Return the folder of a hub id's files in the user's cache, named by their commit.

        Weights are those in safetensors, and pickled ones where there are no others.
        """
        for weights in (_SAFE_WEIGHTS, _PICKLED_WEIGHTS):
            patterns = [*self._described, *weights]
            folder = Path(download(self.name, revision=self.revision, allow_patterns=patterns, ignore_patterns=["*/*"]))
            if any(folder.glob(weights[0])):
                break
        return folder


def some_of(names: Sequence[str]) -> str:
    """Return the first of `names` for a message, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def padding_options(extractor: Any) -> dict[str, bool]:
    """Return the arguments with which a feature extractor pads clips of unlike lengths to the longest."""
    # (spectrograms of a fixed length are filled up by default, and must be)
    padding = inspect.signature(type(extractor).__call__).parameters.get("padding")
    return {"padding": True} if padding is not None and padding.default is False else {}


def probe_clips(rate: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a short and a longer clip of noise, float32 at `rate` Hz, that show what padding does to a model.

    Padding changes what some models hear: of those normalised over time (wav2vec2-base and other `group` norms), of
    those without an attention mask, and of some that have one (convolutions of Data2Vec, SEW and Conformer see past its
    end). So it is tried out: the short clip alone against the short one beside the longer one (`heard_alike`).
    """
    noise = np.random.default_rng(0)
    short, long = (noise.normal(0.0, 0.1, round(s * rate)).astype(np.float32) for s in _PROBE_S)
    return short, long


def heard_alike(alone: Any, beside: Any) -> bool:
    """Whether two float tensors of logits of one shape differ by no more than rounding."""
    return bool((alone - beside).abs().max() <= _PROBE_TOLERANCE * alone.abs().max())
