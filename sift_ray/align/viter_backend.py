"""Alignment with viter: a trained model a language, clips in batches, spans that depend on the clip alone."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.confidence import DEFAULT_THRESHOLD, gather, score, word_scores
from sift_ray.align.echoes import without_echoes
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.phone_model import observe
from sift_ray.align.protocol import AlignError, AlignmentFailure, AlignmentJob, UtteranceAlignment, WordSpan, believed
from sift_ray.align.signal import PAD_S, PAD_SAMPLES, pad
from sift_ray.align.transcripts import SpokenWord, prepare
from sift_ray.align.viter_engine import RawAlignment, ViterModel, limit_threads
from sift_ray.align.viter_files import ModelFolder, TokenDictionary
from sift_ray.schema import SAMPLE_RATE

__all__ = ["ViterAligner"]

log = logging.getLogger(__name__)

_SHORTEST_WORD_S = 0.005


class ViterAligner:
    """Aligns with models that `train_model` wrote. Not for use from several threads at a time."""

    backend = "viter"

    def __init__(self, models: Mapping[str, Path], *, min_score: float | None = None, threads: int = 1) -> None:
        """Note the model folder of each language; a model is loaded when first used.

        Args:
            models: language → folder.
            min_score: alignments that score less are refused; None: `confidence.DEFAULT_THRESHOLD`.
            threads: how many threads viter may use in this process (`RAYON_NUM_THREADS`, if set, wins).
        """
        limit_threads(threads)
        self._folders = dict(models)
        self._min_score = DEFAULT_THRESHOLD if min_score is None else min_score
        self._loaded: dict[str, _LanguageAligner] = {}

    def align(self, language: str, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        """Align `jobs`; see `protocol.Aligner`. Reasons of failure: `no_model`, `unusable_audio`, those of
        `transcripts.prepare`, `no_path`, `word_outside_audio`, `low_confidence`, `aligner_error`.

        Raises:
            AlignError: the language's model is damaged.
        """
        if language not in self._folders:
            return [AlignmentFailure("no_model", f"there is no alignment model for {language!r}")] * len(jobs)
        if language not in self._loaded:
            self._loaded[language] = _LanguageAligner(language, self._folders[language])
        outcomes = self._loaded[language].align(jobs)
        return [believed(outcome, self._min_score) for outcome in outcomes]


class _LanguageAligner:
    def __init__(self, language: str, folder: Path) -> None:
        self._files = ModelFolder.read(folder)
        if self._files.language != language:
            raise AlignError(f"{folder}: a model of {self._files.language!r} was given for {language!r}")
        self._lexicon = Lexicon(language, self._files.dictionary, self._files.g2p)
        self._scratch = tempfile.TemporaryDirectory(prefix="sift-ray-align-")
        self._dictionary = Path(self._scratch.name) / "dict.txt"
        self._dictionary.touch()
        self._model = ViterModel(self._files.model, self._dictionary)

    def align(self, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        durations = [job.waveform.size / SAMPLE_RATE for job in jobs]
        prepared = prepare(self._lexicon, self._files.inventory, [job.transcript for job in jobs], durations)
        outcomes: list[UtteranceAlignment | AlignmentFailure | None] = []
        for job, words in zip(jobs, prepared, strict=True):
            if isinstance(words, AlignmentFailure):
                outcomes.append(words)
            elif not np.isfinite(job.waveform).all():
                outcomes.append(AlignmentFailure("unusable_audio", "the waveform holds values that are no numbers"))
            else:
                outcomes.append(None)
        waiting = [index for index, outcome in enumerate(outcomes) if outcome is None]
        clips = [pad(jobs[index].waveform) for index in waiting]
        heard = clips if self._files.hears_echoes else [without_echoes(clip, PAD_SAMPLES) for clip in clips]
        texts = [words for index in waiting if not isinstance(words := prepared[index], AlignmentFailure)]
        for index, clip, words, raw in zip(waiting, clips, texts, self._find_paths(heard, texts), strict=True):
            outcomes[index] = (
                raw if isinstance(raw, AlignmentFailure) else self._describe(clip, words, raw, durations[index])
            )
        return [outcome for outcome in outcomes if outcome is not None]

    def _find_paths(
        self, clips: Sequence[NDArray[np.float32]], texts: Sequence[Sequence[SpokenWord]]
    ) -> list[RawAlignment | AlignmentFailure]:
        if not clips:
            return []
        tokens = TokenDictionary()
        lines = [tokens.line(w.pronunciations for w in words if w.pronunciations) for words in texts]
        tokens.write(self._dictionary)
        try:
            found = self._model.align(clips, lines)
        except AlignError as error:
            if len(clips) == 1:
                return [AlignmentFailure("aligner_error", str(error))]
            log.warning("viter refused a batch of %d clips, they are aligned one by one: %s", len(clips), error)
            return [self._find_paths([clip], [words])[0] for clip, words in zip(clips, texts, strict=True)]
        missing = AlignmentFailure("no_path", "viter found no way to lay the transcript over the clip")
        return [missing if raw is None else raw for raw in found]

    def _describe(
        self, clip: NDArray[np.float32], words: Sequence[SpokenWord], raw: RawAlignment, duration_s: float
    ) -> UtteranceAlignment | AlignmentFailure:
        evidence = gather(self._files.phone_model, clip, observe(clip), raw.intervals, len(raw.words))
        scores = word_scores(evidence)
        phones: list[list[str]] = [[] for _ in raw.words]
        starts: list[list[float]] = [[] for _ in raw.words]
        for interval in raw.intervals:
            if interval.word >= 0:
                phones[interval.word].append(interval.phone)
                starts[interval.word].append(_in_clip(interval.start_s, duration_s))
        spans = []
        spoken = 0
        for position, word in enumerate(words, start=1):
            if not word.pronunciations:
                spans.append(WordSpan(word.word, position, None, None, []))
                continue
            start_s, end_s = (_in_clip(time_s, duration_s) for time_s in raw.words[spoken])
            if end_s - start_s < _SHORTEST_WORD_S:
                return AlignmentFailure(
                    "word_outside_audio", f"word {position}, {word.word!r}, was laid outside the clip"
                )
            spans.append(WordSpan(word.word, position, start_s, end_s, phones[spoken], scores[spoken], starts[spoken]))
            spoken += 1
        return UtteranceAlignment(spans, score(evidence), evidence.phones)


def _in_clip(padded_s: float, duration_s: float) -> float:
    """Return a time of the padded clip in seconds from the start of the clip itself."""
    return round(min(max(padded_s - PAD_S, 0.0), duration_s), 4)
