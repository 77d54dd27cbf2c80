"""Fundamental frequency by Praat's autocorrelation method (Boersma 1993), and its statistics.

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
sampled sound", IFA Proceedings 17 (1993).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import parselmouth
from numpy.typing import NDArray

from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.tracks import STEP_S
from sift_ray.schema import SAMPLE_RATE

MIN_VOICED_FRAMES: Final = 10
"""Voiced frames (0.1 s in all) that an utterance's pitch is at least taken from."""

PERIODS_PER_WINDOW: Final = 3
"""Of the floor, in Praat's Hann window."""
_OCTAVE: Final = 2.0


class PitchStatistics(NamedTuple):
    """Median, mean and (population) standard deviation of F0 over voiced frames, Hz; None: too few."""

    median_hz: float | None
    mean_hz: float | None
    std_hz: float | None


def pitch_track(waveform: NDArray[np.float32], parameters: PitchParameters) -> tuple[NDArray[np.float32], float]:
    """Track F0 with Praat ("To Pitch (ac)").

    Args:
        waveform: float32 [n], 16 kHz.
        parameters: Praat's.

    Returns:
        F0 in Hz, float32 [frames], 0 where unvoiced, and the centre of the first frame in s. No frames where
        the clip is shorter than Praat's window.
    """
    if len(waveform) < shortest_pitched(parameters.pitch_floor):
        return np.empty(0, np.float32), 0.0
    sound = parselmouth.Sound(waveform.astype(np.float64), sampling_frequency=SAMPLE_RATE)
    pitch = sound.to_pitch_ac(
        time_step=STEP_S,
        pitch_floor=parameters.pitch_floor,
        max_number_of_candidates=parameters.max_candidates,
        very_accurate=False,
        silence_threshold=parameters.silence_threshold,
        voicing_threshold=parameters.voicing_threshold,
        octave_cost=parameters.octave_cost,
        octave_jump_cost=parameters.octave_jump_cost,
        voiced_unvoiced_cost=parameters.voiced_unvoiced_cost,
        pitch_ceiling=parameters.pitch_ceiling,
    )
    return pitch.selected_array["frequency"].astype(np.float32), float(pitch.x1)


def shortest_pitched(pitch_floor: float) -> float:
    """Return how many samples a clip must at least have for one frame of pitch: Praat's window and a step."""
    return (PERIODS_PER_WINDOW / pitch_floor + STEP_S) * SAMPLE_RATE


def median_hz(f0_hz: NDArray[np.float32]) -> float | None:
    """Return the median of the voiced frames of a track (Hz, 0 where unvoiced), None where there are none."""
    voiced = f0_hz[f0_hz > 0]
    return float(np.median(voiced)) if len(voiced) else None


def pitch_statistics(
    f0_hz: NDArray[np.float32], min_frames: int = MIN_VOICED_FRAMES, around_hz: float | None = None
) -> PitchStatistics:
    """Summarise a track (Hz, 0 where unvoiced); all None with fewer than `min_frames` voiced frames.

    Frames more than an octave from the median (or from `around_hz`: for a word, its utterance's median) are
    trackers' errors (a hiss read as 420 Hz) far more often than speech, and a few of them would make a monotone
    voice "very expressive": they count for nothing.
    """
    voiced = f0_hz[f0_hz > 0].astype(np.float64)
    if len(voiced):
        centre = np.median(voiced) if around_hz is None else around_hz
        voiced = voiced[(voiced > centre / _OCTAVE) & (voiced < centre * _OCTAVE)]
    if len(voiced) < min_frames:
        return PitchStatistics(None, None, None)
    return PitchStatistics(float(np.median(voiced)), float(voiced.mean()), float(voiced.std()))
