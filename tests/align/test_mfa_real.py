"""The backend `mfa` over MFA itself: a small model trained by MFA's own command. Runs where MFA and kalpy are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import AlignmentFailure, AlignmentJob, UtteranceAlignment
from sift_ray.align.signal import pad
from sift_ray.config_align import AlignConfig, MfaConfig
from sift_ray.schema import SAMPLE_RATE
from tests.align.conftest import TrueClip

pytest.importorskip("_kalpy", reason="kalpy, from conda-forge, is not installed")
pytest.importorskip("montreal_forced_aligner", reason="the Montreal Forced Aligner is not installed")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3000)]

_TRAINING_S = 2400
_RECIPE = """\
training:
  - monophone: {num_iterations: 30, max_gaussians: 1000, boost_silence: 1.25, subset: 0}
  - triphone: {num_iterations: 20, num_leaves: 300, max_gaussians: 2000, subset: 0}
  - lda: {num_iterations: 20, num_leaves: 300, max_gaussians: 2000, subset: 0}
  - sat: {num_iterations: 20, num_leaves: 300, max_gaussians: 2000, subset: 0}
"""


@pytest.fixture(scope="session")
def config(german_clips: list[TrueClip], tmp_path_factory: pytest.TempPathFactory) -> AlignConfig:
    """A German model that `mfa train` made of the demo's clips, and the dictionary that it was made with."""
    folder = tmp_path_factory.mktemp("mfa")
    corpus, dictionary, recipe, model = (folder / name for name in ("corpus", "de.dict", "recipe.yaml", "de.zip"))
    lexicon = Lexicon("de")
    lines = set()
    for true in german_clips:
        speaker = corpus / (true.clip.speaker_id or "nobody")
        speaker.mkdir(parents=True, exist_ok=True)
        words = [word for word in lexicon.lookup(true.clip.transcript) if word.pronunciations]
        lines |= {f"{w.word.lower()}\t{' '.join(phones)}\n" for w in words for phones in w.pronunciations}
        wav = speaker / f"{true.clip.utterance_id}.wav"
        soundfile.write(wav, pad(true.clip.waveform), SAMPLE_RATE, subtype="PCM_16")
        wav.with_suffix(".lab").write_text(" ".join(word.word.lower() for word in words), encoding="utf-8")
    dictionary.write_text("".join(sorted(lines)), encoding="utf-8")
    recipe.write_text(_RECIPE, encoding="utf-8")
    command = [
        sys.executable, "-m", "montreal_forced_aligner", "train", str(corpus), str(dictionary), str(model),
        "--config_path", str(recipe), "--clean", "--num_jobs", "1", "--no_use_mp", "--no_use_postgres", "--quiet",
    ]  # fmt: skip
    environment = {**os.environ, "MFA_ROOT_DIR": str(folder / "root")}
    done = subprocess.run(
        command, env=environment, timeout=_TRAINING_S, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert model.is_file(), done.stdout[-3000:] + done.stderr[-3000:]
    return AlignConfig(backend="mfa", models={"de": str(model)}, dictionaries={"de": str(dictionary)}, min_score=0.0)


def _align(config: AlignConfig, jobs: list[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
    from sift_ray.align.mfa_backend import MfaAligner

    return MfaAligner(config).align("de", jobs)


def _aligned(outcome: UtteranceAlignment | AlignmentFailure) -> UtteranceAlignment:
    assert isinstance(outcome, UtteranceAlignment), outcome
    return outcome


def test_words_begin_where_they_are_spoken(config: AlignConfig, german_clips: list[TrueClip]) -> None:
    errors = []
    for true, outcome in zip(german_clips, _align(config, [true.job for true in german_clips]), strict=True):
        words = _aligned(outcome).words
        assert [w.word for w in words] == [w.strip(",.;:!?") for w in true.clip.transcript.split()]
        times = [time for word in words for time in (word.start_s, word.end_s) if time is not None]
        assert times == sorted(times)
        assert times[-1] <= true.clip.waveform.size / SAMPLE_RATE
        starts = zip((word.start_s for word in words), true.onsets_s, strict=True)
        errors += [abs(start - onset) for start, onset in starts if start is not None]
    assert np.median(errors) <= 0.025
    assert np.mean(np.array(errors) <= 0.05) >= 0.75


def test_alone_as_in_any_batch_and_by_another_aligner(config: AlignConfig, german_clips: list[TrueClip]) -> None:
    jobs = [true.job for true in german_clips[:12]]
    together = _align(config, jobs)
    assert [_align(config, [job])[0] for job in jobs[:4]] == together[:4]
    assert _align(config, jobs[::-1])[::-1] == together


def test_a_speaker_can_be_adapted_to(config: AlignConfig, german_clips: list[TrueClip]) -> None:
    adapting = config.model_copy(update={"mfa": MfaConfig(speaker_adaptation=True)})
    jobs = [true.job for true in german_clips]
    errors = {}
    for name, settings in {"adapted": adapting, "alone": config}.items():
        outcomes = _align(settings, jobs)
        errors[name] = np.median(
            [
                abs(word.start_s - onset)
                for true, outcome in zip(german_clips, outcomes, strict=True)
                for word, onset in zip(_aligned(outcome).words, true.onsets_s, strict=True)
                if word.start_s is not None
            ]
        )
    assert errors["adapted"] <= errors["alone"] + 0.005


def test_another_clips_transcript_scores_less(config: AlignConfig, german_clips: list[TrueClip]) -> None:
    clips = [true.clip for true in german_clips]
    own = _align(config, [AlignmentJob(c.waveform, c.transcript) for c in clips])
    other = _align(
        config, [AlignmentJob(c.waveform, d.transcript) for c, d in zip(clips, clips[1:] + clips[:1], strict=True)]
    )
    right = [_aligned(outcome).score for outcome in own]
    wrong = [outcome.score for outcome in other if isinstance(outcome, UtteranceAlignment)]
    assert np.mean([r > w for r in right for w in wrong]) >= 0.95


def test_a_broken_archive_is_an_error_that_names_it(config: AlignConfig, tmp_path: Path) -> None:
    from sift_ray.align.mfa_backend import MfaAligner
    from sift_ray.align.protocol import AlignError

    broken = tmp_path / "broken.zip"
    broken.write_bytes(Path(config.models["de"]).read_bytes()[:-100])
    with pytest.raises(AlignError, match=r"broken\.zip"):
        MfaAligner(config.model_copy(update={"models": {"de": str(broken)}})).align("de", [])
