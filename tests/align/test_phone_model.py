from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sift_ray.align.phone_model import PhoneInterval, PhoneModel, frame_labels, observe
from sift_ray.align.protocol import AlignError
from tests.align.tones import MODEL_PHONES, tone_clip, tone_model


@pytest.fixture(scope="module")
def model() -> PhoneModel:
    return tone_model()


def test_the_phones_of_a_clip_are_told(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aiia", seed=9)
    labels = frame_labels(intervals, observe(clip).shape[0])
    told = model.likelihoods(observe(clip)).argmax(axis=1)[labels >= 0]
    meant = np.array([model.phones.index(i.phone) for i in intervals])[labels[labels >= 0]]
    assert np.mean(told == meant) > 0.9


def test_likelihoods_are_measured_from_the_best_phone_and_survive_saving(model: PhoneModel, tmp_path: Path) -> None:
    features = observe(tone_clip("ai")[0])
    likelihoods = model.likelihoods(features)
    assert likelihoods.shape == (features.shape[0], 3)
    assert likelihoods.dtype == np.float32
    assert (likelihoods.max(axis=1) == 0).all()
    assert likelihoods.min() < -3
    model.save(tmp_path / "p.npz")
    again = PhoneModel.load(tmp_path / "p.npz")
    assert again.phones == MODEL_PHONES
    assert np.array_equal(again.likelihoods(features), likelihoods)
    assert np.array_equal(again.spoken, model.spoken)
    assert np.array_equal(again.word_starts, model.word_starts)


def test_a_damaged_file_and_an_old_one_are_told_apart(model: PhoneModel, tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    path.write_bytes(b"x")
    with pytest.raises(AlignError, match=r"p\.npz: no phone classifier"):
        PhoneModel.load(path)
    np.savez(path, phones=np.array(model.phones), weights=model.hidden, bias=model.hidden_bias)
    with pytest.raises(AlignError, match=r"p\.npz.*spoken.*train the model anew"):
        PhoneModel.load(path)


def test_the_same_clips_give_the_same_model(model: PhoneModel, tmp_path: Path) -> None:
    tone_model().save(tmp_path / "one.npz")
    model.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_what_the_clips_say_is_kept_without_silence(model: PhoneModel) -> None:
    said = "".join(model.phones[column] for column in model.spoken)
    assert said.startswith("aiaai" + "iaiia")
    assert model.word_starts.all()  # each tone is a word


def test_words_of_several_phones_and_of_neighbouring_clips_begin_where_they_do() -> None:
    clip, intervals = tone_clip("aia")
    longer = [PhoneInterval(i.phone, i.start_s, i.end_s, 0 if i.word < 2 else 1) for i in intervals[1:-1]]
    told = PhoneModel.fit([(observe(clip), [intervals[0], *longer, intervals[-1]])] * 2)
    assert told.word_starts.tolist() == [True, False, True] * 2


def test_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(AlignError, match="no aligned frame"):
        PhoneModel.fit([])


def test_frames_go_to_the_interval_that_holds_their_centre() -> None:
    labels = frame_labels([PhoneInterval("a", 0.0, 0.05, 0), PhoneInterval("i", 0.05, 0.1, 1)], 12)
    assert labels.tolist() == [0] * 4 + [1] * 5 + [-1] * 3
