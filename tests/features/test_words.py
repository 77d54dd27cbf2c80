import numpy as np
import parselmouth
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.config import FeaturesConfig
from sift_ray.features.extract import FeatureExtractor
from sift_ray.features.tracks import ProsodyTracks
from sift_ray.features.words import word_prosody
from sift_ray.schema import SAMPLE_RATE
from tests.human_speech import Recording, recordings


def tracks() -> ProsodyTracks:
    f0 = np.repeat([100.0, 0.0, 200.0], 20).astype(np.float32)
    levels = np.repeat([60.0, 30.0, 70.0], 20).astype(np.float32)
    return ProsodyTracks(f0, 0.02, levels, 0.05)


def test_a_word_is_the_frames_between_its_times() -> None:
    assert word_prosody(tracks(), 0.05, 0.2) == (100.0, 0.0, 60.0)
    mean, spread, level = word_prosody(tracks(), 0.3, 0.6)
    assert mean == 200.0
    assert spread == 0.0
    assert level == pytest.approx(70 + 10 * np.log10(15 / 30), abs=0.05)  # frames 25..54: half of them at 70 dB


def test_the_end_is_not_in_the_word() -> None:
    f0 = np.array([100, 100, 100, 400], np.float32)
    assert word_prosody(ProsodyTracks(f0, 0.1, f0[:0], 0.0), 0.1, 0.13) == (100.0, 0.0, None)


def test_unvoiced_words_have_a_level_but_no_pitch() -> None:
    assert word_prosody(tracks(), 0.26, 0.40) == (None, None, 30.0)


def test_too_few_frames_are_unknown() -> None:
    assert word_prosody(tracks(), 0.1, 0.12) == (None, None, None)
    assert word_prosody(tracks(), 0.2, 0.2) == (None, None, None)
    assert word_prosody(tracks(), 5.0, 6.0) == (None, None, None)
    assert word_prosody(ProsodyTracks.empty(), 0.0, 1.0) == (None, None, None)


def test_two_voiced_frames_have_no_mean_and_no_spread() -> None:
    f0 = np.array([0, 100, 110, 0, 0, 100, 110, 120, 0], np.float32)
    track = ProsodyTracks(f0, 0.0, np.full(9, 60.0, np.float32), 0.0)
    assert word_prosody(track, 0.0, 0.045) == (None, None, 60.0)
    mean, spread, level = word_prosody(track, 0.045, 0.09)
    assert (mean, level) == (110.0, 60.0)
    assert spread == pytest.approx(np.std([100, 110, 120]))


@pytest.mark.parametrize(("start", "end"), [(-1.0, 0.02), (0.63, 9.0), (-5.0, -4.0), (0.3, 0.3), (0.3, 0.1)])
def test_words_at_and_over_the_edges_and_empty_ones_are_unknown(start: float, end: float) -> None:
    assert word_prosody(tracks(), start, end) == (None, None, None)


def test_a_word_that_sticks_out_is_what_is_inside() -> None:
    assert word_prosody(tracks(), -1.0, 0.2) == word_prosody(tracks(), 0.0, 0.2) == (100.0, 0.0, 60.0)


def test_infeasible_values_are_unknown() -> None:
    quiet = ProsodyTracks(np.empty(0, np.float32), 0.0, np.full(20, -100.0, np.float32), 0.0)
    assert word_prosody(quiet, 0.0, 0.2) == (None, None, None)


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_any_span_is_measured_or_unknown(start: float, end: float) -> None:
    for value in word_prosody(tracks(), start, end):
        assert value is None or np.isfinite(value)


@given(st.integers(2, 60), st.integers(2, 60))
def test_spans_that_meet_share_no_frame(cut: int, end: int) -> None:
    from sift_ray.features.words import _between

    values = np.arange(60, dtype=np.float32)
    last = (cut + end) * 0.01
    left = _between(values, 0.02, 0.01, 0.0, cut * 0.01)
    right = _between(values, 0.02, 0.01, cut * 0.01, last)
    assert np.array_equal(np.concatenate([left, right]), _between(values, 0.02, 0.01, 0.0, last))


@pytest.mark.parametrize("recording", recordings(2), ids=lambda recording: recording.name)
def test_a_words_pitch_is_the_mean_of_praats_voiced_frames_in_it(recording: Recording) -> None:
    """Of human speech, by Praat itself: spans of 250 ms, as words have them, all over the recording."""
    mine = measure_tracks(recording)
    sound = parselmouth.Sound(recording.samples.astype(np.float64), SAMPLE_RATE)
    pitch = sound.to_pitch_ac(time_step=0.01, pitch_floor=75.0, pitch_ceiling=600.0)
    times, f0 = pitch.xs(), pitch.selected_array["frequency"]
    median = np.median(f0[f0 > 0])
    voiced = (f0 > median / 2) & (f0 < median * 2)  # (what is an octave off is no pitch of this voice)
    checked = 0
    for start in np.arange(0.0, sound.duration, 0.25):
        inside = voiced & (times >= start) & (times < start + 0.25)
        mean, spread, _ = word_prosody(mine, start, start + 0.25)
        if inside.sum() < 3:
            assert mean is None
            assert spread is None
        else:
            assert mean == pytest.approx(f0[inside].mean(), abs=0.01)
            assert spread == pytest.approx(f0[inside].std(), abs=0.01)
            checked += 1
    assert checked >= 3


def measure_tracks(recording: Recording) -> ProsodyTracks:
    (measured,) = FeatureExtractor(FeaturesConfig(quality="none", room="none")).measure([recording.samples])
    assert measured.tracks is not None
    return measured.tracks
