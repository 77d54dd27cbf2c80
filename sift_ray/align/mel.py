"""The mel bands of cepstra and echoes."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.schema import SAMPLE_RATE

MELS: Final = 26
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
