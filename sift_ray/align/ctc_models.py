"""CTC checkpoints of transformers: which one a language has, loading it, and what it hears in each frame.

Importing this module needs neither torch nor transformers; they come with the extra `models`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.ctc_text import CtcVocabulary
from sift_ray.align.protocol import AlignError
from sift_ray.config_align import AlignConfig
from sift_ray.features.pretrained import Pretrained, PretrainedError, heard_alike, padding_options, probe_clips
from sift_ray.schema import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_REVISION: Final = re.compile(r"[\w.-][\w./-]*")
_VOCABULARY: Final = ("vocab.json", "added_tokens.json", "tokenizer_config.json")


def ctc_identity(config: AlignConfig, language: str) -> str:
    """Return what tells a language's model from others, for fingerprints: `<id>@<revision>` or `sha256:<hash>`.

    The hash (SHA-256, 16 digits) is of the files that are loaded, so the same checkpoint elsewhere is the same
    model. A hub id without a revision is that of `main`, which may move. A dictionary and a G2P model are
    named by hashes of their own, as words get their phones from them. Neither torch nor the network is needed.

    Raises:
        AlignError: the language has no model; it is neither a folder with a `config.json` nor a hub id.
    """
    checkpoint = _checkpoint(config, language)
    try:
        digest = checkpoint.digest()
    except PretrainedError as error:
        raise AlignError(str(error)) from None
    parts = [checkpoint.hub_name if digest is None else f"sha256:{digest[:16]}"]
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

    Whether padding changes what the model hears is tried out at the start (`pretrained.probe_clips`); such models are
    only given clips of the same length at once.

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

        checkpoint = _checkpoint(config, language)
        try:
            self._model, self._extractor, folder = checkpoint.load("AutoModelForCTC")
        except PretrainedError as error:
            raise AlignError(str(error)) from error
        self.vocabulary = CtcVocabulary.read(
            folder, int(self._model.config.pad_token_id), int(self._model.config.vocab_size)
        )
        if self._extractor.sampling_rate != SAMPLE_RATE:
            raise AlignError(
                f"{checkpoint.which}: takes {self._extractor.sampling_rate} Hz; one for 16000 Hz is needed"
            )
        self._device = device
        self._dtype = torch.float32
        self._model.to(device)
        self._padding = padding_options(self._extractor)
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
        short, long = probe_clips(SAMPLE_RATE)
        alone, (count,) = self._logits([short])
        both, (beside, longest) = self._logits([short, long])
        hop = round((len(long) - len(short)) / (longest - beside))
        return hop, count == beside and heard_alike(alone[0, :count], both[0, :count])


def _checkpoint(config: AlignConfig, language: str) -> Pretrained:
    """Return the checkpoint of a language; a hub id may end in `@revision`."""
    model = config.model(language)
    if model is None:
        raise AlignError(f"annotate.align.models names no model for {language!r}")
    which = f"annotate.align.models, {language}: {model}"
    if Path(model).expanduser().exists():
        return Pretrained(which, model, vocabulary=_VOCABULARY)
    name, at, revision = model.partition("@")
    if at and not _REVISION.fullmatch(revision):
        raise AlignError(f"{which}: {revision!r} is no revision of a hub id like organisation/model@revision")
    return Pretrained(which, name, revision or None, _VOCABULARY)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
