import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.features.batched import intensity
from sift_ray.features.batched.intensity import intensity_tracks
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.intensity import intensity_track
from tests.features.conftest import Clip, tone
from tests.human_speech import recordings

NOISE = (0.1 * np.random.default_rng(3).standard_normal(60_000)).astype(np.float32)


def assert_as_praat(clips: list[Clip], floor: float, tolerance_db: float = 0.01) -> None:
    found = intensity_tracks(RaggedBatch.of(clips, "cpu"), pitch_floor=floor)
    assert len(found) == len(clips)
    for clip, (levels, start) in zip(clips, found, strict=True):
        expected, expected_start = intensity_track(clip, pitch_floor=floor)
        assert levels.dtype == np.float32
        assert levels.shape == expected.shape
        assert start == pytest.approx(expected_start, abs=1e-12)
        heard = expected > -20.0
        np.testing.assert_allclose(levels[heard], expected[heard], rtol=0.0, atol=tolerance_db)
        assert np.all(levels[~heard] < -19.9)


@pytest.mark.parametrize("floor", [50.0, 75.0, 120.0])
def test_human_and_synthetic_voices_are_as_with_praat(floor: float, voices: list[Clip]) -> None:
    humans = [recording.samples for recording in recordings(per_language=50)]
    assert len(humans) == 200
    assert_as_praat(humans + voices, floor)


@pytest.mark.parametrize("floor", [33.3, 40.0, 75.0, 80.0, 160.0])
def test_frames_at_the_very_edge_are_counted_as_praat_does(floor: float) -> None:
    # a whole number of steps fits into these, and the last bit decides on the last frame
    whole = 6.4 / floor * 16000
    assert_as_praat([NOISE[: int(whole) + 160 * steps + more] for steps in range(1, 300, 7) for more in (0, 1)], floor)


def test_centres_between_two_samples_are_rounded_as_praat_does() -> None:
    # bursts of a sample on either side of the rounding: a shift of one sample shows
    impulses = np.zeros(60_000, np.float32)
    impulses[[1023, 1024, 2047, 2048, 4095, 4096, 32767, 32768]] = 0.5
    assert_as_praat([impulses[: 2 * n] for n in range(4000, 30_000, 400)], 75.0, 1e-3)


def test_digital_silence_has_the_least_level() -> None:
    clip = np.concatenate([tone(200.0, 0.5), np.zeros(8000, np.float32)])
    quiet = clip - np.float32(1e-3)  # silence is then a constant, which is taken away to the last bits of float32
    (levels, _), (offset, _) = intensity_tracks(RaggedBatch.of([clip, quiet], "cpu"), pitch_floor=75.0)
    assert levels[-1] == -100.0
    assert offset[-1] < -80.0
    assert levels.max() == pytest.approx(74.0, abs=0.1)


def test_nothing_depends_on_the_rest_of_the_batch(voices: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [*voices, NOISE[:100], NOISE[:3000], NOISE]
    together = intensity_tracks(RaggedBatch.of(clips, "cpu"), pitch_floor=75.0)
    monkeypatch.setattr(intensity, "_CHUNK_FRAMES_CPU", 37)
    backwards = intensity_tracks(RaggedBatch.of(clips[::-1], "cpu"), pitch_floor=75.0)[::-1]
    for clip, (levels, start), (others, other_start) in zip(clips, together, backwards, strict=True):
        ((alone, alone_start),) = intensity_tracks(RaggedBatch.of([clip], "cpu"), pitch_floor=75.0)
        assert alone_start == other_start == start
        np.testing.assert_allclose(alone, levels, rtol=0.0, atol=1e-4)
        np.testing.assert_allclose(others, levels, rtol=0.0, atol=1e-4)


def test_no_clips_and_clips_without_samples() -> None:
    assert intensity_tracks(RaggedBatch.of([], "cpu"), pitch_floor=75.0) == []
    ((levels, start),) = intensity_tracks(RaggedBatch.of([NOISE[:0]], "cpu"), pitch_floor=75.0)
    assert (len(levels), start) == (0, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6000), max_size=6), st.floats(30.0, 300.0))
def test_any_lengths_are_measured_as_praat_does(lengths: list[int], floor: float) -> None:
    assert_as_praat([NOISE[length : 2 * length] for length in lengths], floor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(voices: list[Clip]) -> None:
    batches = [RaggedBatch.of(voices, device) for device in ("cpu", "cuda")]
    on_cpu, on_gpu = (intensity_tracks(batch, pitch_floor=75.0) for batch in batches)
    for (levels, start), (others, other_start) in zip(on_cpu, on_gpu, strict=True):
        assert start == other_start
        np.testing.assert_allclose(others, levels, rtol=0.0, atol=1e-3)
