"""Torch's pitch is Praat's: held to parselmouth on people, synthetic voices, tones, noise and nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sift_ray.features.batched import pitch as batched
from sift_ray.features.batched import ragged
from sift_ray.features.batched.pitch import pitch_tracks
from sift_ray.features.batched.pitch_path import StepOrder, best_path
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.pitch import median_hz, pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.tracks import STEP_S
from sift_ray.schema import SAMPLE_RATE
from tests.features.conftest import Clip, tone
from tests.human_speech import recordings

Track = tuple[NDArray[np.float32], float]
PRAAT = PitchParameters()


@pytest.fixture(scope="module")
def people() -> list[Clip]:
    return [recording.samples for recording in recordings()]


def tracks(clips: Sequence[Clip], parameters: PitchParameters = PRAAT) -> list[Track]:
    return pitch_tracks(RaggedBatch.of(clips, "cpu"), parameters)


def agree(found: Sequence[Track], wanted: Sequence[Track]) -> NDArray[np.float32]:
    """Assert that tracks are as good as the same; return the wanted F0 of all frames."""
    assert len(found) == len(wanted)
    for (f0, start), (praat, praats_start) in zip(found, wanted, strict=True):
        assert f0.dtype == np.float32
        assert f0.shape == praat.shape
        assert start == pytest.approx(praats_start, abs=1e-9)
    f0, praat = (np.concatenate([track for track, _ in side]) for side in (found, wanted))
    assert np.isfinite(f0).all()
    assert np.sum((f0 > 0) != (praat > 0)) <= 1e-3 * len(f0)
    both = (f0 > 0) & (praat > 0)
    assert np.sum(np.abs(f0[both] / praat[both] - 1) > 5e-4) <= 1e-3 * both.sum()
    medians = [(median_hz(f0), median_hz(praat)) for (f0, _), (praat, _) in zip(found, wanted, strict=True)]
    apart = [abs(mine - his) for mine, his in medians if mine is not None and his is not None]
    assert np.sum(np.array(apart) > 0.05) <= 0.01 * len(apart)
    return praat


def test_people_have_praats_pitch(people: list[Clip]) -> None:
    wanted = [pitch_track(clip, PRAAT) for clip in people]
    praat = agree(tracks(people), wanted)
    assert len(praat) > 30_000
    assert 0.5 < np.mean(praat > 0) < 0.9


def test_synthetic_voices_have_praats_pitch(voices: list[Clip]) -> None:
    praat = agree(tracks(voices), [pitch_track(clip, PRAAT) for clip in voices])
    assert np.mean(praat > 0) > 0.5


def test_clipped_people_have_praats_pitch(people: list[Clip]) -> None:
    clipped = [np.clip(20 * clip, -1, 1) for clip in people[::4]]
    agree(tracks(clipped), [pitch_track(clip, PRAAT) for clip in clipped])


@pytest.mark.parametrize("other", [0.5, 1e-3, 1e3])
def test_level_and_offset_are_no_matter(people: list[Clip], other: float) -> None:
    clips = people[::10]
    changed = [clip * np.float32(other) + np.float32(0.3 * other) for clip in clips]
    agree(tracks(changed), [pitch_track(clip, PRAAT) for clip in changed])


@pytest.mark.parametrize(
    "changes",
    [
        {"pitch_floor": 50.0, "pitch_ceiling": 120.0},
        {"pitch_floor": 300.0, "pitch_ceiling": 500.0},
        {"pitch_floor": 137.5, "pitch_ceiling": 400.0},
        {"pitch_floor": 30.0, "pitch_ceiling": 900.0},
        {"pitch_ceiling": 6000.0},
        {"silence_threshold": 0.3},
        {"silence_threshold": 0.0},
        {"voicing_threshold": 0.8},
        {"voicing_threshold": 0.2},
        {"octave_cost": 0.2},
        {"octave_jump_cost": 3.0},
        {"octave_jump_cost": 0.0},
        {"voiced_unvoiced_cost": 1.0},
        {"voiced_unvoiced_cost": 0.0},
        {"pitch_floor": 100.0, "pitch_ceiling": 199.0, "octave_jump_cost": 0.0, "max_candidates": 2},
    ],
    ids=str,
)
def test_every_parameter_has_praats_effect(people: list[Clip], changes: dict[str, float]) -> None:
    clips = people[::8]
    parameters = replace(PRAAT, **changes)  # type: ignore[arg-type]
    wanted = [pitch_track(clip, parameters) for clip in clips]
    agree(tracks(clips, parameters), wanted)
    usual = tracks(clips, PRAAT)
    assert any(
        len(f0) != len(praat) or np.any(np.abs(f0 - praat) > 0.01 * f0)
        for (f0, _), (praat, _) in zip(usual, wanted, strict=True)
    )


def test_few_candidates_lose_the_weaker_ones(people: list[Clip]) -> None:
    clips = people[::8]
    few, many = (replace(PRAAT, pitch_floor=100.0, pitch_ceiling=199.0, max_candidates=count) for count in (2, 15))
    differ = [np.mean(a != b) for (a, _), (b, _) in zip(tracks(clips, few), tracks(clips, many), strict=True)]
    assert np.mean(differ) > 0.01


@pytest.mark.parametrize("hz", [80.0, 100.0, 121.3, 220.0, 333.3, 440.0, 580.0])
def test_a_tone_has_its_own_pitch(hz: float) -> None:
    sine = np.sin(2 * np.pi * hz * np.arange(16001) / SAMPLE_RATE).astype(np.float32)
    clips = [tone(hz, 1.0), sine]
    found = tracks(clips)
    agree(found, [pitch_track(clip, PRAAT) for clip in clips])
    for f0, _ in found:
        assert f0 == pytest.approx(np.full(len(f0), hz), rel=1e-3)


@pytest.mark.parametrize(("first", "last"), [(80.0, 500.0), (500.0, 80.0), (90.0, 110.0)])
def test_a_glide_is_followed(first: float, last: float) -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * np.pi * (first * time + (last - first) / 4 * time**2)
    clip = (0.1 * sum(np.sin(k * phase) / k for k in range(1, 6))).astype(np.float32)
    [(f0, start)] = found = tracks([clip])
    agree(found, [pitch_track(clip, PRAAT)])
    centres = start + STEP_S * np.arange(len(f0))
    assert f0 == pytest.approx(first + (last - first) / 2 * centres, rel=0.01)


def test_noise_silence_and_a_constant_are_unvoiced(rng: np.random.Generator) -> None:
    clips = [rng.standard_normal(16000) * 0.1, np.zeros(16000), np.full(16001, 0.1), np.full(16000, 1e-25)]
    for f0, _ in tracks([clip.astype(np.float32) for clip in clips]):
        assert len(f0) == 97
        assert not f0.any()


def test_noise_taken_for_voice_is_praats(rng: np.random.Generator) -> None:
    clips = [(rng.standard_normal(16000) * 0.1).astype(np.float32) for _ in range(5)]
    parameters = replace(PRAAT, voicing_threshold=0.05, silence_threshold=0.0, voiced_unvoiced_cost=0.0)
    assert np.mean(agree(tracks(clips, parameters), [pitch_track(clip, parameters) for clip in clips]) > 0) > 0.5


def test_nothing_around_a_tone_is_unvoiced() -> None:
    clip = np.concatenate([np.zeros(8000), tone(150.0, 0.5), np.full(8000, 0.02)]).astype(np.float32)
    [(f0, start)] = tracks([clip])
    heard = (start + STEP_S * np.arange(len(f0)))[f0 > 0]
    assert heard[0] == pytest.approx(0.5, abs=0.025)
    assert heard[-1] == pytest.approx(1.0, abs=0.025)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=5),
    floor=st.sampled_from([50.0, 75.0, 77.7, 120.0, 333.3]),
)
def test_clips_of_any_length_have_praats_frames(lengths: list[int], floor: float) -> None:
    parameters = replace(PRAAT, pitch_floor=floor)
    clips = [tone(341.0, 0.2)[:length] for length in lengths]
    found = tracks(clips, parameters)
    for (f0, start), clip in zip(found, clips, strict=True):
        praat, praats_start = pitch_track(clip, parameters)
        assert start == pytest.approx(praats_start, abs=1e-9)
        assert f0 == pytest.approx(praat, rel=1e-4)


def test_a_clip_alone_is_as_in_a_batch(people: list[Clip]) -> None:
    clips = [*people[::9], np.zeros(100, np.float32), np.concatenate(people[:10])]
    together = tracks(clips)
    agree(together, [tracks([clip])[0] for clip in clips])
    agree(tracks(clips[::-1])[::-1], together)


def test_chunks_are_no_matter(people: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    clips = people[:5]
    whole = tracks(clips)
    monkeypatch.setattr(batched, "CHUNK_FRAMES", 37)
    agree(tracks(clips), whole)


def test_as_many_frames_are_transformed_at_once_time_and_again(
    people: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [tracks([clip])[0] for clip in people[:12]]
    monkeypatch.setitem(ragged.ROW_STEP, "cpu", 128)
    monkeypatch.setattr(batched, "CHUNK_FRAMES", 256)
    rows = set()
    autocorrelation = batched._autocorrelation

    def counted(frames: torch.Tensor, *others: Any) -> Any:
        rows.add(len(frames))
        return autocorrelation(frames, *others)

    monkeypatch.setattr(batched, "_autocorrelation", counted)
    agree([tracks([clip])[0] for clip in people[:12]], alone)
    agree(tracks(people[:12]), alone)
    assert rows == {128, 256}


def test_no_clips_and_only_short_ones() -> None:
    assert tracks([]) == []
    short = [np.zeros(0, np.float32), np.zeros(799, np.float32)]
    for f0, start in tracks(short):
        assert f0.shape == (0,)
        assert start == 0.0
    assert len(tracks([np.zeros(800, np.float32)])[0][0]) == 2


def test_a_minute(people: list[Clip]) -> None:
    clip = np.concatenate(people)[: 60 * SAMPLE_RATE + 1]
    assert len(agree(tracks([clip]), [pitch_track(clip, PRAAT)])) == 5997


def test_a_floor_too_high_is_refused() -> None:
    with pytest.raises(ValueError, match="9000"):
        tracks([tone(200.0, 1.0)], replace(PRAAT, pitch_floor=9000.0))


def test_steps_are_in_order_of_time_longest_clips_first() -> None:
    order = StepOrder.of([1, 0, 3, 2])
    assert order.rows == (3, 2, 1)
    assert order.clip.tolist() == [2, 3, 0, 2, 3, 2]
    assert order.step.tolist() == [0, 0, 0, 1, 1, 2]
    assert order.before().tolist() == [0, 1, 2, 0, 1, 3]
    assert StepOrder.of([]).rows == StepOrder.of([0, 0]).rows == ()


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), seed=st.integers(0, 1000))
def test_the_path_is_the_best_of_all(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = StepOrder.of(counts)
    shape = (len(order.clip), 3)
    voiced = np.column_stack([np.zeros(shape[0], bool), np.ones((shape[0], 2), bool)])
    octaves = np.where(voiced, rng.uniform(6, 9, shape), 0)
    scores = rng.uniform(0, 1, shape)
    scores[rng.random(shape[0]) < 0.3, 2] = -np.inf
    path = best_path(
        torch.from_numpy(octaves).float(),
        torch.from_numpy(voiced),
        torch.from_numpy(scores).float(),
        order,
        octave_jump_cost=0.35,
        voiced_unvoiced_cost=0.14,
    )

    def worth(rows: NDArray[np.int64], choice: Sequence[int]) -> float:
        total = float(scores[rows, choice].sum())
        for (row, mine), (after, next_one) in zip(
            zip(rows[:-1], choice[:-1], strict=True), zip(rows[1:], choice[1:], strict=True), strict=True
        ):
            jump = 0.35 * abs(octaves[row, mine] - octaves[after, next_one])
            total -= jump if voiced[row, mine] == voiced[after, next_one] else 0.14
        return total

    for clip, count in enumerate(counts):
        rows = np.flatnonzero(order.clip == clip)
        best = max(worth(rows, choice) for choice in np.ndindex(*[3] * count))
        assert worth(rows, path[rows].tolist()) == pytest.approx(best, abs=1e-5)
