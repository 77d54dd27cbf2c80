from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sift_ray.align.protocol import (
    Aligner,
    AlignError,
    AlignmentFailure,
    AlignmentJob,
    UtteranceAlignment,
)
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.schema import LANGUAGES, SAMPLE_RATE
from tests.align.conftest import Trained


def _aligned(outcome: UtteranceAlignment | AlignmentFailure) -> UtteranceAlignment:
    assert isinstance(outcome, UtteranceAlignment), outcome
    return outcome


def _failed(outcome: UtteranceAlignment | AlignmentFailure) -> AlignmentFailure:
    assert isinstance(outcome, AlignmentFailure)
    return outcome


def _onset_errors(trained: Trained, jobs: list[AlignmentJob], shifts: list[float]) -> np.ndarray:
    outcomes = trained.aligner(min_score=0.0).align(trained.language, jobs)
    errors = []
    for true, outcome, shift in zip(trained.clips, outcomes, shifts, strict=True):
        starts = [word.start_s for word in _aligned(outcome).words]
        errors += [abs(s + shift - t) for s, t in zip(starts, true.onsets_s, strict=True) if s is not None]
    return np.array(errors)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_begin_where_they_are_spoken(language: str, trained_on: Callable[[str], Trained]) -> None:
    trained = trained_on(language)
    errors = _onset_errors(trained, [true.job for true in trained.clips], [0.0] * len(trained.clips))
    assert np.median(errors) <= 0.012
    # in English one of the few clips lies in a room that swallows its consonants
    assert np.mean(errors <= 0.05) >= (0.8 if language == "en" else 0.9)
    assert np.mean(errors <= 0.15) >= 0.95


def test_silence_trimmed_clips_align_too(trained: Trained) -> None:
    jobs, shifts = [], []
    for true in trained.clips:
        first = int(true.onsets_s[0] * SAMPLE_RATE)
        jobs.append(AlignmentJob(true.clip.waveform[first:].copy(), true.clip.transcript))
        shifts.append(first / SAMPLE_RATE)
    errors = _onset_errors(trained, jobs, shifts)
    assert np.median(errors) <= 0.012
    assert np.mean(errors <= 0.05) >= 0.9


def test_spans_are_in_order_inside_the_clip_one_a_word(trained: Trained) -> None:
    for true, outcome in zip(
        trained.clips, trained.aligner(0.0).align("de", [c.job for c in trained.clips]), strict=True
    ):
        words = _aligned(outcome).words
        assert [w.word for w in words] == [w.strip(",.;:!?") for w in true.clip.transcript.split()]
        assert [w.position for w in words] == list(range(1, len(words) + 1))
        times = [time for word in words for time in (word.start_s, word.end_s) if time is not None]
        assert len(times) == 2 * len(words)
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= true.clip.waveform.size / SAMPLE_RATE
        assert all(word.phones for word in words)
        assert sum(len(word.phones) for word in words) == _aligned(outcome).phone_count
        assert all(word.score is not None and 0 <= word.score <= 1 for word in words)
        for word in words:
            assert word.phone_starts_s is not None
            assert len(word.phone_starts_s) == len(word.phones)
            assert word.phone_starts_s[0] == word.start_s
            assert word.phone_starts_s == sorted(word.phone_starts_s)
            assert word.end_s is not None
            assert word.phone_starts_s[-1] <= word.end_s


def test_alone_as_in_any_batch_and_on_another_worker(trained: Trained) -> None:
    jobs = [true.job for true in trained.clips]
    together = trained.aligner(0.0).align("de", jobs)
    alone = [trained.aligner(0.0).align("de", [job])[0] for job in jobs[:4]]
    assert alone == together[:4]
    assert trained.aligner(0.0).align("de", jobs[::-1])[::-1] == together


