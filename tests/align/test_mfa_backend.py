"""Everything around kalpy, over a double of it; and that the double's signatures are kalpy's, where kalpy is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sift_ray.align.backends import create_aligner
from sift_ray.align.mfa_backend import MfaAligner
from sift_ray.align.mfa_lexicon import MfaLexicon, Tokens, WeightedForm
from sift_ray.align.mfa_score import MfaPhone, Rivals, score
from sift_ray.align.protocol import Aligner, AlignError, AlignmentFailure, AlignmentJob, UtteranceAlignment
from sift_ray.align.signal import pad
from sift_ray.align.transcripts import SpokenWord
from sift_ray.config_align import AlignConfig, MfaConfig
from sift_ray.schema import SAMPLE_RATE
from tests.align import kalpy_double
from tests.align.kalpy_double import write_model
from tests.align.toy_speech import PHONES, likelihoods, sound

_DICTIONARY = """\
pato 0.9 0.15 1.2 0.8 p a t o
pato 0.2 0.15 1.2 0.8 b a t o
luna 0.99 1.0 1.0 1.0 l u n a
mesa m e s a
dedo d e d o
gris g r i s
"""
_TEXT = "¡Pato, luna mesa!"
_PHONE_S = 0.08
_TOLERANCE_S = 0.021  # of the double's frames: 10 ms apart, 25 ms wide


Configure = Callable[..., AlignConfig]


@pytest.fixture
def config(tmp_path: Path) -> Configure:
    def make(min_score: float | None = 0.0, positions: bool = False, adapted: bool = False, **mfa: Any) -> AlignConfig:
        model = write_model(tmp_path / f"es-{positions}-{adapted}.zip", positions=positions, adapted=adapted)
        dictionary = tmp_path / "es.dict"
        dictionary.write_text(_DICTIONARY, encoding="utf-8")
        return AlignConfig(
            backend="mfa",
            models={"es": str(model)},
            dictionaries={"es": str(dictionary)},
            min_score=min_score,
            mfa=MfaConfig(**mfa),
        )

    return make


@pytest.fixture
def kalpy(monkeypatch: pytest.MonkeyPatch) -> None:
    kalpy_double.install(monkeypatch)


def _job(
    sounds: str = "pato.luna.mesa", text: str = _TEXT, speaker: str | None = None, pitch: float = 1.0
) -> AlignmentJob:
    return AlignmentJob(sound(sounds, _PHONE_S, pitch), text, speaker)


def _aligned(outcome: UtteranceAlignment | AlignmentFailure) -> UtteranceAlignment:
    assert isinstance(outcome, UtteranceAlignment), outcome
    return outcome


def _failed(outcome: UtteranceAlignment | AlignmentFailure) -> AlignmentFailure:
    assert isinstance(outcome, AlignmentFailure), outcome
    return outcome


@pytest.mark.usefixtures("kalpy")
@pytest.mark.parametrize("positions", [False, True])
def test_words_and_phones_lie_where_they_sound(config: Configure, positions: bool) -> None:
    job = _job()
    found = _aligned(MfaAligner(config(positions=positions)).align("es", [job])[0])
    assert [(w.word, w.position) for w in found.words] == [("Pato", 1), ("luna", 2), ("mesa", 3)]
    assert ["".join(w.phones) for w in found.words] == ["pato", "luna", "mesa"]
    assert found.phone_count == 12
    for word, start_s in zip(found.words, (0.0, 5 * _PHONE_S, 10 * _PHONE_S), strict=True):
        assert word.start_s is not None
        assert word.end_s is not None
        assert word.phone_starts_s is not None
        assert word.start_s == word.phone_starts_s[0]
        expected = start_s + _PHONE_S * np.arange(4)
        assert np.allclose(word.phone_starts_s, expected, atol=_TOLERANCE_S)
        assert word.end_s == pytest.approx(start_s + 4 * _PHONE_S, abs=_TOLERANCE_S)
        assert 0 <= word.start_s < word.end_s <= job.waveform.size / SAMPLE_RATE
        assert word.score is not None
        assert word.score > 0.9


@pytest.mark.usefixtures("kalpy")
def test_the_likelier_pronunciation_is_not_all_there_is(config: Configure) -> None:
    MfaAligner(config()).align("es", [_job()])
    learnt = kalpy_double.LexiconCompiler.made[0].pronunciations
    forms = {p.pronunciation: p for p in learnt if p.pronunciation.endswith("a t o")}
    assert forms.keys() == {"p a t o", "b a t o"}
    assert len({p.orthography for p in forms.values()}) == 1
    assert forms["b a t o"].probability == 0.2
    for form in forms.values():
        told = (form.silence_after_probability, form.silence_before_correction, form.non_silence_before_correction)
        assert told == (0.15, 1.2, 0.8)
    luna = next(p for p in learnt if p.pronunciation == "l u n a")
    assert luna.silence_after_probability is not None
    assert luna.silence_after_probability < 1  # kalpy takes the log of one less this
    assert next(p for p in learnt if p.pronunciation == "m e s a").probability is None


@pytest.mark.usefixtures("kalpy")
def test_alone_as_in_any_batch_and_in_another_aligner(config: Configure) -> None:
    jobs = [_job(), _job("dedo.gris", "dedo gris", "ann"), _job("luna", "luna", "ann"), _job(text="mesa pato luna")]
    together = MfaAligner(config()).align("es", jobs)
    aligner = MfaAligner(config())
    assert [aligner.align("es", [job])[0] for job in jobs] == together
    assert MfaAligner(config()).align("es", jobs[::-1])[::-1] == together


@pytest.mark.usefixtures("kalpy")
def test_one_bad_job_costs_no_other(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    jobs = {
        "empty_transcript": AlignmentJob(silence, " "),
        "no_words": AlignmentJob(silence, "😀 …"),
        "other_script": AlignmentJob(silence, "Привет, как дела"),
        "transcript_too_long": AlignmentJob(silence[:1000], "pato luna mesa dedo gris"),
        "unusable_audio": AlignmentJob(np.full(SAMPLE_RATE, np.nan, np.float32), "pato"),
        "no_path": AlignmentJob(silence, "gris gris gris gris gris gris gris"),
        "aligner_error": _job("dedo", "dedo"),
    }
    true_path = kalpy_double.KalpyAligner.align_utterance

    def breaking(self: Any, utterance: Any, *args: Any, **kwargs: Any) -> Any:
        seconds = utterance.segment.end - 0.6
        if abs(seconds - jobs["aligner_error"].waveform.size / SAMPLE_RATE) < 0.01:
            raise RuntimeError("kaldi::KaldiFatalError " + "a long trace " * 1000)
        if abs(seconds - 1) < 0.01:
            raise kalpy_double.AlignerError("Could not align the file with the current beam size")
        return true_path(self, utterance, *args, **kwargs)

    monkeypatch.setattr(kalpy_double.KalpyAligner, "align_utterance", breaking)
    outcomes = MfaAligner(config()).align("es", [*jobs.values(), _job()])
    assert [_failed(outcome).reason for outcome in outcomes[:-1]] == list(jobs)
    assert all(len(_failed(outcome).detail) < 500 for outcome in outcomes[:-1])
    assert "KaldiFatalError" in _failed(outcomes[-2]).detail
    assert outcomes[-1] == MfaAligner(config()).align("es", [_job()])[0]


@pytest.mark.usefixtures("kalpy")
def test_features_that_fail_cost_no_other(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    true_mfccs = kalpy_double.MfccComputer.compute_mfccs_for_export
    short = _job("dedo", "dedo")

    def breaking(self: Any, segment: Any, compress: bool = True) -> Any:
        if segment.end < short.waveform.size / SAMPLE_RATE + 0.7:
            raise RuntimeError("no frames")
        return true_mfccs(self, segment, compress)

    monkeypatch.setattr(kalpy_double.MfccComputer, "compute_mfccs_for_export", breaking)
    failed, good = MfaAligner(config()).align("es", [short, _job()])
    assert _failed(failed).reason == "aligner_error"
    assert _aligned(good).score > 0.9


@pytest.mark.usefixtures("kalpy")
def test_odd_audio_gives_a_reason_and_never_an_exception(config: Configure) -> None:
    rng = np.random.default_rng(0)
    clips = [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(8000, np.float32),
        rng.uniform(-1, 1, 8000).astype(np.float32),
        np.ones(8000, np.float32),
    ]
    aligner = MfaAligner(config(min_score=None))
    for outcome in aligner.align("es", [AlignmentJob(clip, "pato mesa") for clip in clips]):
        assert _failed(outcome).reason in {"transcript_too_long", "no_path", "low_confidence", "word_outside_audio"}


@pytest.mark.usefixtures("kalpy")
def test_a_word_nobody_can_say_keeps_its_place_and_its_sound(config: Configure) -> None:
    job = _job("pato.gdigo.luna.mesa", "pato 日本 luna mesa")
    found = _aligned(MfaAligner(config()).align("es", [job])[0])
    unknown = found.words[1]
    assert (unknown.word, unknown.position, unknown.start_s, unknown.end_s) == ("日本", 2, None, None)
    assert (unknown.phones, unknown.score) == ([], None)
    # its neighbours are not stretched over it
    assert found.words[0].end_s == pytest.approx(4 * _PHONE_S, abs=_TOLERANCE_S)
    assert found.words[2].start_s == pytest.approx(11 * _PHONE_S, abs=_TOLERANCE_S)
    assert found.phone_count == 12


@pytest.mark.usefixtures("kalpy")
def test_words_that_the_dictionary_lacks_are_said_in_the_models_phones(config: Configure) -> None:
    outcome = _aligned(MfaAligner(config()).align("es", [_job("pato.bino", "pato vino")])[0])
    assert set(outcome.words[1].phones) <= set(PHONES)
    assert outcome.words[1].start_s == pytest.approx(5 * _PHONE_S, abs=_TOLERANCE_S)


@pytest.mark.usefixtures("kalpy")
def test_another_clips_transcript_scores_less(config: Configure) -> None:
    aligner = MfaAligner(config())
    sounds = ["pato.luna.mesa", "dedo.gris.mesa", "gris.luna.dedo", "mesa.pato.gris"]
    texts = [s.replace(".", " ") for s in sounds]
    own = aligner.align("es", [_job(s, t) for s, t in zip(sounds, texts, strict=True)])
    other = aligner.align("es", [_job(s, t) for s, t in zip(sounds, texts[1:] + texts[:1], strict=True)])
    least = min(_aligned(outcome).score for outcome in own)
    assert least > 0.9
    assert all(_aligned(o).score < least for o in other if isinstance(o, UtteranceAlignment))


@pytest.mark.usefixtures("kalpy")
def test_low_scores_are_refused_with_the_score(config: Configure) -> None:
    failure = _failed(MfaAligner(config(min_score=1.0)).align("es", [_job(text="dedo gris pato")])[0])
    assert failure.reason == "low_confidence"
    assert failure.score is not None
    assert f"{failure.score:.3f}" in failure.detail


@pytest.mark.usefixtures("kalpy")
def test_a_speakers_clips_are_adapted_to_together_if_asked(config: Configure) -> None:
    """A voice a tenth too high fits its phones only once a transform has been taken from it."""
    jobs = [_job(speaker="ann", pitch=1.1), _job("mesa.dedo", "mesa dedo", "ann", 1.1), _job(speaker="bob")]
    alone = [_aligned(o) for o in MfaAligner(config(adapted=True)).align("es", jobs)]
    adapted = [_aligned(o) for o in MfaAligner(config(adapted=True, speaker_adaptation=True)).align("es", jobs)]
    assert [a.score > b.score for a, b in zip(adapted, alone, strict=True)] == [True, True, False]
    # a model trained without transforms has none to estimate
    plain = MfaAligner(config(speaker_adaptation=True)).align("es", jobs)
    assert _aligned(plain[2]).score == pytest.approx(alone[2].score, abs=0.01)


def _unable(*_: Any, **__: Any) -> Any:
    raise RuntimeError("kaldi::KaldiFatalError")


@pytest.mark.usefixtures("kalpy")
def test_without_a_speakers_transform_clips_are_aligned_all_the_same(
    config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kalpy_double.FmllrComputer, "compute_fmllr", _unable)
    jobs = [_job(speaker="ann"), _job("mesa.dedo", "mesa dedo", "ann")]
    found = MfaAligner(config(adapted=True, speaker_adaptation=True)).align("es", jobs)
    assert found == MfaAligner(config(adapted=True)).align("es", jobs)
    assert all(_aligned(outcome).score > 0.9 for outcome in found)


@pytest.mark.usefixtures("kalpy")
def test_without_a_speakers_means_each_clip_has_its_own(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    true_means = kalpy_double.CmvnComputer.compute_cmvn_from_features
    bad = _job("luna", "luna", "ann")

    def breaking(self: Any, features: Any) -> float:
        if any(len(feats) < (bad.waveform.size + 0.7 * SAMPLE_RATE) / 160 for feats in features):
            raise RuntimeError("no means")
        return true_means(self, features)

    monkeypatch.setattr(kalpy_double.CmvnComputer, "compute_cmvn_from_features", breaking)
    jobs = [_job(speaker="ann"), bad, _job("mesa.dedo", "mesa dedo", "ann")]
    first, failed, last = MfaAligner(config(speaker_adaptation=True)).align("es", jobs)
    assert _failed(failed).reason == "aligner_error"
    assert [first, last] == MfaAligner(config()).align("es", [jobs[0], jobs[2]])


def _engine(tmp_path: Path) -> Any:
    from sift_ray.align.mfa_engine import MfaEngine
    from sift_ray.align.mfa_models import unpack

    return MfaEngine(unpack(write_model(tmp_path / "m.zip"), tmp_path), MfaConfig())


@pytest.mark.usefixtures("kalpy")
def test_a_phone_that_kalpy_refuses_costs_its_clip_alone(tmp_path: Path) -> None:
    engine = _engine(tmp_path)
    from sift_ray.align.mfa_engine import MfaClip

    wave = pad(sound("pato", _PHONE_S))
    good, bad = MfaClip(wave, [(WeightedForm(tuple("pato")),)], None), MfaClip(wave, [(WeightedForm(("q",)),)], None)
    for _ in range(2):  # and not only when it is new
        found, failed = engine.align([good, bad])
        assert "not in the symbol table" in _failed(failed).detail
        assert [phone.phone for phone in found[0]] == list("pato")


@pytest.mark.usefixtures("kalpy")
def test_a_clip_without_frames_never_reaches_kaldi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(tmp_path)
    from sift_ray.align.mfa_engine import MfaClip

    monkeypatch.setattr(kalpy_double.MfccComputer, "compute_mfccs_for_export", _unable)
    for size in (0, 1, 399):
        clip = MfaClip(np.ones(size, np.float32), [(WeightedForm(("a",)),)], None)
        assert _failed(engine.align([clip])[0]).reason == "unusable_audio"


@pytest.mark.usefixtures("kalpy")
def test_a_clip_of_a_few_milliseconds_that_may_be_a_phone_gives_a_reason(config: Configure) -> None:
    (outcome,) = MfaAligner(config()).align("es", [AlignmentJob(np.zeros(460, np.float32), "a")])
    assert isinstance(outcome, UtteranceAlignment) or outcome.reason in {"no_path", "word_outside_audio"}


@pytest.mark.usefixtures("kalpy")
def test_models_are_loaded_once_and_graphs_made_anew_only_for_new_words(config: Configure) -> None:
    aligner = MfaAligner(config())
    aligner.align("es", [_job()])
    made = kalpy_double.TrainingGraphCompiler.made
    aligner.align("es", [_job(), _job(text="mesa, luna. pato")])
    assert kalpy_double.TrainingGraphCompiler.made == made
    aligner.align("es", [_job("dedo", "dedo")])
    assert kalpy_double.TrainingGraphCompiler.made == made + 1
    assert len(kalpy_double.LexiconCompiler.made) == 1


@pytest.mark.usefixtures("kalpy")
def test_a_lexicon_grown_too_large_starts_anew(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    aligner = MfaAligner(config())
    first = aligner.align("es", [_job()])
    monkeypatch.setattr("sift_ray.align.mfa_engine._MOST_TOKENS", 2)
    assert aligner.align("es", [_job(), _job("dedo", "dedo")])[:1] == first
    assert len(kalpy_double.LexiconCompiler.made) == 2


@pytest.mark.usefixtures("kalpy")
def test_beams_are_those_of_the_config(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    true_init = kalpy_double.KalpyAligner.__init__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append((kwargs["beam"], kwargs["retry_beam"]))
        true_init(self, *args, **kwargs)

    monkeypatch.setattr(kalpy_double.KalpyAligner, "__init__", noted)
    MfaAligner(config(beam=15, retry_beam=80)).align("es", [_job()])
    assert made == [(15, 80)]


@pytest.mark.usefixtures("kalpy")
def test_a_language_without_a_model_fails_by_name(config: Configure) -> None:
    aligner = create_aligner(config(), {})
    assert isinstance(aligner, MfaAligner)
    assert isinstance(aligner, Aligner)
    assert aligner.align("es", []) == []
    failure = _failed(aligner.align("it", [_job()])[0])
    assert failure.reason == "no_model"
    assert "'it'" in failure.detail


@pytest.mark.usefixtures("kalpy")
def test_a_model_that_kalpy_cannot_read_is_an_error(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("ExpectToken failed")

    monkeypatch.setattr(kalpy_double.GmmAligner, "__init__", broken)
    with pytest.raises(AlignError, match="can't load the acoustic model: ExpectToken failed"):
        MfaAligner(config()).align("es", [_job()])


def test_without_kalpy_the_error_tells_what_to_install(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    kalpy_double.install(monkeypatch)
    for name in kalpy_double.MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AlignError, match=r"needs kalpy.*conda install -c conda-forge"):
        MfaAligner(config())


def test_without_mfa_and_with_a_wrong_one_the_error_says_so(config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kalpy_double.install(patch, version=None)
        with pytest.raises(AlignError, match=r"isn't installed.*conda install"):
            MfaAligner(config())
    kalpy_double.install(monkeypatch, version="3.5.1")
    with pytest.raises(AlignError, match=r"3\.5\.1 is installed.*>=3\.3,<3\.5"):
        MfaAligner(config())


def test_tokens_stand_for_pronunciations_and_not_for_spelling(tmp_path: Path) -> None:
    (tmp_path / "es.dict").write_text(_DICTIONARY, encoding="utf-8")
    lexicon = MfaLexicon("es", tmp_path / "es.dict")
    word = lexicon.weighted(SpokenWord("PATO", (("p", "a", "t", "o"), ("p", "a"))))
    assert word == (WeightedForm(("p", "a", "t", "o"), 0.9, 0.15, 1.2, 0.8), WeightedForm(("p", "a"), 0.9))
    spoken = SpokenWord("pato", (tuple("pato"), tuple("bato"), ("p", "a")))
    assert [form.probability for form in lexicon.weighted(spoken)] == [0.9, 0.2, pytest.approx(0.55)]
    assert [form.probability for form in lexicon.weighted(SpokenWord("mesa", (tuple("mesa"),)))] == [None]
    tokens = Tokens()
    assert [name for name, _ in tokens.add([word, word, ()])] == ["w0x", "w0x"]
    assert tokens.add([word]) == []
    assert tokens.text([word, (), word]) == "w0x <unk> w0x"


def test_the_best_rival_is_the_phone_that_sounds_likeliest() -> None:
    rivals = Rivals.of(kalpy_double.AmDiagGmm())
    features = np.random.default_rng(0).normal([6.5, -1.0], [0.7, 1.0], (50, 2)).astype(np.float32)
    expected = np.max([likelihoods(phone, features) for phone in (*PHONES, "sil", "spn")], axis=0)
    assert np.allclose(rivals.best(features), expected, rtol=1e-3, atol=0.05)


def test_of_a_large_model_an_even_share_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sift_ray.align.mfa_score._MOST_GAUSSIANS", 5)
    assert Rivals.of(kalpy_double.AmDiagGmm()).constants.shape == (5,)


def test_scores_fall_with_likeness_and_weigh_phones_by_their_time() -> None:
    def spoken(*phones: tuple[float, float]) -> float:
        return score([[MfaPhone("a", 0.0, length_s, likeness) for length_s, likeness in phones]])

    assert spoken((0.1, 0.0)) > 0.99
    assert spoken((0.1, -1000.0)) == 0.0
    assert spoken((0.1, -6.0)) > spoken((0.1, -7.0)) > spoken((0.1, -8.0))
    assert spoken((0.3, 0.0), (0.1, -12.0)) > spoken((0.1, 0.0), (0.3, -12.0))
    assert score([]) == 0.0


@pytest.mark.parametrize("module", list(kalpy_double.MODULES))
def test_the_doubles_signatures_are_kalpys(module: str) -> None:
    pytest.importorskip("_kalpy", reason="kalpy, from conda-forge, is not installed")
    true = importlib.import_module(module)
    for double in kalpy_double.MODULES[module]:
        assert kalpy_double.differences(double, getattr(true, double.__name__)) == []


def test_a_signature_that_strays_is_seen() -> None:
    class Utterance(kalpy_double.Utterance):
        def generate_mfccs(self, computer: Any) -> None:  # type: ignore[override]
            """Name its argument otherwise."""

    assert kalpy_double.differences(kalpy_double.Utterance, Utterance) == ["Utterance.generate_mfccs"]
    assert kalpy_double.differences(kalpy_double.Segment, kalpy_double.Segment) == []
