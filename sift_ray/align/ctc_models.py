"""CTC checkpoints of transformers: which one a language has, loading it, and what it hears in each frame.

Importing this module needs neither torch nor transformers; they come with the extra `models`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.ctc_text import CtcVocabulary
from sift_ray.align.protocol import AlignError
from sift_ray.config_align import AlignConfig
from sift_ray.schema import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_PROBE_S: Final = (1.0, 3.0)
_PROBE_TOLERANCE: Final = 1e-4  # of the largest logit; rounding changes 1e-6 of it
_UNUSED_WEIGHTS: Final = ("masked_spec_embed",)  # of training only; some checkpoints lack them
# what is read of a checkpoint
_DESCRIBED: Final = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "added_tokens.json",
    "tokenizer_config.json",
)
_SAFE_WEIGHTS: Final = ("model*.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS: Final = ("pytorch_model*.bin", "pytorch_model.bin.index.json")  # where there are no others


def ctc_identity(config: AlignConfig, language: str) -> str:
    """Return what tells a language's model from others, for fingerprints: `<id>@<revision>` or `sha256:<hash>`.

    The hash (SHA-256, 16 digits) is of the files that are loaded, so the same checkpoint elsewhere is the same
    model. A hub id without a revision is that of `main`, which may move. A dictionary and a G2P model are
    named by hashes of their own, as words get their phones from them. Neither torch nor the network is needed.

    Raises:
        AlignError: the language has no model; it is neither a folder with a `config.json` nor a hub id.
    """
    folder = _folder(config, language)
    if folder is None:
        parts = ["@".join(_hub_name(config, language))]
    else:
        weights = _SAFE_WEIGHTS if any(folder.glob(_SAFE_WEIGHTS[0])) else _PICKLED_WEIGHTS
        files = sorted({file for pattern in (*_DESCRIBED, *weights) for file in folder.glob(pattern)})
        listed = "".join(f"{file.name}\0{_digest(file)}\n" for file in files)
        parts = [f"sha256:{hashlib.sha256(listed.encode()).hexdigest()[:16]}"]
    for name, file in (("dictionary", config.dictionary(language)), ("g2p", config.g2p_model(language))):
        if file is not None:
            parts.append(f"{name}@{_digest(file)[:16]}")
    return " ".join(parts)


def ctc_device(config: AlignConfig) -> str:
    """Return where the models run: `cpu` or `cuda`.

    `auto` is cuda where the pool gives its actors GPUs and torch finds one.

    Raises:
        AlignError: torch or transformers is not installed; or the device is cuda, and torch finds no GPU.
    """
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise AlignError(f"the backend ctc needs {package}, which is not installed: pip install 'sift-ray[models]'")
    import torch

    if config.ctc.device == "cpu" or (config.ctc.device == "auto" and not config.pool.num_gpus):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    missing = f"torch {torch.__version__} finds no GPU"
    if config.ctc.device == "cuda":
        raise AlignError(f"annotate.align.ctc.device is cuda, but {missing}; set it to auto or cpu")
    log.warning("alignment runs on the CPU although its actors hold GPUs: %s", missing)
    return "cpu"


class CtcModel:
    """A checkpoint, ready to hear clips.

    Padding changes what some models hear: of those normalised over time (wav2vec2-base and other `group` norms), of
    those without an attention mask, and of some that have one. Whether it does is tried out at the start; such models
    are only given clips of the same length at once.

    Attributes:
        vocabulary: what its outputs mean.
        hop: samples from one frame to the next.
        pads: whether clips of unlike lengths are heard at once.
    """

    def __init__(self, config: AlignConfig, language: str, *, device: str) -> None:
        """Load the model of `language`.

        Raises:
            AlignError: torch or transformers is not installed; the checkpoint is not there, is no CTC model, lacks
                weights, or has a vocabulary that can't be told; it takes another sample rate.
        """
        import torch

        self._model, self._extractor, folder = _load(config, language)
        self._which = _which(config, language)
        self.vocabulary = CtcVocabulary.read(
            folder, int(self._model.config.pad_token_id), int(self._model.config.vocab_size)
        )
        if self._extractor.sampling_rate != SAMPLE_RATE:
            raise AlignError(f"{self._which}: takes {self._extractor.sampling_rate} Hz; one for 16000 Hz is needed")
        self._device = device
        self._dtype = torch.float32
        self._model.to(device)
        # (spectrograms of a fixed length are filled up by default, and must be)
        padding = inspect.signature(type(self._extractor).__call__).parameters.get("padding")
        self._padding = {"padding": True} if padding is not None and padding.default is False else {}
        self.hop, self.pads = self._probe()
        wanted = config.ctc.dtype
        self._dtype = getattr(torch, ("float16" if device == "cuda" else "float32") if wanted == "auto" else wanted)
        self._model.to(self._dtype)

    def emissions(self, clips: Sequence[NDArray[np.float32]]) -> list[torch.Tensor]:
        """Return each clip's log-probabilities, float32 [frames, tokens] on the device.

        Args:
            clips: float32 [n], 16 kHz, in [-1, 1]; finite, and 0.1 s or longer.

        Raises:
            torch.OutOfMemoryError: the device's memory is too small for what is heard at once: give fewer clips.
        """
        import torch

        groups: dict[int, list[int]] = {}
        for index, clip in enumerate(clips):
            groups.setdefault(0 if self.pads else len(clip), []).append(index)
        found: dict[int, torch.Tensor] = {}
        for group in groups.values():
            logits, frames = self._logits([clips[index] for index in group])
            log_probs = torch.log_softmax(logits.float(), dim=-1)
            for row, (index, count) in enumerate(zip(group, frames, strict=True)):
                # a copy, as a view would keep the whole batch
                found[index] = log_probs[row, :count].clone()
        return [found[index] for index in range(len(clips))]

    def _logits(self, clips: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, list[int]]:
        """Return logits [clips, frames, tokens] on the device, and how many of its frames each clip has."""
        import torch

        features = self._extractor(list(clips), sampling_rate=SAMPLE_RATE, return_tensors="pt", **self._padding)
        mask = features.get("attention_mask")
        lengths = torch.tensor([len(clip) for clip in clips]) if mask is None else mask.sum(-1).cpu()
        inputs = {
            name: tensor.to(self._device, self._dtype if tensor.is_floating_point() else None)
            for name, tensor in features.items()
        }
        # TF32 rounds to 10 bits, and differently in another batch
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            logits = self._model(**inputs).logits
        counted = self._model._get_feat_extract_output_lengths(lengths)
        return logits, [min(int(count), logits.shape[1]) for count in counted]

    def _probe(self) -> tuple[int, bool]:
        """Return the hop, and whether a clip of noise is heard alike alone and beside a longer one."""
        noise = np.random.default_rng(0)
        short, long = (noise.normal(0.0, 0.1, round(s * SAMPLE_RATE)).astype(np.float32) for s in _PROBE_S)
        alone, (count,) = self._logits([short])
        both, (beside, longest) = self._logits([short, long])
        hop = round((len(long) - len(short)) / (longest - beside))
        if count != beside:
            return hop, False
        difference = (alone[0, :count] - both[0, :count]).abs().max()
        return hop, bool(difference <= _PROBE_TOLERANCE * alone.abs().max())


def _which(config: AlignConfig, language: str) -> str:
    return f"annotate.align.models, {language}: {config.model(language)}"


def _folder(config: AlignConfig, language: str) -> Path | None:
    """Return the folder that a language's model is, or None for a hub id."""
    model = config.model(language)
    if model is None:
        raise AlignError(f"annotate.align.models names no model for {language!r}")
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise AlignError(f"{_which(config, language)}: the folder holds no config.json; name a saved checkpoint's")
        return path
    if model.startswith(("/", ".", "~")) or path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", model):
        raise AlignError(f"{_which(config, language)}: no such folder, nor a hub id like organisation/model@revision")
    return None


