import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.features import noise
from sift_ray.features.batched.noise import snr
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.batched.spectrum import power_spectrograms
from sift_ray.features.spectrum import power_spectrogram
from tests.features.conftest import Clip
from tests.human_speech import recordings

Estimates = list[tuple[float | None, str | None]]


def centred(clip: Clip) -> Clip:
    return (clip - np.mean(clip, dtype=np.float64)).astype(np.float32) if len(clip) else clip


def estimated(clips: list[Clip], device: str = "cpu") -> Estimates:
    batch = RaggedBatch.of(clips, device)
    return snr(batch, power_spectrograms(batch))


def each_alone(clips: list[Clip]) -> Estimates:
    return [noise.snr(clip, power_spectrogram(clip)) for clip in clips]


def assert_same(found: Estimates, expected: Estimates, tolerance_db: float = 0.01) -> None:
    assert [reason for _, reason in found] == [reason for _, reason in expected]
    for (value, _), (other, _) in zip(found, expected, strict=True):
        assert (value is None) == (other is None)
        assert value == other or value == pytest.approx(other, abs=tolerance_db)


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.01, 0.1])
def test_human_and_synthetic_voices_are_as_each_alone(
    level: float, voices: list[Clip], rng: np.random.Generator
) -> None:
    clips = [recording.samples for recording in recordings(per_language=50)] + voices
    noisy = [centred((clip + level * rng.standard_normal(len(clip))).astype(np.float32)) for clip in clips]
    assert len(noisy) == 210
    expected = each_alone(noisy)
    assert [reason for _, reason in expected].count("too_short") == 21
    assert_same(estimated(noisy), expected)


def gated(clip: Clip, rng: np.random.Generator) -> Clip:
    """Digital silence before, after and in places within."""
    pauses = [np.zeros(int(rng.integers(100, 9000)), np.float32) for _ in range(4)]
    thirds = np.array_split(clip, 3)
    return np.concatenate([pauses[0], thirds[0], pauses[1], thirds[1], pauses[2], thirds[2], pauses[3]])


def test_gated_silence_is_left_out_as_each_alone(voices: list[Clip], rng: np.random.Generator) -> None:
    clips = [gated(clip + np.float32(0.01) * rng.standard_normal(len(clip)).astype("f4"), rng) for clip in voices]
    clips += [gated(clip[: int(rng.integers(100, 12_000))], rng) for clip in voices]
    expected = each_alone(clips)
    assert {reason for _, reason in expected} >= {None, "no_noise_floor"}
    assert_same(estimated(clips), expected)


def test_nothing_depends_on_the_rest_of_the_batch(voices: list[Clip], rng: np.random.Generator) -> None:
    clips = [centred(clip[: int(length)]) for clip in voices for length in (300, 9000, 13_151, 13_152, 20_000, 60_000)]
    clips += [np.concatenate(voices)]
    together = estimated(clips)
    assert {reason for _, reason in together} == {None, "too_short"}
    assert_same([estimated([clip])[0] for clip in clips], together, 1e-3)
    assert_same(estimated(clips[::-1])[::-1], together, 1e-3)


def test_no_clips() -> None:
    assert estimated([]) == []
    assert estimated([np.zeros(100, np.float32)]) == [(None, "too_short")]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.integers(0, 20_000), max_size=6),
    level=st.floats(1e-7, 1.0),
    silent=st.floats(0.0, 1.0),
)
def test_any_signals_are_as_each_alone(seed: int, lengths: list[int], level: float, silent: float) -> None:
    rng = np.random.default_rng(seed)
    clips = [(level * rng.standard_normal(length)).astype(np.float32) for length in lengths]
    for clip in clips:
        clip[: int(silent * len(clip))] *= rng.choice([0.0, 0.001])
    assert_same(estimated(clips), each_alone(clips))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(voices: list[Clip]) -> None:
    assert_same(estimated(voices, "cuda"), estimated(voices))
