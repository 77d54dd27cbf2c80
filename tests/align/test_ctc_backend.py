from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sift_ray.align.backends import create_aligner  # noqa: E402
from sift_ray.align.ctc_backend import CtcAligner  # noqa: E402
from sift_ray.align.ctc_spans import LEAD_S, TAIL_S, CtcText, word_spans  # noqa: E402
from sift_ray.align.ctc_viterbi import CtcPath  # noqa: E402
from sift_ray.align.lexicon import Lexicon  # noqa: E402
from sift_ray.align.protocol import (  # noqa: E402
    Aligner,
    AlignError,
    AlignmentFailure,
    AlignmentJob,
    UtteranceAlignment,
    WordSpan,
)
from sift_ray.align.transcripts import SpokenWord  # noqa: E402
from sift_ray.config_align import AlignConfig  # noqa: E402
from tests.align.tiny_ctc import ARCHITECTURES, HOP, LETTERS, PHONES, noises, write_ctc  # noqa: E402

TEXTS = ["¿Dónde está la casa?", "Un perro grande, y dos gatos.", "sí", "El niño come pan con queso en el jardín."]
FRAME_S = HOP / 16_000


def config(folder: Path, **options: object) -> AlignConfig:
    models = {language: str(folder) for language in ("es", "de", "en")}
    return AlignConfig.model_validate({"backend": "ctc", "models": models, "min_score": 0.0, **options})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ctc(tmp_path_factory.mktemp("ctc") / "tiny")


@pytest.fixture(scope="module")
def aligner(checkpoint: Path) -> CtcAligner:
    return CtcAligner(config(checkpoint))


def jobs_of(*lengths_s: float) -> list[AlignmentJob]:
    clips = noises(*lengths_s)
    return [AlignmentJob(clip, TEXTS[number % len(TEXTS)]) for number, clip in enumerate(clips)]


def aligned(outcome: UtteranceAlignment | AlignmentFailure) -> UtteranceAlignment:
    assert isinstance(outcome, UtteranceAlignment), outcome
    return outcome


def failed(outcome: UtteranceAlignment | AlignmentFailure) -> AlignmentFailure:
    assert isinstance(outcome, AlignmentFailure), outcome
    return outcome


