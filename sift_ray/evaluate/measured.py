"""Generated audio, measured just as `annotate` measures a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sift_ray.audio.decode import decode
from sift_ray.audio.errors import DecodeError
from sift_ray.config import LabelConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import audio_source
from sift_ray.corpora.audio_uri import AudioUri
from sift_ray.evaluate.origin import Measuring
from sift_ray.features.extract import ClipFeatures, FeatureExtractor
from sift_ray.features.rate import speaking_rate

NO_PHONES: Final = "unknown_phones"
"""Why there is no speaking rate where nobody knows how many phones are to be spoken: no fault of the audio."""

_BATCH: Final = 32
_FULL_SCALE: Final = 32768.0
_COLUMNS: Final = ("pitch_median_hz", "pitch_std_hz", "intensity_db")


class Clip(NamedTuple):
    """A file to be measured, and how many phones are spoken in it if it says what it should; None: unknown."""

    path: Path
    phones: int | None


class Measured(NamedTuple):
    """What was measured on one clip.

    Attributes:
        values: by column of `schema.ANNOTATIONS`, in float32 as it is stored there; None where unknown.
        reasons: by column, why a value is unknown.
        fault: why the clip can't be measured at all, None where it can.
        gender: as a classifier hears it; None where there is none, or it is not sure.
        no_gender: why there is no gender.
    """

    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    fault: str | None = None
    gender: str | None = None
    no_gender: str | None = None


class ClipMeasurer:
    """Decodes and measures clips; models are loaded once, here.

    Args:
        measuring: how the job did it.
        gender: a classifier of voices; None: no gender is heard.

    Raises:
        FileNotFoundError, ValueError: a model, a GPU or a package is not there.
    """

    def __init__(self, measuring: Measuring, gender: LabelConfig | None = None) -> None:
        self._decode = measuring.decode
        self._extractor = FeatureExtractor(measuring.features)
        self._source = audio_source(StorageConfig())
        self._labeller: Any = None
        if gender is not None:
            from sift_ray.features.speaker_labels import SpeakerLabeller

            self._labeller = SpeakerLabeller(gender, device=self._extractor.device)

    @property
    def gender_source(self) -> str | None:
        """What hears genders, None: nothing does."""
        return None if self._labeller is None else str(self._labeller.source)

    def measure(self, clips: Sequence[Clip]) -> list[Measured]:
        """Measure each clip, in order; a bad one costs only itself."""
        made: list[Measured] = []
        for start in range(0, len(clips), _BATCH):
            made += self._batch(clips[start : start + _BATCH])
        return made

    def _batch(self, clips: Sequence[Clip]) -> list[Measured]:
        decoded = [self._decoded(clip.path) for clip in clips]
        heard = [samples for samples in decoded if not isinstance(samples, str)]
        features = iter(self._extractor.measure(heard))
        labels = iter(self._labeller.label(heard) if self._labeller is not None else [None] * len(heard))
        made = []
        for clip, samples in zip(clips, decoded, strict=True):
            if isinstance(samples, str):
                made.append(Measured({}, {}, fault=samples))
                continue
            measured = _measured(next(features), clip.phones)
            label = next(labels)
            if label is not None and measured.fault is None:
                measured = measured._replace(gender=label.value, no_gender=label.reason)
            made.append(measured)
        return made

    def _decoded(self, path: Path) -> NDArray[np.float32] | str:
        """Return float32 [n] in [-1, 1) at 16 kHz, or the reason why there is none."""
        config = self._decode
        uri = str(AudioUri(str(path.absolute())))
        try:
            clip = decode(uri, self._source, min_s=config.min_s, max_s=config.max_s, long_clips=config.long_clips)
        except DecodeError as error:
            return error.reason
        return clip.samples.astype(np.float32) * np.float32(1 / _FULL_SCALE)


def _measured(features: ClipFeatures, phones: int | None) -> Measured:
    if features.reject_reason is not None:
        return Measured({}, {}, fault=features.reject_reason)
    values = {column: stored(getattr(features, column)) for column in _COLUMNS}
    reasons = dict(null.split(":", 1) for null in features.nulls)
    rate, reason = (None, NO_PHONES) if phones is None else speaking_rate(phones, stored(features.speech_duration_s))
    values["speaking_rate_pps"] = stored(rate)
    if reason is not None:
        reasons["speaking_rate_pps"] = reason
    return Measured(values, {column: reasons[column] for column, value in values.items() if value is None})


def stored(value: float | None) -> float | None:
    """Return a number as tables hold it: rounded to float32, so that a ruler's edge parts it alike."""
    return None if value is None else float(np.float32(value))
