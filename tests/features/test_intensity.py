import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.features.intensity import intensity_track, speech_activity, speech_duration
from sift_ray.features.tracks import mean_db
from tests.features.conftest import Clip, tone


@pytest.mark.parametrize("level", [0.001, 0.1, 0.5])
def test_a_tone_has_the_level_of_its_rms(level: float) -> None:
    levels, _ = intensity_track(tone(200.0, 1.0, level), pitch_floor=75.0)
    expected = 20 * np.log10(level / 2e-5)
    assert np.median(levels) == pytest.approx(expected, abs=0.1)
    assert mean_db(levels) == pytest.approx(expected, abs=0.1)


def test_ten_decibels_more_are_ten_decibels_more(voice: Clip) -> None:
    soft, _ = intensity_track(voice * np.float32(10**-0.5), pitch_floor=75.0)
    loud, _ = intensity_track(voice, pitch_floor=75.0)
    heard = soft > 0
    assert np.allclose(loud[heard] - soft[heard], 10.0, atol=0.01)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, 3000), floor=st.sampled_from([50.0, 75.0, 120.0]))
def test_any_short_clip_is_measured_or_has_no_frames(length: int, floor: float) -> None:
    levels, start = intensity_track(tone(200.0, 1.0)[:length], pitch_floor=floor)
    assert np.isfinite(levels).all()
    assert (len(levels) == 0) == (length < (6.4 / floor + 0.01) * 16000)
    assert 0.0 <= start <= length / 16000


def test_energies_are_averaged_not_decibels() -> None:
    assert mean_db(np.array([60.0, 0.0], np.float32)) == pytest.approx(60 - 3.0103, abs=1e-3)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3, 1e-2])
def test_speech_is_found_between_pauses(noise: float, rng: np.random.Generator) -> None:
    pause = np.zeros(8000, np.float32)
    clip = np.concatenate([pause, tone(150.0, 1.0), pause, tone(150.0, 0.7), pause])
    clip += (noise * rng.standard_normal(len(clip))).astype(np.float32)
    levels, start = intensity_track(clip, pitch_floor=75.0)
    speech = speech_activity(levels)
    centres = start + 0.01 * np.arange(len(levels))
    truth = ((centres > 0.5) & (centres < 1.5)) | ((centres > 2.0) & (centres < 2.7))
    # the window of 85 ms reaches out of a burst by 30 ms before it is 30 dB down
    assert np.count_nonzero(speech) * 0.01 == pytest.approx(1.7, abs=0.2)
    assert np.mean(speech == truth) > 0.93


def test_closures_are_closed_and_clicks_dropped() -> None:
    levels = np.full(300, 20.0, np.float32)
    levels[50:100] = levels[115:160] = 70.0  # 0.15 s between: a closure
    levels[220:223] = 70.0  # 0.03 s: a click
    speech = speech_activity(levels)
    assert speech[50:160].all()
    assert np.count_nonzero(speech) == 110


def test_a_steady_sound_has_no_pauses() -> None:
    assert speech_activity(np.full(50, 60.0, np.float32)).all()
    assert speech_activity(np.empty(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.304, 1.0])
def test_speech_that_fills_a_clip_is_as_long_as_it(seconds: float) -> None:
    clip = tone(200.0, seconds)
    levels, start = intensity_track(clip, pitch_floor=75.0)
    assert speech_duration(speech_activity(levels), start, len(clip) / 16000) == pytest.approx(seconds, abs=1e-4)


@pytest.mark.parametrize("pauses", [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (0.0, 0.0)])
def test_speech_reaches_the_edges_only_where_it_is_heard_there(pauses: tuple[float, float]) -> None:
    before, after = (np.zeros(round(16000 * pause), np.float32) for pause in pauses)
    clip = np.concatenate([before, tone(150.0, 1.0), after])
    levels, start = intensity_track(clip, pitch_floor=75.0)
    # the window reaches out of the tone by 30 ms before it is 30 dB down
    reach = 0.03 * np.count_nonzero(pauses)
    found = speech_duration(speech_activity(levels), start, len(clip) / 16000)
    assert found == pytest.approx(1.0 + reach, abs=0.02)


def test_speech_between_pauses_is_counted_in_frames() -> None:
    active = np.zeros(90, np.bool_)
    assert speech_duration(active, 0.05, 1.0) == 0.0
    active[20:50] = True
    assert speech_duration(active, 0.05, 1.0) == pytest.approx(0.3)
    active[:10] = True
    assert speech_duration(active, 0.05, 1.0) == pytest.approx(0.4 + 0.045)
    active[-5:] = True  # the last frame is centred on 0.94 s
    assert speech_duration(active, 0.05, 1.0) == pytest.approx(0.45 + 0.045 + 0.055)
    assert speech_duration(np.zeros(0, np.bool_), 0.0, 0.05) == 0.0


@settings(max_examples=50, deadline=None)
@given(length=st.integers(0, 8000), quiet=st.integers(0, 8000), seed=st.integers(0, 99))
def test_speech_is_no_longer_than_the_clip(length: int, quiet: int, seed: int) -> None:
    clip = (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)
    clip[:quiet] *= np.float32(0.001)
    levels, start = intensity_track(clip, pitch_floor=75.0)
    assert 0.0 <= speech_duration(speech_activity(levels), start, length / 16000) <= length / 16000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80), st.floats(-30, 30))
def test_activity_does_not_depend_on_level(values: list[float], gain: float) -> None:
    levels = np.round(np.array(values)).astype(np.float32)
    assert np.array_equal(speech_activity(levels), speech_activity(levels + np.float32(round(gain))))


@pytest.mark.parametrize("contrast_db", [6.5, 8.0, 11.0, 15.0])
def test_speech_in_noise_nearly_as_loud_is_speech(contrast_db: float) -> None:
    """A clip full of speech, a little louder in its middle, is not without speech."""
    track = np.interp(np.arange(60), [0, 20, 40, 59], [60, 60 + contrast_db, 60 + contrast_db, 60]).astype(np.float32)
    assert speech_activity(track)[18:42].all()
