from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.align.signal import PAD_S, Falls, cepstra, energy_db, frame_count, pad, splice
from sift_ray.schema import SAMPLE_RATE


def _clip(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def test_padding_is_noise_far_below_the_clip_and_the_same_each_time() -> None:
    clip = _clip(1.0)
    padded = pad(clip)
    edge = round(PAD_S * SAMPLE_RATE)
    assert padded.dtype == np.float32
    assert padded.size == clip.size + 2 * edge
    assert np.array_equal(padded, pad(clip.copy()))
    level = float(np.sqrt(np.mean(padded[:edge] ** 2)))
    assert 0 < level < 10 ** (-11 / 20) * 0.1
    assert float(np.abs(padded[edge:-edge] - clip).max()) < 0.002  # 50 dB under it


def test_digital_silence_is_padded_with_something() -> None:
    padded = pad(np.zeros(8000, np.float32))
    assert np.isfinite(padded).all()
    assert float(padded.std()) > 0
    assert pad(np.zeros(0, np.float32)).size == 2 * round(PAD_S * SAMPLE_RATE)


def test_energy_in_db_of_full_scale() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    assert np.allclose(energy_db(tone), 10 * np.log10(0.5), atol=0.01)
    assert energy_db(np.zeros(100, np.float32)).size == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4000), st.integers(0, 5))
def test_frames_agree_between_measures(samples: int, context: int) -> None:
    clip = _clip(samples / SAMPLE_RATE)
    features = cepstra(clip)
    assert features.shape == (frame_count(clip.size), 13)
    assert splice(features, context).shape == (features.shape[0], 13 * (2 * context + 1))
    assert energy_db(clip).size == features.shape[0]


def _loud_then_quiet(at_s: float) -> np.ndarray:
    clip = _clip(1.0, 0.2)
    clip[round(at_s * SAMPLE_RATE) :] *= np.float32(0.05)  # 26 dB less
    return clip


@pytest.mark.parametrize("late_s", [0.0, 0.008, 0.0125, 0.025])
def test_the_end_of_a_loud_sound_is_found_to_two_milliseconds(late_s: float) -> None:
    falls = Falls(_loud_then_quiet(0.5))
    assert falls.near(0.5 + late_s, 0.3) == pytest.approx(0.5, abs=0.002)


def test_without_a_fall_nearby_nothing_moves() -> None:
    falls = Falls(_loud_then_quiet(0.5))
    assert falls.near(0.3, 0.1) == 0.3  # noise of one level
    assert falls.near(0.6, 0.1) == 0.6  # the fall is long past
    assert falls.near(0.52, 0.51) == 0.52  # and may not be looked for so early
    assert falls.near(0.0, 0.0) == 0.0
    assert Falls(_loud_then_quiet(0.5)[::-1].copy()).near(0.505, 0.3) == 0.505  # a rise
    assert Falls(np.zeros(0, np.float32)).near(0.1, 0.0) == 0.1