def test_one_bad_job_costs_no_other(trained: Trained) -> None:
    good = trained.clips[0].job
    half_second = good.waveform[: SAMPLE_RATE // 2]
    jobs = {
        "empty_transcript": AlignmentJob(good.waveform, " "),
        "no_words": AlignmentJob(good.waveform, "😀 …"),
        "other_script": AlignmentJob(good.waveform, "Привет, как дела"),
        "unpronounceable": AlignmentJob(good.waveform, "日本 ja 中文 und 한국"),
        "transcript_too_long": AlignmentJob(half_second, "ein Wort " * 20),
        "unusable_audio": AlignmentJob(np.full(16000, np.nan, np.float32), "ja"),
    }
    outcomes = trained.aligner(0.0).align("de", [*jobs.values(), good])
    for expected, outcome in zip(jobs, outcomes, strict=False):
        failure = _failed(outcome)
        assert failure.reason in (expected, "other_script" if expected == "unpronounceable" else expected)
        assert failure.detail
    assert outcomes[-1] == trained.aligner(0.0).align("de", [good])[0]


def test_odd_audio_gives_a_reason_and_never_an_exception(trained: Trained) -> None:
    rng = np.random.default_rng(0)
    clips = [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(16000, np.float32),
        rng.uniform(-1, 1, 16000).astype(np.float32),
        np.ones(16000, np.float32),
    ]
    for outcome in trained.aligner().align("de", [AlignmentJob(clip, "Guten Morgen") for clip in clips]):
        assert _failed(outcome).reason in {
            "transcript_too_long", "no_path", "low_confidence", "word_outside_audio",
        }  # fmt: skip


def test_a_word_nobody_can_say_keeps_its_place(trained: Trained) -> None:
    true = trained.clips[0]
    words = true.clip.transcript.split()
    job = AlignmentJob(true.clip.waveform, " ".join([*words[:3], "日本", *words[3:]]))
    spans = _aligned(trained.aligner(0.0).align("de", [job])[0]).words
    assert (spans[3].word, spans[3].position, spans[3].start_s, spans[3].end_s) == ("日本", 4, None, None)
    assert spans[4].start_s is not None


def test_another_clips_transcript_scores_less(trained: Trained) -> None:
    clips = [true.clip for true in trained.clips]
    own = trained.aligner(0.0).align("de", [AlignmentJob(c.waveform, c.transcript) for c in clips])
    other = trained.aligner(0.0).align(
        "de", [AlignmentJob(c.waveform, d.transcript) for c, d in zip(clips, clips[1:] + clips[:1], strict=True)]
    )
    right = [_aligned(outcome).score for outcome in own]
    wrong = [outcome.score for outcome in other if isinstance(outcome, UtteranceAlignment)]
    assert np.mean([r > w for r in right for w in wrong]) >= 0.95
    kept = trained.aligner().align("de", [AlignmentJob(c.waveform, c.transcript) for c in clips])
    assert sum(isinstance(outcome, UtteranceAlignment) for outcome in kept) >= 0.9 * len(clips)


def test_low_scores_are_refused_with_the_score(trained: Trained) -> None:
    failure = _failed(trained.aligner(min_score=1.0).align("de", [trained.clips[0].job])[0])
    assert failure.reason == "low_confidence"
    assert failure.score is not None
    assert f"{failure.score:.3f}" in failure.detail


def test_a_language_without_a_model_fails_by_name(trained: Trained) -> None:
    aligner = trained.aligner()
    assert isinstance(aligner, Aligner)
    assert aligner.align("de", []) == []
    assert _failed(aligner.align("it", [trained.clips[0].job])[0]).reason == "no_model"


def test_a_damaged_model_is_an_error_that_names_the_file(trained: Trained, tmp_path: Path) -> None:
    job = trained.clips[0].job
    with pytest.raises(AlignError, match=r"model\.json"):
        ViterAligner({"de": tmp_path}).align("de", [job])
    shutil.copytree(trained.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.viter").write_bytes(b"nothing")
    with pytest.raises(AlignError, match=r"model\.viter"):
        ViterAligner({"de": tmp_path}).align("de", [job])
    with pytest.raises(AlignError, match="'de' was given for 'it'"):
        ViterAligner({"it": trained.folder}).align("it", [job])
