"""Power in mel bands, for cepstra and echoes."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sift_ray.schema import SAMPLE_RATE

MELS: Final = 26
FFT: Final = 512
_AT_ONCE = 64  # frames: their spectra stay in the processor's cache
_LOW_HZ, _HIGH_HZ = 20.0, 7600.0


@cache
def mel_filters(window: int) -> NDArray[np.float32]:
    """Return triangles of 20–7600 Hz, float32 `[window // 2 + 1, 26]`, with the mel scale of O'Shaughnessy, 1987."""
    low, high = 1127 * np.log1p(np.array([_LOW_HZ, _HIGH_HZ]) / 700)
    edges = 700 * np.expm1(np.linspace(low, high, MELS + 2) / 1127)
    frequencies = np.arange(window // 2 + 1) * SAMPLE_RATE / window
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(np.minimum(rising, falling), 0.0), np.float32)


def band_powers(samples: NDArray[np.float32], window: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return the power in mel bands of each whole frame under `window`, `step` samples apart: float32 `[frames, 26]`.

    `window` has at most `FFT` samples.
    """
    if samples.size < window.size:
        return np.zeros((0, MELS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window.size)[::step]
    filled = np.zeros((min(len(frames), _AT_ONCE), FFT), np.float32)
    bands = np.empty((len(frames), MELS), np.float32)
    filters = mel_filters(FFT)
    for first in range(0, len(frames), _AT_ONCE):
        part = frames[first : first + _AT_ONCE]
        np.multiply(part, window, out=filled[: len(part), : window.size])
        spectrum = scipy.fft.rfft(filled[: len(part)], axis=1)
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        np.matmul(power, filters, out=bands[first : first + len(part)])
    return bands
