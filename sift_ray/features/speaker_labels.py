"""What a classifier hears in a voice (gender, age, accent, emotion, language), for corpora that do not say.

Any audio-classification checkpoint of transformers serves: its labels become the corpora's words, and what it is
not sure of stays unknown. Importing this module needs neither torch nor transformers; they come with the extra
`models`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from sift_ray.audio.batching import duration_buckets
from sift_ray.config import LabelConfig
from sift_ray.corpora.values import age_of, gender_of, is_language_code, known, language_of, text_of
from sift_ray.features.pretrained import Pretrained, heard_alike, padding_options, probe_clips, some_of
from sift_ray.schema import AGES, GENDERS, SAMPLE_RATE

MIN_SAMPLES: Final = 4_000
"""A clip under 0.25 s is not labelled."""

SILENT_RMS: Final = 1e-4
"""What is heard at a lower root mean square (-80 dB re full scale) is not labelled."""

_GPU_BATCH: Final = (120.0, 32)  # seconds and clips at once: wav2vec2's first layer alone makes 0.8 GB of 120 s
_CPU_BATCH: Final = (20.0, 8)  # a CPU gains little from more
_NO_NAME: Final = re.compile(r"LABEL_\d+", re.IGNORECASE)  # what transformers calls labels that were never named


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
    checkpoint = _checkpoint(config)
    digest = checkpoint.digest()
    return checkpoint.hub_name if digest is None else f"{Path(config.model).expanduser().resolve().name}@{digest[:12]}"


class SpeakerLabeller:
    """A classifier of one column; the model is loaded once, here.

    Whether padding changes what the model hears is tried out at the start (`pretrained.probe_clips`); such models are
    only given clips of the same length at once.

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
        checkpoint = _checkpoint(config)
        self._model, self._extractor, folder = checkpoint.load("AutoModelForAudioClassification", _classifies)
        self._model.to(device)
        self.source = f"{config.model}@{folder.name}" if checkpoint.folder() is None else label_identity(config)
        labels = self._model.config.id2label
        self._labels = [str(labels[index]) for index in range(len(labels))]
        self._meanings = _meanings(config, self._labels)
        self._several = self._model.config.problem_type == "multi_label_classification"
        self._padding = padding_options(self._extractor)
        short, long = probe_clips(self._extractor.sampling_rate)
        self._pads = heard_alike(self._logits([short])[0], self._logits([short, long])[0])

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


def _which(config: LabelConfig) -> str:
    return f"features.labels, {config.column}: model {config.model}"


def _checkpoint(config: LabelConfig) -> Pretrained:
    return Pretrained(_which(config), config.model, config.revision)


def _classifies(described: Any) -> None:
    if described.num_labels < 2 or described.problem_type == "regression":
        raise ValueError("it estimates a number; a classifier with two labels or more is needed")


def _meanings(config: LabelConfig, labels: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Return, for each label of the model, our value and None, or None and the reason."""
    ours, allowed = _VOCABULARIES[config.column]
    known_as: dict[str, tuple[str | None, str | None]] = {}
    for label, value in config.values.items():
        if label not in labels:
            raise ValueError(f"{_which(config)}: values: it has no label {label!r}; its labels are {some_of(labels)}")
        meant = None if value is None else ours(value)
        if value is not None and meant is None:
            raise ValueError(
                f"{_which(config)}: values: {label}: {value!r} is no {config.column}; allowed are {allowed}, "
                f"or null for unknown; the model's labels are {some_of(labels)}"
            )
        known_as[label] = (meant, None if meant else "unknown")
    for label in labels:
        if label not in known_as:
            meant = ours(label)
            known_as[label] = (meant, None if meant else "unmapped" if known(label) else "unknown")
    if not any(value for value, _ in known_as.values()):
        raise ValueError(
            f"{_which(config)}: none of its labels ({some_of(labels)}) is a {config.column}; "
            f"say in values what they mean: allowed are {allowed}"
        )
    return [known_as[label] for label in labels]


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
