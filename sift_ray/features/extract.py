"""All measurements of a clip in one place: what the annotate stage calls, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sift_ray.audio.batching import ShrinkingBatches
from sift_ray.config import FeaturesConfig
from sift_ray.features.engine import Estimate, Signal, Waveform, device_of, release_device_memory, signal_engine
from sift_ray.features.feasible import feasible
from sift_ray.features.intensity import speech_activity, speech_duration
from sift_ray.features.models import quality_model, room_model
from sift_ray.features.pitch import pitch_statistics
from sift_ray.features.tracks import ProsodyTracks, mean_db
from sift_ray.schema import SAMPLE_RATE

LEAST_SNR_FOR_C50_DB: Final = 20.0
_SILENT_PEAK: Final = 1e-4  # -80 dB of full scale, once the mean is taken away


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """What was measured on one clip; None is unknown, and `nulls` says why.

    Attributes:
        pitch_median_hz, pitch_mean_hz, pitch_std_hz: F0 over voiced frames, Hz.
        intensity_db: level of the mean energy over speech, dB re 2e-5.
        speech_duration_s: seconds of speech, pauses left out.
        snr_db: signal-to-noise ratio, dB.
        c50_db: clarity, early to late energy at 50 ms, dB.
        distortion, quality: in the unit of `FeatureExtractor.backends`.
        nulls: `measure:reason` of every measure that is None.
        reject_reason, reject_detail: why the clip as a whole can't be measured; both None where it can.
        tracks: F0 and intensity over time, for words; without frames where the clip is too short or rejected.
    """

    pitch_median_hz: float | None = None
    pitch_mean_hz: float | None = None
    pitch_std_hz: float | None = None
    intensity_db: float | None = None
    speech_duration_s: float | None = None
    snr_db: float | None = None
    c50_db: float | None = None
    distortion: float | None = None
    quality: float | None = None
    nulls: tuple[str, ...] = ()
    reject_reason: str | None = None
    reject_detail: str | None = None
    tracks: ProsodyTracks = field(default_factory=ProsodyTracks.empty)


class FeatureExtractor:
    """Measures clips; models are loaded once, here.

    Clips go to the device together, in buckets of like duration that hold no more than `FeaturesConfig.batch_s`; a
    GPU that runs out of memory is given half, and so on.

    Attributes:
        device: where batches are measured, `cpu` or `cuda`.
        backends: what measures `pitch`, `intensity`, `snr`, `c50`, `distortion` and `quality`; a measure that is
            off has no key.

    Raises:
        FileNotFoundError, ValueError: a model, a GPU or a package that the config asks for is not there.
    """

    def __init__(self, config: FeaturesConfig) -> None:
        self.device = device_of(config)
        self._signal = signal_engine(config, self.device)
        self._room = room_model(config, self.device)
        self._quality = quality_model(config, self.device)
        self._batches = ShrinkingBatches(round(config.batch_s * SAMPLE_RATE), release_device_memory)
        self.backends: dict[str, str] = dict(self._signal.backends)
        for model in (self._room, self._quality):
            self.backends |= model.backends if model else {}

    def measure(self, clips: Sequence[Waveform]) -> list[ClipFeatures]:
        """Measure each clip: float32 [n], 16 kHz, in [-1, 1]. A bad clip costs only itself.

        Returns:
            One per clip, in order, whatever else is in the batch.
        """
        results = [_unusable(clip) for clip in clips]
        usable = [index for index, result in enumerate(results) if result is None]
        measured = self._batches.map([clips[index] for index in usable], self._measure)
        for index, features in zip(usable, measured, strict=True):
            results[index] = features or _rejected(
                "out_of_memory", f"{len(clips[index]) / SAMPLE_RATE:.1f} s do not fit into the memory of {self.device}"
            )
        return [result for result in results if result is not None]

    def _measure(self, clips: Sequence[Waveform]) -> list[ClipFeatures]:
        signals = self._signal.measure([clip - _mean(clip) for clip in clips])
        # the models are told the waveform as it is: a shifted mean is a fault that they may hear
        heard = [np.clip(clip, -1.0, 1.0) for clip in clips] if self._room or self._quality else []
        rooms = self._room.measure(heard) if self._room else [_room_of(signal) for signal in signals]
        qualities = self._quality.measure(heard) if self._quality else [_UNJUDGED] * len(clips)
        seconds = [len(clip) / SAMPLE_RATE for clip in clips]
        return [self._summarise(*parts) for parts in zip(seconds, signals, rooms, qualities, strict=True)]

    def _summarise(
        self, clip_s: float, signal: Signal, room: tuple[Estimate, Estimate], quality: tuple[Estimate, Estimate]
    ) -> ClipFeatures:
        pitch = pitch_statistics(signal.f0_hz)
        unpitched = "unvoiced" if len(signal.f0_hz) else "too_short"
        levels = signal.intensity_db
        speech = speech_activity(levels)
        speech_s = speech_duration(speech, signal.intensity_start_s, clip_s)
        unheard = "no_speech" if len(levels) else "too_short"
        known = _Known(self.backends)
        return ClipFeatures(
            pitch_median_hz=known("pitch_median_hz", pitch.median_hz, unpitched),
            pitch_mean_hz=known("pitch_mean_hz", pitch.mean_hz, unpitched),
            pitch_std_hz=known("pitch_std_hz", pitch.std_hz, unpitched),
            intensity_db=known("intensity_db", mean_db(levels[speech]) if speech_s else None, unheard),
            speech_duration_s=known("speech_duration_s", speech_s or None, unheard),
            snr_db=known("snr_db", *room[0]),
            c50_db=known("c50_db", *room[1]),
            distortion=known("distortion", *quality[0]),
            quality=known("quality", *quality[1]),
            nulls=tuple(known.nulls),
            tracks=ProsodyTracks(signal.f0_hz, signal.f0_start_s, levels, signal.intensity_start_s),
        )


_UNJUDGED: Final[tuple[Estimate, Estimate]] = ((None, "disabled"), (None, "disabled"))
_BACKEND_OF: Final = {"snr_db": "snr", "c50_db": "c50", "distortion": "distortion", "quality": "quality"}


class _Known:
    """Lets feasible values pass, and keeps the reasons of those that are not known."""

    def __init__(self, backends: Mapping[str, str]) -> None:
        self._backends = backends
        self.nulls: list[str] = []

    def __call__(self, column: str, value: float | None, reason: str | None) -> float | None:
        checked = feasible(column, value, self._backends.get(_BACKEND_OF.get(column, "")))
        if checked is None:
            self.nulls.append(f"{column}:{reason if value is None else 'out_of_range'}")
        return checked


def _room_of(signal: Signal) -> tuple[Estimate, Estimate]:
    """Return SNR and C50 of the signal; no C50 in noise, where decays end early and a dry clip would be distant."""
    snr, no_snr = signal.snr
    if snr is None:
        return signal.snr, (None, no_snr)  # there may be noise
    if snr < LEAST_SNR_FOR_C50_DB:
        return signal.snr, (None, "too_noisy")
    return signal.snr, signal.c50


def _unusable(clip: Waveform) -> ClipFeatures | None:
    """Return a rejected result if the clip can't be measured."""
    if clip.ndim != 1 or not len(clip):
        return _rejected("empty_audio", f"an array of shape {clip.shape} holds no samples of one channel")
    low, high = float(clip.min()), float(clip.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # both find NaN
        bad = int(np.count_nonzero(~np.isfinite(clip)))
        return _rejected("non_finite", f"{bad} of {len(clip)} samples are NaN or infinite")
    mean = float(_mean(clip))
    peak = max(high - mean, mean - low)
    if peak < _SILENT_PEAK:
        return _rejected("silent", f"no sample is further than {peak:.1e} from the mean of the clip")
    return None


def _mean(clip: Waveform) -> np.float32:
    # in double precision, yet without a copy of the clip in it
    return np.float32(np.add.reduce(clip, dtype=np.float64) / len(clip))


def _rejected(reason: str, detail: str) -> ClipFeatures:
    return ClipFeatures(reject_reason=reason, reject_detail=detail)