def assert_in_order(words: list[WordSpan], duration_s: float) -> None:
    times = [t for w in words if w.start_s is not None and w.end_s is not None for t in (w.start_s, w.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= duration_s
    for word in words:
        if word.start_s is not None and word.end_s is not None:
            assert word.end_s - word.start_s >= FRAME_S - 1e-3


def assert_alike(one: UtteranceAlignment | AlignmentFailure, other: UtteranceAlignment | AlignmentFailure) -> None:
    first, second = aligned(one), aligned(other)
    assert first.score == pytest.approx(second.score, abs=2e-4)
    for a, b in zip(first.words, second.words, strict=True):
        assert (a.word, a.position, a.start_s, a.end_s, a.phones) == (b.word, b.position, b.start_s, b.end_s, b.phones)
        assert a.score == pytest.approx(b.score, abs=2e-4)


def test_it_is_the_backend_of_the_config(checkpoint: Path) -> None:
    made = create_aligner(config(checkpoint), {})
    assert isinstance(made, Aligner)
    assert made.backend == "ctc"


def test_words_are_those_of_the_lexicon_and_lie_in_their_order(aligner: CtcAligner) -> None:
    jobs = jobs_of(2.3, 4.0, 0.5, 5.7)
    lexicon = Lexicon("es")
    for job, outcome in zip(jobs, aligner.align("es", jobs), strict=True):
        found = aligned(outcome)
        assert [word.word for word in found.words] == lexicon.words(job.transcript)
        assert [word.position for word in found.words] == list(range(1, len(found.words) + 1))
        assert_in_order(found.words, job.waveform.size / 16_000)
        assert found.phone_count is None
        assert 0 <= found.score < 1
        for word, known in zip(found.words, lexicon.lookup(job.transcript), strict=True):
            assert word.phones == list(lexicon.folded(known.pronunciations[0]))
            assert word.phone_starts_s is None
            assert word.score is not None
            assert 0 <= word.score <= 1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_clip_alone_is_as_in_a_batch(name: str, tmp_path: Path) -> None:
    folder = write_ctc(tmp_path / name, architecture=ARCHITECTURES[name])
    aligner = CtcAligner(config(folder, ctc={"batch_s": 8}))
    jobs = jobs_of(2.1, 3.3, 0.7, 4.0, 2.1)
    together = aligner.align("es", jobs)
    for job, outcome in zip(jobs, together, strict=True):
        assert_alike(aligner.align("es", [job])[0], outcome)
    scores = [aligned(outcome).score for outcome in together]
    assert np.ptp(scores) > 0.001, "the model hears no difference, so the test shows nothing"


def test_a_frame_is_where_the_model_hears_it(aligner: CtcAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    """With outputs that are sure, the spans are known."""
    model_of = aligner._models
    aligner.align("es", jobs_of(1.0))
    (model,) = model_of.values()
    letters = {letter: number for number, letter in enumerate(LETTERS, start=5)}
    says = "__ss_íí_____|_vaam_a__".replace("_", "\0")
    numbers = [0 if c == "\0" else 4 if c == "|" else letters[c] for c in says]
    emissions = torch.log_softmax(30.0 * torch.nn.functional.one_hot(torch.tensor(numbers), 42).float(), 1)
    monkeypatch.setattr(model, "emissions", lambda clips: [emissions] * len(clips))
    clip = np.zeros(320 * len(numbers) + 80, np.float32)
    (found,) = aligner.align("es", [AlignmentJob(clip, "Sí, vama")])
    yes, other = aligned(found).words
    assert (yes.start_s, yes.end_s) == pytest.approx((2 * FRAME_S - LEAD_S, 7 * FRAME_S + TAIL_S))
    assert (other.start_s, other.end_s) == pytest.approx((14 * FRAME_S - LEAD_S, clip.size / 16_000))
    assert aligned(found).score == pytest.approx(1.0, abs=1e-3)
    assert [word.score for word in aligned(found).words] == pytest.approx([1.0, 1.0], abs=1e-3)
    (found,) = aligner.align("es", [AlignmentJob(clip, "Sí, yama")])
    assert aligned(found).score < 0.6


def test_words_close_together_share_no_time() -> None:
    words = [SpokenWord(word, (tuple(word),)) for word in ("ab", "c", "de")]
    path = CtcPath(np.array([0, -1, 1, 2, 3, 4, -1, 5, 6, 6, -1], np.int32), *np.zeros((2, 11), np.float32), 0.0)
    text = CtcText(words, (1, 2, 9, 3, 9, 4, 5), ((0, 2), (3, 4), (5, 7)), by_phones=True)
    first, second, third = word_spans(text, path, frame_s=0.02, duration_s=0.21)
    assert (first.start_s, first.end_s, first.phone_starts_s) == (0.0, 0.06, [0.0, 0.02])
    assert (second.start_s, second.end_s, second.phone_starts_s) == (0.06, 0.11, [0.06])
    assert (third.start_s, third.end_s, third.phone_starts_s) == (0.11, 0.21, [0.11, 0.16])


def test_phones_of_a_phonetic_vocabulary_have_their_own_starts(tmp_path: Path) -> None:
    folder = write_ctc(
        tmp_path / "phones", PHONES, delimiter=None, tokenizer_class="Wav2Vec2PhonemeCTCTokenizer", seed=2
    )
    jobs = jobs_of(2.0, 3.1)
    for job, outcome in zip(jobs, CtcAligner(config(folder)).align("es", jobs), strict=True):
        found = aligned(outcome)
        assert found.phone_count == sum(len(word.phones) for word in found.words)
        assert_in_order(found.words, job.waveform.size / 16_000)
        for word in found.words:
            assert set(word.phones) <= set(PHONES)
            assert word.phone_starts_s is not None
            assert word.end_s is not None
            assert len(word.phone_starts_s) == len(word.phones)
            assert word.phone_starts_s[0] == word.start_s
            assert word.phone_starts_s == sorted(set(word.phone_starts_s))
            assert word.phone_starts_s[-1] < word.end_s


def test_a_word_that_the_model_can_not_write_keeps_its_place(tmp_path: Path) -> None:
    folder = write_ctc(tmp_path / "no-x", [letter for letter in LETTERS if letter != "x"])
    (clip,) = noises(3.0)
    found = aligned(CtcAligner(config(folder)).align("es", [AlignmentJob(clip, "un taxi grande y rojo")])[0])
    assert [word.word for word in found.words] == ["un", "taxi", "grande", "y", "rojo"]
    taxi = found.words[1]
    assert (taxi.start_s, taxi.end_s, taxi.score, taxi.phone_starts_s) == (None, None, None, None)
    assert taxi.position == 2
    assert all(word.start_s is not None for word in found.words if word is not taxi)
    failure = failed(CtcAligner(config(folder)).align("es", [AlignmentJob(clip, "taxi y taxi")])[0])
    assert failure.reason == "unspellable"
    assert "taxi" in failure.detail


def test_numbers_are_spelled_as_they_are_read(aligner: CtcAligner) -> None:
    (clip,) = noises(4.0)
    digits, letters = (
        aligned(aligner.align("de", [AlignmentJob(clip, f"Es waren {said} Leute.")])[0]) for said in ("8", "acht")
    )
    assert [word.word for word in digits.words] == ["Es", "waren", "8", "Leute"]
    assert [(w.start_s, w.end_s) for w in digits.words] == [(w.start_s, w.end_s) for w in letters.words]


def test_a_bad_clip_has_its_reason_and_costs_no_other(aligner: CtcAligner) -> None:
    good = noises(2.0)[0]
    broken = good.copy()
    broken[100] = np.nan
    bad = {
        "empty_transcript": AlignmentJob(good, " "),
        "no_words": AlignmentJob(good, "…!"),
        "other_script": AlignmentJob(good, "Привет, мир, как дела"),
        "transcript_too_long": AlignmentJob(good, " ".join(TEXTS * 3)),
        "unusable_audio": AlignmentJob(broken, TEXTS[0]),
    }
    short = AlignmentJob(good[:1_500], "y")
    outcomes = aligner.align("es", [AlignmentJob(good, TEXTS[0]), *bad.values(), short])
    reasons = [failed(outcome).reason for outcome in outcomes[1:]]
    assert reasons == [*bad, "unusable_audio"]
    assert all(failed(outcome).detail for outcome in outcomes[1:])
    assert_alike(outcomes[0], aligner.align("es", [AlignmentJob(good, TEXTS[0])])[0])
    assert aligner.align("es", []) == []


def test_more_letters_than_frames_have_no_path(aligner: CtcAligner) -> None:
    clip = noises(1.0)[0]
    short, enough = aligner.align("de", [AlignmentJob(clip[:1_650], "Schuh"), AlignmentJob(clip[:2_000], "Schuh")])
    assert failed(short).reason == "no_path"
    assert len(aligned(enough).words) == 1


def test_a_language_without_a_model_says_so(aligner: CtcAligner) -> None:
    outcomes = aligner.align("fr", [AlignmentJob(noises(1.0)[0], "oui")] * 2)
    assert [failed(outcome).reason for outcome in outcomes] == ["no_model"] * 2


def test_a_low_score_is_not_believed(checkpoint: Path) -> None:
    job = AlignmentJob(noises(2.0)[0], TEXTS[0])
    failure = failed(CtcAligner(config(checkpoint, min_score=0.999)).align("es", [job])[0])
    assert failure.reason == "low_confidence"
    assert failure.score == pytest.approx(aligned(CtcAligner(config(checkpoint)).align("es", [job])[0]).score, abs=2e-4)


def test_what_does_not_fit_by_itself_costs_no_other(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aligner = CtcAligner(config(checkpoint))
    aligner.align("es", jobs_of(1.0))
    (model,) = aligner._models.values()
    hear, sizes = model.emissions, []

    def small(clips):
        sizes.append(sum(map(len, clips)))
        if sizes[-1] > 80_000:
            raise MemoryError("DefaultCPUAllocator: can't allocate memory")
        return hear(clips)

    monkeypatch.setattr(model, "emissions", small)
    outcomes = aligner.align("es", jobs_of(2.0, 6.0, 2.5, 2.0, 2.2, 3.0))
    assert failed(outcomes[1]).reason == "out_of_memory"
    assert "6.0 s" in failed(outcomes[1]).detail
    monkeypatch.undo()
    wanted = aligner.align("es", jobs_of(2.0, 6.0, 2.5, 2.0, 2.2, 3.0))
    for index in (0, 2, 3, 4, 5):
        assert_alike(outcomes[index], wanted[index])


def test_outputs_that_are_no_numbers_cost_no_other(aligner: CtcAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_of(2.0, 3.0)
    wanted = aligner.align("es", jobs)
    (model,) = aligner._models.values()
    hear = model.emissions

    def broken(clips):
        return [rows * torch.nan if len(clip) == len(jobs[0].waveform) else rows
                for clip, rows in zip(clips, hear(clips), strict=True)]  # fmt: skip

    monkeypatch.setattr(model, "emissions", broken)
    outcomes = aligner.align("es", jobs)
    assert failed(outcomes[0]).reason == "aligner_error"
    assert_alike(outcomes[1], wanted[1])


def test_a_model_that_serves_several_languages_is_loaded_once(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligner = CtcAligner(config(checkpoint))
    (clip,) = noises(2.0)
    for language, text in (("es", "la casa"), ("de", "das Haus"), ("en", "the house")):
        assert len(aligned(aligner.align(language, [AlignmentJob(clip, text)])[0]).words) == 2
    assert len(aligner._models) == 1


def test_a_model_that_can_not_be_had_is_an_error_of_the_backend(tmp_path: Path) -> None:
    with pytest.raises(AlignError, match=r"models, es.*config\.json"):
        CtcAligner(config(tmp_path)).align("es", jobs_of(1.0))
