"""All measurements of a clip in one place: what the annotate stage calls, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.config import FeaturesConfig
from sift_ray.features import noise, reverberation
from sift_ray.features.feasible import feasible
from sift_ray.features.intensity import intensity_track, speech_activity
from sift_ray.features.pitch import pitch_statistics, pitch_track
from sift_ray.features.quality import Dnsmos, MosScores
from sift_ray.features.spectrum import power_spectrogram
from sift_ray.features.tracks import STEP_S, ProsodyTracks, mean_db
from sift_ray.schema import MEASURES

LEAST_SNR_FOR_C50_DB: Final = 20.0
_SILENT_PEAK: Final = 1e-4  # -80 dB of full scale, once the mean is taken away

Waveform = NDArray[np.float32]


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

    Attributes:
        backends: what measures `snr`, `c50`, `distortion` and `quality`; a measure that is off has no key.

    Raises:
        FileNotFoundError, ValueError: as `Dnsmos`.
    """

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config
        self._dnsmos: Dnsmos | None = None
        self.backends: dict[str, str] = {}
        if config.room == "signal":
            self.backends |= {"snr": noise.BACKEND, "c50": reverberation.BACKEND}
        if config.quality == "dnsmos":
            self._dnsmos = Dnsmos(windows=config.dnsmos_windows, device=config.device)
            self.backends |= {"distortion": "dnsmos_sig", "quality": "dnsmos_ovrl"}

    def measure(self, clips: Sequence[Waveform]) -> list[ClipFeatures]:
        """Measure each clip: float32 [n], 16 kHz, in [-1, 1]. A bad clip costs only itself.

        Returns:
            One per clip, in order, whatever else is in the batch.
        """
        usable = [_usable(clip) for clip in clips]
        heard = [index for index, item in enumerate(usable) if not isinstance(item, ClipFeatures)]
        scores: dict[int, MosScores | None] = {}
        if self._dnsmos is not None:
            # DNSMOS is told the waveform as it is: a shifted mean is a fault that it may hear
            judged = self._dnsmos.score([np.clip(clips[index], -1.0, 1.0) for index in heard])
            scores = dict(zip(heard, judged, strict=True))
        return [
            item if isinstance(item, ClipFeatures) else self._measure(item, scores.get(index))
            for index, item in enumerate(usable)
        ]

    def _measure(self, waveform: Waveform, mos: MosScores | None) -> ClipFeatures:
        floor, ceiling = self._config.pitch_floor, self._config.pitch_ceiling
        f0, f0_start = pitch_track(waveform, pitch_floor=floor, pitch_ceiling=ceiling)
        pitch = pitch_statistics(f0)
        unpitched = "unvoiced" if len(f0) else "too_short"

        levels, levels_start = intensity_track(waveform, pitch_floor=floor)
        speech = speech_activity(levels)
        speech_s = float(np.count_nonzero(speech)) * STEP_S
        unheard = "no_speech" if len(levels) else "too_short"

        if self._config.room == "signal":
            power = power_spectrogram(waveform)
            snr, no_snr = noise.snr(waveform, power)
            c50, no_c50 = reverberation.c50(power)
            if snr is not None and snr < LEAST_SNR_FOR_C50_DB:
                # decays end in the noise, and a dry clip would be called distant
                c50, no_c50 = None, "too_noisy"
        else:
            snr, no_snr, c50, no_c50 = None, "disabled", None, "disabled"
        unjudged = "disabled" if self._dnsmos is None else "too_short"

        known = _Known()
        return ClipFeatures(
            pitch_median_hz=known("pitch_median_hz", pitch.median_hz, unpitched),
            pitch_mean_hz=known("pitch_mean_hz", pitch.mean_hz, unpitched),
            pitch_std_hz=known("pitch_std_hz", pitch.std_hz, unpitched),
            intensity_db=known("intensity_db", mean_db(levels[speech]) if speech_s else None, unheard),
            speech_duration_s=known("speech_duration_s", speech_s or None, unheard),
            snr_db=known("snr_db", snr, no_snr),
            c50_db=known("c50_db", c50, no_c50),
            distortion=known("distortion", mos.sig if mos else None, unjudged),
            quality=known("quality", mos.ovrl if mos else None, unjudged),
            nulls=tuple(known.nulls),
            tracks=ProsodyTracks(f0, f0_start, levels, levels_start),
        )


class _Known:
    """Lets feasible values pass, and keeps the reasons of those that are not known."""

    def __init__(self) -> None:
        self.nulls: list[str] = []

    def __call__(self, column: str, value: float | None, reason: str | None) -> float | None:
        checked = feasible(column, value) if column in MEASURES else value
        if checked is None:
            self.nulls.append(f"{column}:{reason if value is None else 'out_of_range'}")
        return checked


def _usable(clip: Waveform) -> Waveform | ClipFeatures:
    """Return the clip without its mean, or a rejected result."""
    if clip.ndim != 1 or not len(clip):
        return _rejected("empty_audio", f"an array of shape {clip.shape} holds no samples of one channel")
    if not np.isfinite(clip).all():
        bad = int(np.count_nonzero(~np.isfinite(clip)))
        return _rejected("non_finite", f"{bad} of {len(clip)} samples are NaN or infinite")
    centred = (clip - np.mean(clip, dtype=np.float64)).astype(np.float32)
    peak = float(np.abs(centred).max())
    if peak < _SILENT_PEAK:
        return _rejected("silent", f"no sample is further than {peak:.1e} from the mean of the clip")
    return centred


def _rejected(reason: str, detail: str) -> ClipFeatures:
    return ClipFeatures(reject_reason=reason, reject_detail=detail)
