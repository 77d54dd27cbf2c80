"""Generated audio, measured just as `annotate` measures a corpus."""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from sift_ray.audio.decode import DecodedClip, decode
from sift_ray.audio.errors import DecodeError
from sift_ray.config import LabelConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import audio_source
from sift_ray.corpora.audio_uri import AudioUri
from sift_ray.evaluate.origin import Measuring
from sift_ray.features.extract import ClipFeatures, FeatureExtractor
from sift_ray.features.rate import speaking_rate
from sift_ray.storage import StorageError

NO_PHONES: Final = "unknown_phones"
"""Why there is no speaking rate where nobody knows how many phones are to be spoken: no fault of the audio."""

CUT: Final = "cut"
"""Why there is no speaking rate where `long_clips: cut` left the end out: nobody knows how many phones the rest has."""

_BATCH: Final = 32
_READ_BYTES: Final = 1 << 20
_NO_SUCH_FILE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
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
        detail: the same for a person.
        gender: as a classifier hears it; None where there is none, or it is not sure.
        no_gender: why there is no gender.
    """

    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    fault: str | None = None
    detail: str | None = None
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
        """Measure each clip, in order; a bad one costs only itself.

        Raises:
            StorageError: a file is there and can't be read, by its rights or for want of a disk that answers.
        """
        made: list[Measured] = []
        for start in range(0, len(clips), _BATCH):
            made += self._batch(clips[start : start + _BATCH])
        return made

    def _batch(self, clips: Sequence[Clip]) -> list[Measured]:
        decoded = [self._decoded(clip.path) for clip in clips]
        heard = [
            clip.samples.astype(np.float32) * np.float32(1 / _FULL_SCALE)
            for clip in decoded
            if isinstance(clip, DecodedClip)
        ]
        features = iter(self._extractor.measure(heard))
        labels = iter(self._labeller.label(heard) if self._labeller is not None else [None] * len(heard))
        made = []
        for asked, clip in zip(clips, decoded, strict=True):
            if isinstance(clip, DecodeError):
                made.append(Measured({}, {}, fault=clip.reason, detail=clip.detail))
                continue
            measured = _measured(next(features), asked.phones, cut=clip.cut)
            label = next(labels)
            if label is not None and measured.fault is None:
                measured = measured._replace(gender=label.value, no_gender=label.reason)
            made.append(measured)
        return made

    def _decoded(self, path: Path) -> DecodedClip | DecodeError:
        """Return the clip, or what is wrong with the file."""
        config = self._decode
        uri = str(AudioUri(str(path.absolute())))
        try:
            return decode(uri, self._source, min_s=config.min_s, max_s=config.max_s, long_clips=config.long_clips)
        except DecodeError as error:
            if error.reason == "storage_error":
                raise StorageError(f"{error.detail}; evaluate again when the storage answers") from error
            _check_readable(path)
            return error


def _check_readable(path: Path) -> None:
    """Check that it is not for the system's sake that a file can't be decoded: decoders pass on little of that.

    Raises:
        StorageError: the file is there, and not all of its bytes can be had.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # (a pipe or a device might be read for ever)
            return
        with path.open("rb") as file:
            while file.read(_READ_BYTES):
                pass
    except ValueError:  # a NUL in the name: nothing is there
        return
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            return
        raise StorageError(
            f"{path}: {error.strerror or error}; it is not the model's fault that it can't be read: set its rights, or "
            "the disk, right and evaluate again"
        ) from error


def _measured(features: ClipFeatures, phones: int | None, *, cut: bool) -> Measured:
    if features.reject_reason is not None:
        return Measured({}, {}, fault=features.reject_reason, detail=features.reject_detail)
    values = {column: stored(getattr(features, column)) for column in _COLUMNS}
    reasons = dict(null.split(":", 1) for null in features.nulls)
    rate: float | None = None
    reason: str | None
    if phones is None or cut:
        reason = NO_PHONES if phones is None else CUT
    else:
        rate, reason = speaking_rate(phones, stored(features.speech_duration_s))
    values["speaking_rate_pps"] = stored(rate)
    if reason is not None:
        reasons["speaking_rate_pps"] = reason
    return Measured(values, {column: reasons[column] for column, value in values.items() if value is None})


def stored(value: float | None) -> float | None:
    """Return a number as tables hold it: rounded to float32, so that a ruler's edge parts it alike."""
    return None if value is None else float(np.float32(value))
