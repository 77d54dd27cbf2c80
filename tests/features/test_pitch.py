import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.features.pitch import pitch_statistics, pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from tests.features.conftest import Clip, tone

RANGE = PitchParameters()


@pytest.mark.parametrize("hz", [80.0, 121.3, 220.0, 440.0, 580.0])
def test_a_tone_has_its_own_pitch(hz: float) -> None:
    f0, start = pitch_track(tone(hz, 1.0), RANGE)
    assert f0.dtype == np.float32
    assert np.mean(f0 > 0) > 0.95
    statistics = pitch_statistics(f0)
    assert statistics.median_hz == pytest.approx(hz, rel=2e-3)
    assert statistics.mean_hz == pytest.approx(hz, rel=2e-3)
    assert statistics.std_hz is not None
    assert statistics.std_hz < 0.01 * hz
    assert 0.0 < start < 0.05


def test_frames_lie_where_they_say() -> None:
    silence, voiced = np.zeros(8000, np.float32), tone(150.0, 0.5)
    f0, start = pitch_track(np.concatenate([silence, voiced, silence]), RANGE)
    centres = start + 0.01 * np.arange(len(f0))
    heard = centres[f0 > 0]
    assert heard[0] == pytest.approx(0.5, abs=0.025)
    assert heard[-1] == pytest.approx(1.0, abs=0.025)


def test_floor_and_ceiling_bound_the_track(voices: list[Clip]) -> None:
    for clip in voices[:4]:
        f0, _ = pitch_track(clip, PitchParameters(pitch_floor=100.0, pitch_ceiling=300.0))
        voiced = f0[f0 > 0]
        assert len(voiced)
        assert voiced.min() >= 99.0  # Praat interpolates between the lags that it allows
        assert voiced.max() <= 303.0


def test_noise_and_silence_are_unvoiced(rng: np.random.Generator) -> None:
    for clip in (rng.standard_normal(16000) * 0.1, np.zeros(16000)):
        f0, _ = pitch_track(clip.astype(np.float32), RANGE)
        assert np.mean(f0 > 0) < 0.05


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, 2000), floor=st.sampled_from([50.0, 75.0, 120.0]))
def test_any_short_clip_is_tracked_or_has_no_frames(length: int, floor: float) -> None:
    f0, start = pitch_track(tone(200.0, 1.0)[:length], PitchParameters(pitch_floor=floor))
    assert np.isfinite(f0).all()
    assert (len(f0) == 0) == (length < (3 / floor + 0.01) * 16000)
    assert 0.0 <= start <= length / 16000


def test_too_few_voiced_frames_are_unknown() -> None:
    f0 = np.zeros(100, np.float32)
    f0[:9] = 100.0
    assert pitch_statistics(f0) == (None, None, None)
    f0[9] = 150.0
    assert pitch_statistics(f0) == (100.0, 105.0, pytest.approx(15.0))


def test_frames_an_octave_away_count_for_nothing() -> None:
    f0 = np.full(50, 110.0, np.float32)
    f0[:5] = (420.0, 430.0, 50.0, 225.0, 54.0)
    assert pitch_statistics(f0) == (110.0, 110.0, 0.0)
    assert pitch_statistics(f0[:5], min_frames=3, around_hz=110.0) == (None, None, None)
    assert pitch_statistics(np.empty(0, np.float32)) == (None, None, None)
