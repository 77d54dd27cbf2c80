from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from sift_ray.align.mel import FFT, band_powers, mel_filters


@pytest.mark.parametrize(("window", "step"), [(400, 160), (512, 256)])
@pytest.mark.parametrize("frames", [0, 1, 31, 32, 33, 100])
def test_band_powers_are_those_of_a_plain_transform(window: int, step: int, frames: int) -> None:
    samples = np.random.default_rng(0).standard_normal(max(window + (frames - 1) * step + 7, 0)).astype(np.float32)
    samples = samples if frames else samples[: window - 1]
    shape = np.hamming(window).astype(np.float32)
    found = band_powers(samples, shape, step)
    assert found.dtype == np.float32
    assert found.shape == (frames, 26)
    for frame in range(frames):
        spectrum = scipy.fft.rfft((samples[frame * step : frame * step + window] * shape).astype(np.float64), FFT)
        assert found[frame] == pytest.approx(np.square(np.abs(spectrum)) @ mel_filters(FFT), rel=1e-5)


def test_silence_has_no_power() -> None:
    assert not band_powers(np.zeros(4000, np.float32), np.hanning(400).astype(np.float32), 160).any()
