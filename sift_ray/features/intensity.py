"""Intensity as Praat measures it, and the speech activity that is read from it."""

from __future__ import annotations

from typing import Final

import numpy as np
import parselmouth
from numpy.typing import NDArray

from sift_ray.features.tracks import STEP_S
from sift_ray.schema import SAMPLE_RATE

PERIODS_PER_WINDOW: Final = 6.4
"""Praat's Kaiser window is so many periods of the lowest pitch long."""
SILENCE_DB: Final = -100.0
"""The least level of a track: Praat gives -300 dB to digital silence, which no later arithmetic is better for."""

_PEAK_PERCENTILE: Final = 95.0
_FLOOR_PERCENTILE: Final = 5.0
_BELOW_PEAK_DB: Final = 30.0  # quieter than this under the peak is no speech, however low the floor
_ABOVE_FLOOR_DB: Final = 6.0  # noise of one level varies by ±3 dB from frame to frame
_MIN_CONTRAST_DB: Final = 6.0  # with less between floor and peak there are no pauses to find
_MAX_GAP_S: Final = 0.2  # closures of plosives are speech; pauses are longer
_MIN_BURST_S: Final = 0.05  # clicks are not speech


def intensity_track(waveform: NDArray[np.float32], *, pitch_floor: float) -> tuple[NDArray[np.float32], float]:
    """Measure intensity with Praat ("To Intensity", mean subtracted in each window).

    Args:
        waveform: float32 [n], 16 kHz.
        pitch_floor: lowest F0 in Hz whose periods must not show in the track; sets the window, 6.4 / floor s.

    Returns:
        dB re 2e-5, float32 [frames], at least -100, and the centre of the first frame in s. No frames where the
        clip is shorter than Praat's window.
    """
    if len(waveform) < least_samples(pitch_floor):
        return np.empty(0, np.float32), 0.0
    sound = parselmouth.Sound(waveform.astype(np.float64), sampling_frequency=SAMPLE_RATE)
    intensity = sound.to_intensity(minimum_pitch=pitch_floor, time_step=STEP_S, subtract_mean=True)
    levels = np.maximum(intensity.values[0], SILENCE_DB)
    return levels.astype(np.float32), float(intensity.x1)


def least_samples(pitch_floor: float) -> float:
    """Return how long a clip must be to have a track: Praat's window and a step, in samples."""
    return (PERIODS_PER_WINDOW / pitch_floor + STEP_S) * SAMPLE_RATE


def speech_activity(intensity_db: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell the frames of speech from the pauses of an intensity track (dB, step 0.01 s).

    The threshold lies 6 dB above the noise floor (5th percentile of the track), or halfway to the peak (95th
    percentile) where that is nearer, and no more than 30 dB under the peak, so that it serves both recordings with
    steady noise and those with digital silence.
    Gaps of at most 0.2 s are then closed and bursts under 0.05 s dropped. A track whose floor lies within 6 dB of
    its peak has no pauses: all of it is active.

    Returns:
        bool [frames].
    """
    if not len(intensity_db):
        return np.zeros(0, np.bool_)
    peak, floor = np.percentile(intensity_db, (_PEAK_PERCENTILE, _FLOOR_PERCENTILE))
    if peak - floor < _MIN_CONTRAST_DB:
        return np.ones(len(intensity_db), np.bool_)
    active: NDArray[np.bool_] = intensity_db > max(
        peak - _BELOW_PEAK_DB, min(floor + _ABOVE_FLOOR_DB, (floor + peak) / 2)
    )
    starts, ends = _runs(active)
    if not len(starts):
        return active
    joined = starts[1:] - ends[:-1] > round(_MAX_GAP_S / STEP_S)
    starts = starts[np.concatenate(([True], joined))]
    ends = ends[np.concatenate((joined, [True]))]
    speech = np.zeros_like(active)
    for start, end in zip(starts, ends, strict=True):
        if end - start >= round(_MIN_BURST_S / STEP_S):
            speech[start:end] = True
    return speech


def speech_duration(active: NDArray[np.bool_], start_s: float, clip_s: float) -> float:
    """Return the seconds of speech in a clip.

    The track begins and ends half of Praat's window (43 ms at a floor of 75 Hz) within the clip. Where its first or
    last frame is active, speech is taken to reach the clip's edge.

    Args:
        active: bool [frames], `speech_activity` of an intensity track.
        start_s: centre of the track's first frame, s.
        clip_s: length of the clip, s.

    Returns:
        Seconds, at most `clip_s`; 0 where no frame is active.
    """
    if not active.any():
        return 0.0
    end_s = start_s + (len(active) - 1) * STEP_S
    before = start_s - STEP_S / 2 if active[0] else 0.0
    after = clip_s - end_s - STEP_S / 2 if active[-1] else 0.0
    return min(np.count_nonzero(active) * STEP_S + before + after, clip_s)


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where runs of True start, and where they have ended."""
    edges = np.diff(np.concatenate(([0], mask.astype(np.int8), [0])))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
