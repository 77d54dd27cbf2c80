import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from sift_ray.corpora.demo_acoustics import room_response
from sift_ray.features import reverberation
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.batched.reverberation import c50
from sift_ray.features.batched.spectrum import power_spectrograms
from sift_ray.features.spectrum import power_spectrogram
from tests.features.conftest import Clip
from tests.human_speech import recordings

Estimates = list[tuple[float | None, str | None]]


def estimated(clips: list[Clip], device: str = "cpu") -> Estimates:
    return c50(power_spectrograms(RaggedBatch.of(clips, device)))


def each_alone(clips: list[Clip]) -> Estimates:
    return [reverberation.c50(power_spectrogram(clip)) for clip in clips]


def assert_same(found: Estimates, expected: Estimates) -> None:
    assert [reason for _, reason in found] == [reason for _, reason in expected]
    differences = [
        abs(value - other)
        for (value, _), (other, _) in zip(found, expected, strict=True)
        if value is not None and other is not None
    ]
    assert len(differences) == sum(reason is None for _, reason in expected)
    if differences:
        # of hundreds of slopes one may pass a threshold by its last bit, and move the percentile a little
        assert np.quantile(differences, 0.98, method="lower") < 0.01
        assert max(differences) < 0.1


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.01])
def test_human_and_synthetic_voices_are_as_each_alone(
    level: float, voices: list[Clip], rng: np.random.Generator
) -> None:
    clips = [recording.samples for recording in recordings(per_language=50)] + voices
    noisy = [(clip + level * rng.standard_normal(len(clip))).astype(np.float32) for clip in clips]
    expected = each_alone(noisy)
    assert sum(value is not None for value, _ in expected) > 150
    assert_same(estimated(noisy), expected)


def test_rooms_and_digital_silence_are_as_each_alone(voices: list[Clip], rng: np.random.Generator) -> None:
    pause = np.zeros(8000, np.float32)
    clips = []
    for clip in voices:
        for t60 in (0.2, 0.5, 1.0):
            wet = fftconvolve(clip, room_response(t60, 0.0, 16000, rng))
            clips.append(np.concatenate([pause, 0.5 * wet / np.abs(wet).max(), pause]).astype(np.float32))
        clips.append(np.concatenate([clip[:20_000], pause, clip[20_000:]]))
    assert_same(estimated(clips), each_alone(clips))


def test_nothing_depends_on_the_rest_of_the_batch(voices: list[Clip]) -> None:
    clips = [clip[:length] for clip in voices for length in (300, 6000, 9000, 20_000, 60_000)]
    clips += [np.concatenate(voices), np.sin(np.arange(16000) * 0.3).astype(np.float32)]
    together = estimated(clips)
    assert {reason for _, reason in together} == {None, "too_short", "no_decays"}
    assert_same([estimated([clip])[0] for clip in clips], together)
    assert_same(estimated(clips[::-1])[::-1], together)


def test_no_clips() -> None:
    assert estimated([]) == []
    assert estimated([np.zeros(100, np.float32)]) == [(None, "too_short")]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(0, 20_000), max_size=6), level=st.floats(1e-5, 1.0))
def test_any_lengths_give_a_number_or_a_reason(seed: int, lengths: list[int], level: float) -> None:
    rng = np.random.default_rng(seed)
    swell = 1.0 + np.sin(np.arange(20_000) / 700.0)
    clips = [(level * rng.standard_normal(length) * swell[:length]).astype(np.float32) for length in lengths]
    found = estimated(clips)
    for (value, reason), (other, _) in zip(found, each_alone(clips), strict=True):
        assert (value is None) != (reason is None)
        assert value is None or (np.isfinite(value) and (other is None or value == pytest.approx(other, abs=0.5)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(voices: list[Clip]) -> None:
    assert_same(estimated(voices, "cuda"), estimated(voices))
