import numpy as np
import pytest

from sift_ray.features.spectrum import HANN, WINDOW, power_spectrogram
from tests.features.conftest import tone


def test_the_window_is_scipys_to_the_bit() -> None:
    from scipy.signal import get_window

    assert np.array_equal(HANN, get_window("hann", WINDOW).astype(np.float32))


def test_rows_sum_to_the_mean_square(rng: np.random.Generator) -> None:
    power = power_spectrogram((0.3 * rng.standard_normal(160_000)).astype(np.float32))
    assert power.dtype == np.float32
    assert power.shape == ((160_000 - 512) // 160 + 1, 257)
    assert power.sum(axis=1).mean() == pytest.approx(0.09, rel=0.03)


def test_a_tone_lies_in_its_bin() -> None:
    time = np.arange(16000) / 16000
    power = power_spectrogram(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    assert set(power.argmax(axis=1)) == {32}
    assert power.sum(axis=1) == pytest.approx(0.5, rel=1e-3)


def test_less_than_a_frame_has_no_frames() -> None:
    assert power_spectrogram(tone(100.0, 0.01)).shape == (0, 257)
