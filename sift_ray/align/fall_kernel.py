"""Where the level of a sound falls, compiled by numba. To import it takes about a second: done when it is needed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.path_kernel import compiled


def _fall(
    samples: NDArray[np.float32], first: int, until: int, step: int, half: int, least: int, floor: float
) -> tuple[int, float]:
    until = min(until, -(-samples.size // step))
    count = until - first
    if count < 2 * least:
        return 0, 0.0
    sums = np.zeros(count + 1)
    for n in range(count):
        begin = max((first + n) * step - half, 0)
        end = min((first + n) * step + half, samples.size)
        energy = 0.0
        for sample in samples[begin:end]:
            energy += float(sample) * float(sample)
        sums[n + 1] = sums[n] + 10.0 * math.log10(max(energy / max(end - begin, 1), floor))
    best, largest, fall = least, -np.inf, 0.0
    for left in range(least, count - least + 1):
        gap = sums[left] / left - (sums[count] - sums[left]) / (count - left)
        if gap * math.sqrt(left * (count - left)) > largest:
            best, largest, fall = left, gap * math.sqrt(left * (count - left)), gap
    return best, fall


_fall_compiled = compiled(_fall, "Tuple((int64, float64))(float32[::1], int64, int64, int64, int64, int64, float64)")


def steepest_fall(
    samples: NDArray[np.float32], first: int, until: int, *, step: int, window: int, least: int, floor: float
) -> tuple[int, float]:
    """Return how many of the levels from `first` to `until` lie before the steepest fall among them, and its dB.

    A level is that of `window` samples around every `step`-th one, its power at least `floor`. The fall is the split
    with at least `least` levels on either side that has the largest variance between the two groups; 0 dB if there are
    too few levels.
    """
    left, fall = _fall_compiled(samples, first, until, step, window // 2, least, floor)
    return int(left), float(fall)
