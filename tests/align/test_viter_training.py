from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sift_ray.align import viter_training
from sift_ray.align.phone_model import PhoneInterval
from sift_ray.align.protocol import TrainingClip, TrainingError, UtteranceAlignment
from sift_ray.align.signal import pad
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_checks import SilenceCheck, silent_phones
from sift_ray.align.viter_engine import RawAlignment
from sift_ray.align.viter_files import ModelFolder
from sift_ray.align.viter_training import recipe_for, train_model
from sift_ray.schema import SAMPLE_RATE
from tests.align.conftest import Trained, TrueClip


def test_the_report_tells_how_training_went(trained: Trained) -> None:
    report = json.loads((trained.folder / "report.json").read_text(encoding="utf-8"))
    assert report["clips"] == len(trained.clips)
    assert report["recipe"] == "monophone"
    assert report["silence"]["drop_db"] >= viter_training.LEAST_SILENCE_DROP_DB
    assert report["seconds_of_seed"] > 300
    assert {"model.viter", "phones.npz", "model.json", "dict.txt"} <= {f.name for f in trained.folder.iterdir()}
    assert not list(trained.folder.parent.glob(".*partial"))
    assert "und\tʊ n t\n" in (trained.folder / "dict.txt").read_text(encoding="utf-8")


def test_recipes_grow_with_the_data() -> None:
    assert [recipe_for(s) for s in (45, 1200, 7200)] == ["monophone", "triphone", "triphone_lda"]


def test_training_again_gives_the_same_spans(
    german_clips: list[TrueClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viter_training, "SEED_S", 200.0)
    clips = [true.clip for true in german_clips[:6]]
    for name in ("a", "b"):
        train_model("de", iter(clips), tmp_path / name, seed=3)
    jobs = [true.job for true in german_clips[:5]]
    first, second = (ViterAligner({"de": tmp_path / name}, min_score=0.0).align("de", jobs) for name in ("a", "b"))
    assert first == second
    assert (tmp_path / "a/phones.npz").read_bytes() == (tmp_path / "b/phones.npz").read_bytes()


def test_too_little_to_train_on_says_why(tmp_path: Path) -> None:
    clip = TrainingClip("a", None, np.zeros(16000, np.float32), "😀")
    with pytest.raises(TrainingError, match="no_words"):
        train_model("de", [clip], tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_silence_that_is_speech_fails_the_training(
    german_clips: list[TrueClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viter_training, "SEED_S", 0.0)
    rng = np.random.default_rng(0)
    clips = [
        TrainingClip(c.clip.utterance_id, None, (0.1 * rng.standard_normal(32000)).astype(np.float32), "Guten Tag")
        for c in german_clips
    ]
    with pytest.raises(TrainingError, match=r"silence|viter could not"):
        train_model("de", clips, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_recipe_can_be_chosen_and_the_lexicon_travels_with_the_model(
    german_clips: list[TrueClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viter_training, "SEED_S", 40.0)
    dictionary = tmp_path / "words.txt"
    dictionary.write_text("und ʊ n t\n", encoding="utf-8")
    clips = [true.clip for true in german_clips[:6]]
    report = train_model("de", clips, tmp_path / "m", dictionary=dictionary, recipe="triphone_sat")
    assert report.recipe == "triphone_sat"
    folder = ModelFolder.read(tmp_path / "m")
    assert folder.recipe == "triphone_sat"
    assert folder.dictionary is not None
    assert folder.dictionary.read_bytes() == dictionary.read_bytes()
    assert folder.g2p is None
    # an adapted model adapts to each clip by itself
    jobs = [true.job for true in german_clips[:5]]
    together = ViterAligner({"de": tmp_path / "m"}, min_score=0.0).align("de", jobs)
    alone = [ViterAligner({"de": tmp_path / "m"}, min_score=0.0).align("de", [job])[0] for job in jobs]
    assert together == alone
    assert all(isinstance(outcome, UtteranceAlignment) for outcome in together)


def _vowels_and_a_phone_of_its_own(level: float) -> tuple[np.ndarray, RawAlignment]:
    source = np.random.default_rng(0)
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    middle = level * source.standard_normal(SAMPLE_RATE)
    clip = np.concatenate([tone, middle, tone]) + 0.0005 * source.standard_normal(3 * SAMPLE_RATE)
    waveform = pad(clip.astype(np.float32))
    ends = [("sil", 0.0, 0.3, -1), ("a", 0.3, 1.3, 0), ("s", 1.3, 2.3, 0), ("a", 2.3, 3.3, 0), ("sil", 3.3, 3.6, -1)]
    return waveform, RawAlignment([PhoneInterval(*end) for end in ends], [(0.3, 3.3)])


def test_a_phone_that_learnt_silence_is_found() -> None:
    assert silent_phones([_vowels_and_a_phone_of_its_own(0.05)] * 8) == {}
    assert silent_phones([_vowels_and_a_phone_of_its_own(0.0)] * 8) == {"s": pytest.approx(1.0, abs=0.05)}
    assert silent_phones([_vowels_and_a_phone_of_its_own(0.0)] * 2) == {}  # too few to judge by


def test_a_phone_that_is_silence_fails_the_training_by_name(
    german_clips: list[TrueClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viter_training, "SEED_S", 0.0)
    monkeypatch.setattr(viter_training, "check_silence", lambda aligned: SilenceCheck(20.0, 0.0))
    monkeypatch.setattr(viter_training, "silent_phones", lambda aligned: {"ʊ": 0.9})
    with pytest.raises(TrainingError, match=r"ʊ \(90 % of it\)"):
        train_model("de", [true.clip for true in german_clips], tmp_path / "m")
    assert not (tmp_path / "m").exists()