def _hub_name(config: AlignConfig, language: str) -> tuple[str, str]:
    """Return the id and the revision of a model on the hub."""
    name, _, revision = str(config.model(language)).partition("@")
    return name, revision or "main"


def _load(config: AlignConfig, language: str) -> tuple[Any, Any, Path]:
    """Return the model in float32, its feature extractor, and the folder that they are of."""
    folder = _folder(config, language)
    which = _which(config, language)
    try:
        import torch
        from huggingface_hub import snapshot_download
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCTC
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise AlignError(
            f"the backend ctc needs torch and transformers ({error}): pip install 'sift-ray[models]'"
        ) from error
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        if folder is None:
            folder = _downloaded(snapshot_download, *_hub_name(config, language))
        transformers_logging.disable_progress_bar()  # of each weight, into the log of each worker
        described = AutoConfig.from_pretrained(folder, **local)
        extractor = AutoFeatureExtractor.from_pretrained(folder, **local)
        model, loaded = AutoModelForCTC.from_pretrained(
            folder, config=described, weights_only=True, output_loading_info=True, **local
        )
    except Exception as error:
        # (a missing file is an OSError, a damaged one whatever torch, safetensors or json say of it)
        raise AlignError(f"{which}: {' '.join(str(error).split()) or repr(error)}") from error
    missing = [key for key in sorted(loaded["missing_keys"]) if not key.endswith(_UNUSED_WEIGHTS)]
    if missing:
        # transformers makes up what is missing, and the model would hear nonsense
        raise AlignError(f"{which}: no CTC model was trained here; weights are missing: {', '.join(missing[:5])}")
    return model.to(torch.float32).eval(), extractor, folder


def _downloaded(download: Callable[..., str], model: str, revision: str) -> Path:
    """Return the folder of a hub id's files in the user's cache; only what is missing is read.

    Weights are those in safetensors, and pickled ones where there are no others.
    """
    for weights in (_SAFE_WEIGHTS, _PICKLED_WEIGHTS):
        patterns = [*_DESCRIBED, *weights]
        folder = Path(download(model, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]))
        if any(folder.glob(weights[0])):
            break
    return folder


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
