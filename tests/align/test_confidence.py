from __future__ import annotations

from collections import defaultdict
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from sift_ray.align.confidence import DEFAULT_THRESHOLD, Evidence, active, gather, score, word_scores
from sift_ray.align.phone_model import PhoneInterval, PhoneModel, observe
from sift_ray.align.protocol import AlignmentJob, TrainingClip, UtteranceAlignment
from sift_ray.align.signal import PAD_S, pad
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_training import train_model
from tests.align.tones import tone_clip, tone_model
from tests.human_speech import recordings
from tests.misaligned import Case, others, swapped


@pytest.fixture(scope="module")
def model() -> PhoneModel:
    return tone_model()


def _measure(model: PhoneModel, clip: np.ndarray, intervals: list[PhoneInterval], words: int) -> Evidence:
    return gather(model, clip, observe(clip), intervals, words)


def test_the_right_phones_are_likelier_than_wrong_ones(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aiia", seed=9)
    other = {"a": "i", "i": "a", "sil": "sil"}
    swapped_phones = [PhoneInterval(other[i.phone], i.start_s, i.end_s, i.word) for i in intervals]
    right, wrong = _measure(model, clip, intervals, 4), _measure(model, clip, swapped_phones, 4)
    assert right.path > wrong.path + 1
    assert right.advantage > 0.8 > wrong.advantage
    assert right.distinction > max(wrong.distinction, 0)
    assert score(right) > score(wrong)
    assert right.phones == 4
    assert np.shape(right.word_likeness) == (4,)
    rights, wrongs = word_scores(right), word_scores(wrong)
    assert all(r is not None and w is not None and r > w for r, w in zip(rights, wrongs, strict=True))


def test_one_phone_that_fits_not_at_all_costs_no_more_than_its_share(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aiaiaiai", seed=9)
    misread = [replace(i, phone="i") if i.word == 4 else i for i in intervals]
    right, wrong = _measure(model, clip, intervals, 8), _measure(model, clip, misread, 8)
    assert right.fit > -0.1
    assert 0.5 / 8 < right.fit - wrong.fit <= 1 / 8
    assert right.path - wrong.path > 0.5


def test_words_laid_over_too_little_of_the_sound_score_less(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aaaaaa", seed=4)
    squeezed = [PhoneInterval("a", 0.4 + 0.03 * i, 0.43 + 0.03 * i, i) for i in range(6)]
    silence = [PhoneInterval("sil", 0.0, 0.4, -1), PhoneInterval("sil", 0.58, 1.4, -1)]
    right = _measure(model, clip, intervals, 6)
    wrong = _measure(model, clip, [silence[0], *squeezed, silence[1]], 6)
    assert (right.squeezed, wrong.squeezed) == (0.0, 0.5)
    assert right.path == wrong.path  # of the transcript and the sound alone
    assert right.uncovered_s == 0
    assert 0.1 < wrong.uncovered_s <= 0.75
    assert wrong.silence_likeness < right.silence_likeness
    assert score(wrong) < score(right)


def test_each_kind_of_evidence_moves_the_score_its_way(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aiia", seed=9)
    evidence = replace(_measure(model, clip, intervals, 4), path=-2.0, advantage=0.6, silence_likeness=-1.0, fit=-0.4)
    worse = {
        "path": replace(evidence, path=-4.0),
        "fit": replace(evidence, fit=-0.9),
        "advantage": replace(evidence, advantage=0.3),
        "distinction": replace(evidence, distinction=0.0),
        "silence_likeness": replace(evidence, silence_likeness=-3.0),
        "uncovered_s": replace(evidence, uncovered_s=0.8),
        "squeezed": replace(evidence, squeezed=0.3),
    }
    for name, less in worse.items():
        assert score(less) < score(evidence), name


def test_scores_of_words_rise_with_their_likeness_and_are_none_without_frames(model: PhoneModel) -> None:
    clip, intervals = tone_clip("ai")
    likeness = np.array([-7.0, -3.0, np.nan, -1.0, 0.0])
    scores = word_scores(replace(_measure(model, clip, intervals, 2), word_likeness=likeness))
    assert scores[2] is None
    told = [value for value in scores if value is not None]
    assert told == sorted(set(told))
    assert all(0 <= value <= 1 for value in told)


def test_nothing_aligned_is_the_least_evidence(model: PhoneModel) -> None:
    clip, _ = tone_clip("aia")
    evidence = _measure(model, clip, [], 0)
    assert (evidence.path, evidence.fit, evidence.advantage, evidence.distinction) == (-8.0, -1.0, 0.0, 0.0)
    assert evidence.phones == 0
    assert score(evidence) < DEFAULT_THRESHOLD


def test_the_evidence_is_the_same_whatever_was_measured_before(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aiia", seed=9)
    first = _measure(model, clip, intervals, 4)
    _measure(model, *tone_clip("iaiaia"), 6)
    again = _measure(model, clip, intervals, 4)
    assert astuple(first)[:-1] == astuple(again)[:-1]
    assert np.array_equal(first.word_likeness, again.word_likeness)


def test_sound_and_silence_are_told_apart() -> None:
    clip, _ = tone_clip("aia")
    sounding = active(clip)
    assert not sounding[:33].any()
    assert sounding[40:68].all()


@pytest.fixture(scope="module")
def italian_scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Scores of fifty human recordings and of their spoilt forms by kind; -1 where no path was found."""
    speech = recordings()
    clips = [one for one in speech if one.language == "it"]
    foreign = [one for one in speech if one.language != "it"]
    folder: Path = tmp_path_factory.mktemp("italian") / "it"
    train_model("it", [TrainingClip(c.name, c.speaker_id, c.samples, c.transcript) for c in clips], folder)
    cases = [Case("true", c.name, c.samples, c.transcript) for c in clips] + swapped(clips) + others(clips, foreign)
    jobs = [AlignmentJob(case.samples, case.transcript) for case in cases]
    scores = defaultdict(list)
    for case, outcome in zip(cases, ViterAligner({"it": folder}, min_score=0.0).align("it", jobs), strict=True):
        scores[case.kind].append(outcome.score if isinstance(outcome, UtteranceAlignment) else -1.0)
    return scores


def _caught(scores: list[float]) -> float:
    return float(np.mean(np.array(scores) < DEFAULT_THRESHOLD))


def test_swapped_transcripts_of_human_clips_are_caught_and_true_ones_kept(
    italian_scores: dict[str, list[float]],
) -> None:
    right, wrong = italian_scores["true"], italian_scores["swapped"]
    assert _caught(right) <= 0.06
    assert _caught(wrong) >= 0.92
    assert np.mean([r > w for r in right for w in wrong]) >= 0.98


@pytest.mark.parametrize(
    ("kind", "least"),
    [("noise", 0.98), ("music", 0.95), ("foreign speech", 0.92), ("trailing speech", 0.75)],
)
def test_sound_that_the_transcript_does_not_hold_is_caught(
    italian_scores: dict[str, list[float]], kind: str, least: float
) -> None:
    assert _caught(italian_scores[kind]) >= least


@pytest.mark.parametrize("kind", ["trailing speech", "leading speech", "truncated"])
def test_a_little_more_or_less_than_the_transcript_scores_less(
    italian_scores: dict[str, list[float]], kind: str
) -> None:
    assert np.mean([r > w for r in italian_scores["true"] for w in italian_scores[kind]]) >= 0.93


def test_long_silence_around_speech_is_no_fault(model: PhoneModel) -> None:
    clip, intervals = tone_clip("aiia", seed=9)
    hush = (0.001 * np.random.default_rng(1).standard_normal(16000)).astype(np.float32)
    dry = clip[round(PAD_S * 16000) : -round(PAD_S * 16000)]
    longer = pad(np.concatenate([hush, dry, hush]))
    moved = [PhoneInterval(i.phone, i.start_s + 1, i.end_s + 1, i.word) for i in intervals[1:-1]]
    ends = [PhoneInterval("sil", 0.0, moved[0].start_s, -1), PhoneInterval("sil", moved[-1].end_s, 3.2, -1)]
    assert score(_measure(model, longer, [ends[0], *moved, ends[1]], 4)) > DEFAULT_THRESHOLD
