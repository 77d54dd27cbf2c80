"""Pitch and intensity of one word, read from the clip's tracks."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.features.feasible import feasible
from sift_ray.features.pitch import median_hz, pitch_statistics
from sift_ray.features.tracks import ProsodyTracks, mean_db

MIN_WORD_FRAMES: Final = 3
"""Frames (0.03 s) that a word's pitch or intensity is at least taken from."""


def word_prosody(
    tracks: ProsodyTracks, start_s: float, end_s: float
) -> tuple[float | None, float | None, float | None]:
    """Measure the frames whose centres lie in [start_s, end_s).

    Returns:
        Mean F0 (Hz) and standard deviation of F0 (Hz) over voiced frames, and level of the mean energy
        (dB re 2e-5). None where there are fewer than three frames, or the value is outside the feasible range.
    """
    f0 = _between(tracks.f0_hz, tracks.f0_start_s, tracks.step_s, start_s, end_s)
    levels = _between(tracks.intensity_db, tracks.intensity_start_s, tracks.step_s, start_s, end_s)
    pitch = pitch_statistics(f0, MIN_WORD_FRAMES, around_hz=median_hz(tracks.f0_hz))
    level = mean_db(levels) if len(levels) >= MIN_WORD_FRAMES else None
    return (
        feasible("pitch_mean_hz", pitch.mean_hz),
        feasible("pitch_std_hz", pitch.std_hz),
        feasible("intensity_db", level),
    )


def _between(
    values: NDArray[np.float32], first_s: float, step_s: float, start_s: float, end_s: float
) -> NDArray[np.float32]:
    # rounding keeps a frame that lies on the boundary, up to float error, on the same side every time
    low = max(0, math.ceil(round((start_s - first_s) / step_s, 6)))
    high = max(low, math.ceil(round((end_s - first_s) / step_s, 6)))
    return values[low:high]
