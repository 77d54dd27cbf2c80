"""What a classifier hears in a voice (gender, age, accent, emotion, language), for corpora that do not say.

Any audio-classification checkpoint of transformers serves: its labels become the corpora's words, and what it is
not sure of stays unknown. Importing this module needs neither torch nor transformers; they come with the extra
`models`.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from sift_ray.audio.batching import duration_buckets
from sift_ray.config import LabelConfig
from sift_ray.corpora.values import age_of, gender_of, is_language_code, known, language_of, one_line, text_of
from sift_ray.schema import AGES, GENDERS, SAMPLE_RATE

MIN_SAMPLES: Final = 4_000
"""A clip under 0.25 s is not labelled."""

SILENT_RMS: Final = 1e-4
"""What is heard at a lower root mean square (-80 dB re full scale) is not labelled."""

_GPU_BATCH: Final = (120.0, 32)  # seconds and clips at once: wav2vec2's first layer alone makes 0.8 GB of 120 s
_CPU_BATCH: Final = (20.0, 8)  # a CPU gains little from more
_PROBE_S: Final = (1.0, 3.0)
_PROBE_TOLERANCE: Final = 1e-4  # of the largest logit; rounding changes 1e-6 of it
_UNUSED_WEIGHTS: Final = ("masked_spec_embed",)  # of training only; some checkpoints lack them
# what transformers reads of a folder
_DESCRIBED: Final = ("config.json", "preprocessor_config.json", "processor_config.json")
_SAFE_WEIGHTS: Final = ("model*.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS: Final = ("pytorch_model*.bin", "pytorch_model.bin.index.json")  # where there are no others
_NO_NAME: Final = re.compile(r"LABEL_\d+", re.IGNORECASE)  # what transformers calls labels that were never named
_SHOWN: Final = 20  # labels in a message


class SpokenLabel(NamedTuple):
    """What was heard in one clip.

    Attributes:
        value: in the corpora's words; None is unknown.
        raw: the model's own most probable label; None where the clip was not heard.
        score: its probability, 0 to 1 (not added up over labels that mean the same); None where there is none.
        reason: why `value` is None: too_short, silent, low_score, unmapped (the label is no word of ours), unknown (the
            label says so, or the config), non_finite (the score is not a number).
    """

    value: str | None
    raw: str | None = None
    score: float | None = None
    reason: str | None = None


def label_identity(config: LabelConfig) -> str:
    """Return what tells a labelling model from others, for fingerprints: `<id>@<revision>` or `<folder>@<hash>`.

    The hash (SHA-256, 12 digits) is of the files that are loaded, so another path to the same weights under the same
    name is the same model. A hub id without a revision is that of `main`, which may move. Neither torch nor the network
    is needed.

    Raises:
        ValueError: `model` is neither a folder with a `config.json` nor a hub id, or a folder has a revision.
    """
    folder = _folder(config)
    if folder is None:
        return f"{config.model}@{config.revision or 'main'}"
    digest = hashlib.sha256()
    weights = _SAFE_WEIGHTS if any(folder.glob(_SAFE_WEIGHTS[0])) else _PICKLED_WEIGHTS
    for file in sorted(file for pattern in (*_DESCRIBED, *weights) for file in folder.glob(pattern)):
        with file.open("rb") as stream:
            digest.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"{folder.resolve().name}@{digest.hexdigest()[:12]}"


class SpeakerLabeller:
    """A classifier of one column; the model is loaded once, here.

    Padding changes what some models hear: of those normalised over time (wav2vec2-base and other `group` norms), of
    those without an attention mask, and of some that have one (convolutions of Data2Vec, SEW and Conformer see past
    its end). Whether it does is tried out at the start; such models are only given clips of the same length at once.

    Args:
        config: which column, which model, and how its labels are named.
        device: where it runs, as torch names it: cpu, cuda.

    Attributes:
        source: what the labels are from: `<id>@<commit>`, or `<folder>@<hash of the files that are loaded>`.

    Raises:
        ValueError: torch or transformers is not installed; the model is not there, is no classifier, or lacks weights;
            none of its labels is a word of ours; `values` names a label that it does not have, or a value that the
            column does not.
    """

    def __init__(self, config: LabelConfig, *, device: str) -> None:
        self._config = config
        self._device = device
        self._batch_s, self._batch_clips = _GPU_BATCH if device.startswith("cuda") else _CPU_BATCH
        self._model, self._extractor, commit = _load(config)
        self._model.to(device)
        self.source = label_identity(config) if commit is None else f"{config.model}@{commit}"
        labels = self._model.config.id2label
        self._labels = [str(labels[index]) for index in range(len(labels))]
        self._meanings = _meanings(config, self._labels)
        self._several = self._model.config.problem_type == "multi_label_classification"
        padding = inspect.signature(type(self._extractor).__call__).parameters.get("padding")
        # (spectrograms of a fixed length are filled up by default, and must be)
        self._padding = {"padding": True} if padding is not None and padding.default is False else {}
        self._pads = self._padding_is_harmless()

    def label(self, clips: Sequence[NDArray[np.float32]]) -> list[SpokenLabel]:
        """Label each clip: float32 [n], 16 kHz, in [-1, 1]. At most `max_s` are heard, from the middle.

        Returns:
            One per clip, in order, whatever else is in the batch.

        Raises:
            torch.OutOfMemoryError: the device's memory is too small for what is heard at once: give fewer clips.
        """
        middles = [self._middle(clip) for clip in clips]
        labels = [SpokenLabel(None, reason=_unheard(middle)) for middle in middles]
        heard = [index for index, label in enumerate(labels) if label.reason is None]
        cut = [self._resampled(middles[index]) for index in heard]
        for group in self._groups([len(clip) for clip in cut]):
            for place, row in zip(group, self._scores([cut[place] for place in group]), strict=True):
                labels[heard[place]] = self._describe(row)
        return labels

    def _middle(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        longest = round(self._config.max_s * SAMPLE_RATE)
        start = max(0, len(clip) - longest) // 2
        return clip[start : start + longest]

    def _resampled(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        rate = self._extractor.sampling_rate
        return clip if rate == SAMPLE_RATE else soxr.resample(clip, SAMPLE_RATE, rate).astype(np.float32)

    def _groups(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield indices of clips that are heard at once; of one length where padding would be heard."""
        alike: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            alike.setdefault(0 if self._pads else length, []).append(index)
        most = round(self._batch_s * self._extractor.sampling_rate)
        for members in alike.values():
            for bucket in duration_buckets([lengths[index] for index in members], most):
                for start in range(0, len(bucket), self._batch_clips):
                    yield [members[place] for place in bucket[start : start + self._batch_clips]]

    def _scores(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the probabilities, float32 [clips, labels]."""
        import torch

        logits = self._logits(clips)
        scores = torch.sigmoid(logits) if self._several else torch.softmax(logits, dim=-1)
        array: NDArray[np.float32] = scores.cpu().numpy()
        return array

    def _logits(self, clips: Sequence[NDArray[np.float32]]) -> Any:
        """Return a float32 tensor [clips, labels] on the device."""
        import torch

        rate = self._extractor.sampling_rate
        features = self._extractor(list(clips), sampling_rate=rate, return_tensors="pt", **self._padding)
        # TF32 rounds to 10 bits, and differently in another batch
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self._model(**{name: tensor.to(self._device) for name, tensor in features.items()}).logits

    def _padding_is_harmless(self) -> bool:
        """Whether a clip of noise has the same logits alone and beside a longer one."""
        noise = np.random.default_rng(0)
        rate = self._extractor.sampling_rate
        short, long = (noise.normal(0.0, 0.1, round(s * rate)).astype(np.float32) for s in _PROBE_S)
        alone, beside = self._logits([short])[0], self._logits([short, long])[0]
        return bool((alone - beside).abs().max() <= _PROBE_TOLERANCE * alone.abs().max())

    def _describe(self, scores: NDArray[np.float32]) -> SpokenLabel:
        best = int(scores.argmax())
        raw, score = self._labels[best], float(scores[best])
        if not np.isfinite(scores).all():
            return SpokenLabel(None, reason="non_finite")
        if score < self._config.min_score:
            return SpokenLabel(None, raw, score, "low_score")
        value, reason = self._meanings[best]
        return SpokenLabel(value, raw, score, reason)


def _unheard(clip: NDArray[np.float32]) -> str | None:
    """Return why a clip need not be heard, None where it is to be."""
    if len(clip) < MIN_SAMPLES:
        return "too_short"
    # (what is not finite is not silent)
    return "silent" if np.square(clip, dtype=np.float64).mean() < SILENT_RMS**2 else None


def _folder(config: LabelConfig) -> Path | None:
    """Return the folder that `model` is, or None for a hub id."""
    path = Path(config.model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{_which(config)}: the folder holds no config.json; name that of a saved checkpoint")
        if config.revision is not None:
            raise ValueError(f"{_which(config)}: revision {config.revision} is of a hub id, and this is a folder")
        return path
    if config.model.startswith(("/", ".", "~")) or path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", config.model):
        raise ValueError(f"{_which(config)}: no such folder, nor a hub id like organisation/model")
    return None


def _which(config: LabelConfig) -> str:
    return f"features.labels, {config.column}: model {config.model}"


def _load(config: LabelConfig) -> tuple[Any, Any, str | None]:
    """Return the model in float32, its feature extractor, and the commit of the hub that they are of."""
    folder = _folder(config)
    try:
        import torch
        from huggingface_hub import snapshot_download
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification
        from transformers.utils import logging
    except ImportError as error:
        raise ValueError(
            f"{_which(config)}: labelling needs torch and transformers ({error}): pip install 'sift-ray[models]'"
        ) from error
    commit = None
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        if folder is None:
            folder = _downloaded(snapshot_download, config)
            commit = folder.name
        logging.disable_progress_bar()  # of each weight, into the log of each worker
        described = AutoConfig.from_pretrained(folder, **local)
        if described.num_labels < 2 or described.problem_type == "regression":
            raise ValueError("it estimates a number; a classifier with two labels or more is needed")
        extractor = AutoFeatureExtractor.from_pretrained(folder, **local)
        model, loaded = AutoModelForAudioClassification.from_pretrained(
            folder, config=described, weights_only=True, output_loading_info=True, **local
        )
    except Exception as error:
        # (a missing file is an OSError, a damaged one whatever torch, safetensors or json say of it)
        raise ValueError(f"{_which(config)}: {one_line(str(error)) or repr(error)}") from error
    missing = [key for key in sorted(loaded["missing_keys"]) if not key.endswith(_UNUSED_WEIGHTS)]
    if missing:
        # transformers makes up what is missing, and the labels would be random
        raise ValueError(
            f"{_which(config)}: not a trained {type(model).__name__}; the weights {_some(missing)} are missing"
        )
    return model.to(torch.float32).eval(), extractor, commit


def _downloaded(download: Callable[..., str], config: LabelConfig) -> Path:
    """Return the folder of a hub id's files in the user's cache, named by their commit; only what is missing is read.

    Weights are those in safetensors, and pickled ones where there are no others.
    """
    for weights in (_SAFE_WEIGHTS, _PICKLED_WEIGHTS):
        patterns = [*_DESCRIBED, *weights]
        folder = Path(
            download(config.model, revision=config.revision, allow_patterns=patterns, ignore_patterns=["*/*"])
        )
        if any(folder.glob(weights[0])):
            break
    return folder


def _meanings(config: LabelConfig, labels: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Return, for each label of the model, our value and None, or None and the reason."""
    ours, allowed = _VOCABULARIES[config.column]
    known_as: dict[str, tuple[str | None, str | None]] = {}
    for label, value in config.values.items():
        if label not in labels:
            raise ValueError(f"{_which(config)}: values: it has no label {label!r}; its labels are {_some(labels)}")
        meant = None if value is None else ours(value)
        if value is not None and meant is None:
            raise ValueError(
                f"{_which(config)}: values: {label}: {value!r} is no {config.column}; allowed are {allowed}, "
                f"or null for unknown; the model's labels are {_some(labels)}"
            )
        known_as[label] = (meant, None if meant else "unknown")
    for label in labels:
        if label not in known_as:
            meant = ours(label)
            known_as[label] = (meant, None if meant else "unmapped" if known(label) else "unknown")
    if not any(value for value, _ in known_as.values()):
        raise ValueError(
            f"{_which(config)}: none of its labels ({_some(labels)}) is a {config.column}; "
            f"say in values what they mean: allowed are {allowed}"
        )
    return [known_as[label] for label in labels]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _accent(label: str) -> str | None:
    return None if _NO_NAME.fullmatch(label) else text_of(known(label))


def _emotion(label: str) -> str | None:
    name = _accent(label)
    return name and name.lower()


def _spoken_language(label: str) -> str | None:
    code = re.split("[-_]", label.strip().lower(), maxsplit=1)[0]
    return language_of(label) or (code if is_language_code(code) else None)


_VOCABULARIES: Final[Mapping[str, tuple[Callable[[str], str | None], str]]] = {
    "gender": (gender_of, ", ".join(GENDERS)),
    "age": (age_of, f"{', '.join(AGES)}, or a number of years"),
    "accent": (_accent, "any names"),
    "emotion": (_emotion, "any names"),
    "spoken_language": (_spoken_language, "ISO 639 codes such as en"),
}
