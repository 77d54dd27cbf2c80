"""The contours that pitch and intensity are read from: values every few milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

STEP_S: Final = 0.01
"""Seconds from one frame's centre to the next, in every track."""


@dataclass(frozen=True, slots=True)
class ProsodyTracks:
    """F0 and intensity of one clip; frame `i` is centred on `start + i * step_s`.

    Attributes:
        f0_hz: float32 [n], Hz, 0 where unvoiced; empty where the clip is too short.
        f0_start_s: centre of the first F0 frame, s from the clip's start.
        intensity_db: float32 [m], dB re 2e-5 (amplitude 1 taken as 1 Pa), finite; empty where too short.
        intensity_start_s: centre of the first intensity frame, s.
        step_s: seconds between frames of either track.
    """

    f0_hz: NDArray[np.float32]
    f0_start_s: float
    intensity_db: NDArray[np.float32]
    intensity_start_s: float
    step_s: float = STEP_S

    @classmethod
    def empty(cls) -> ProsodyTracks:
        """Return tracks without a frame: of a clip that nothing could be measured on."""
        return cls(np.empty(0, np.float32), 0.0, np.empty(0, np.float32), 0.0)


def mean_db(levels_db: NDArray[np.float32]) -> float:
    """Return the level (dB) of the mean energy of `levels_db`, which must not be empty.

    Energies are averaged, not decibels, as Praat's "Get mean: energy" does.
    """
    return float(10.0 * np.log10(np.mean(10.0 ** (levels_db.astype(np.float64) / 10.0))))
