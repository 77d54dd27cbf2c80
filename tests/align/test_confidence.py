from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sift_ray.align.confidence import active, gather, score, word_scores
from sift_ray.align.phone_model import PhoneInterval, PhoneModel, frame_labels, observe
from sift_ray.align.protocol import AlignError
from sift_ray.align.signal import pad
from sift_ray.schema import SAMPLE_RATE

TONES = {"a": 300.0, "i": 2500.0}


def _speech(names: str, seed: int = 0) -> tuple[np.ndarray, list[PhoneInterval]]:
    """Tones that stand for vowels, 0.1 s each, between 0.1 s of faint noise; and where they lie once padded."""
    time = np.arange(int(0.1 * SAMPLE_RATE)) / SAMPLE_RATE
    rest = [np.zeros(time.size)]
    dry = np.concatenate([*rest, *(0.3 * np.sin(2 * np.pi * TONES[name] * time) for name in names), *rest])
    clip = dry + 0.001 * np.random.default_rng(seed).standard_normal(dry.size)
    spans = [PhoneInterval(name, 0.4 + 0.1 * i, 0.5 + 0.1 * i, i) for i, name in enumerate(names)]
    end = 0.4 + 0.1 * len(names)
    silences = [PhoneInterval("sil", 0.0, 0.4, -1), PhoneInterval("sil", end, end + 0.4, -1)]
    return pad(clip.astype(np.float32)), [silences[0], *spans, silences[1]]


@pytest.fixture(scope="module")
def model() -> PhoneModel:
    clips = [_speech(names, seed) for seed, names in enumerate(("aiaai", "iaiia", "aaiia", "iiaai"))]
    return PhoneModel.fit((observe(clip), intervals) for clip, intervals in clips)


def _swapped(intervals: list[PhoneInterval]) -> list[PhoneInterval]:
    other = {"a": "i", "i": "a", "sil": "sil"}
    return [PhoneInterval(other[i.phone], i.start_s, i.end_s, i.word) for i in intervals]


def test_the_right_phones_are_likelier_than_wrong_ones(model: PhoneModel) -> None:
    clip, intervals = _speech("aiia", seed=9)
    right = gather(model, clip, observe(clip), intervals, 4)
    wrong = gather(model, clip, observe(clip), _swapped(intervals), 4)
    assert right.likeness > wrong.likeness + 1
    assert score(right) > score(wrong)
    assert right.sounding > 0.95
    assert right.covered >= 0.75
    assert right.phones == 4
    assert np.shape(right.word_likeness) == (4,)
    rights, wrongs = word_scores(right), word_scores(wrong)
    assert all(r is not None and w is not None and r > w for r, w in zip(rights, wrongs, strict=True))


def test_words_laid_over_too_little_of_the_sound_score_less(model: PhoneModel) -> None:
    clip, intervals = _speech("aaaaaa", seed=4)
    squeezed = [PhoneInterval("a", 0.4 + 0.03 * i, 0.43 + 0.03 * i, i) for i in range(6)]
    silence = [PhoneInterval("sil", 0.0, 0.4, -1), PhoneInterval("sil", 0.58, 1.4, -1)]
    right = gather(model, clip, observe(clip), intervals, 6)
    wrong = gather(model, clip, observe(clip), [silence[0], *squeezed, silence[1]], 6)
    assert wrong.squeezed == 1.0
    assert wrong.covered < right.covered
    assert score(wrong) < score(right)


def test_posteriors_sum_to_one_and_survive_saving(model: PhoneModel, tmp_path: Path) -> None:
    features = observe(_speech("ai")[0])
    posteriors = model.log_posteriors(features)
    assert posteriors.shape == (features.shape[0], 3)
    assert np.allclose(np.exp(posteriors).sum(axis=1), 1, atol=1e-4)
    model.save(tmp_path / "p.npz")
    again = PhoneModel.load(tmp_path / "p.npz")
    assert again.phones == ("a", "i", "sil")
    assert np.array_equal(again.log_posteriors(features), posteriors)
    (tmp_path / "p.npz").write_bytes(b"x")
    with pytest.raises(AlignError, match=r"p\.npz"):
        PhoneModel.load(tmp_path / "p.npz")


def test_frames_go_to_the_interval_that_holds_their_centre() -> None:
    labels = frame_labels([PhoneInterval("a", 0.0, 0.05, 0), PhoneInterval("i", 0.05, 0.1, 1)], 12)
    assert labels.tolist() == [0] * 4 + [1] * 5 + [-1] * 3


def test_sound_and_silence_are_told_apart() -> None:
    clip, _ = _speech("aia")
    sounding = active(clip)
    assert not sounding[:33].any()
    assert sounding[40:68].all()
