"""The one power spectrogram that the noise and the reverberation estimators share."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

WINDOW: Final = 512
"""Samples of a frame: 32 ms."""
HOP: Final = 160
"""Samples from frame to frame: 10 ms."""

HANN: Final[NDArray[np.float32]] = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
"""The window of a frame, periodic. (scipy.signal has it too, and takes a worker more than a second to import.)"""
FULL_SCALE: Final = np.float32(WINDOW * np.sum(HANN**2))
"""What power is divided by, so that a row's sum is the frame's mean square."""


def power_spectrogram(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [frames, 257]: power of each Hann-windowed frame that fits in `waveform` whole.

    Scaled so that a row's sum is the frame's mean square: of white noise of variance v, v on average.
    """
    if len(waveform) < WINDOW:
        return np.empty((0, WINDOW // 2 + 1), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    spectrum = fft.rfft(frames * HANN, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    power[:, 1:-1] *= 2.0  # the negative frequencies
    return np.asarray(power / FULL_SCALE, np.float32)
