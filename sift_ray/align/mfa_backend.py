"""Alignment with the Montreal Forced Aligner in this process, by models of its own that are never trained here.

MFA and kalpy come from conda-forge only; they are imported when the first clip is aligned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sift_ray.align.inventory import Inventory
from sift_ray.align.mfa_lexicon import MfaLexicon
from sift_ray.align.mfa_models import INSTALL, MfaSources, check_versions, sources, unpack
from sift_ray.align.mfa_score import DEFAULT_THRESHOLD, MfaPhone, score
from sift_ray.align.protocol import AlignError, AlignmentFailure, AlignmentJob, UtteranceAlignment, WordSpan, believed
from sift_ray.align.signal import PAD_S, pad
from sift_ray.align.transcripts import SpokenWord, prepare
from sift_ray.config_align import AlignConfig, MfaConfig
from sift_ray.schema import SAMPLE_RATE

_SHORTEST_WORD_S = 0.005


class MfaAligner:
    """Aligns with pretrained models of MFA. Not for use from several threads at a time.

    With `mfa.speaker_adaptation` the clips of one speaker in a call share cepstral means and an fMLLR transform, so
    spans then depend on what else is in the call; without it, on the clip alone.
    """

    backend = "mfa"

    def __init__(self, config: AlignConfig) -> None:
        """Check that MFA is here; a language's models are found and loaded when it is first aligned.

        Raises:
            AlignError: MFA or kalpy is missing, or MFA's version is not one that this was written for.
        """
        check_versions()
        try:
            import sift_ray.align.mfa_engine  # noqa: F401
        except ImportError as error:
            raise AlignError(f"the backend mfa needs kalpy, which can't be imported: {error}; {INSTALL}") from error
        self._config = config
        self._min_score = DEFAULT_THRESHOLD if config.min_score is None else config.min_score
        self._loaded: dict[str, _LanguageAligner | None] = {}

    def align(self, language: str, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        """Align `jobs`; see `protocol.Aligner`. Reasons of failure: `no_model`, `unusable_audio`, those of
        `transcripts.prepare`, `no_path`, `word_outside_audio`, `low_confidence`, `aligner_error`.

        Raises:
            AlignError: a file of the language's models is missing or broken.
        """
        if language not in self._loaded:
            files = sources(self._config, language)
            self._loaded[language] = None if files is None else _LanguageAligner(language, files, self._config.mfa)
        aligner = self._loaded[language]
        if aligner is None:
            return [AlignmentFailure("no_model", f"align.models names no model of MFA for {language!r}")] * len(jobs)
        return [believed(outcome, self._min_score) for outcome in aligner.align(jobs)]


class _LanguageAligner:
    def __init__(self, language: str, files: MfaSources, config: MfaConfig) -> None:
        from sift_ray.align.mfa_engine import MfaEngine

        self._lexicon = MfaLexicon(language, files.dictionary, files.g2p)
        self._scratch = tempfile.TemporaryDirectory(prefix="sift-ray-mfa-")
        self._engine = MfaEngine(unpack(files.acoustic, Path(self._scratch.name)), config)
        self._inventory = Inventory(self._engine.phones)

    def align(self, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        from sift_ray.align.mfa_engine import MfaClip

        durations = [job.waveform.size / SAMPLE_RATE for job in jobs]
        prepared = prepare(self._lexicon, self._inventory, [job.transcript for job in jobs], durations)
        outcomes: dict[int, UtteranceAlignment | AlignmentFailure] = {}
        waiting: dict[int, list[SpokenWord]] = {}
        clips = []
        for index, (job, words) in enumerate(zip(jobs, prepared, strict=True)):
            if isinstance(words, AlignmentFailure):
                outcomes[index] = words
            elif not np.isfinite(job.waveform).all():
                outcomes[index] = AlignmentFailure("unusable_audio", "the waveform holds values that are no numbers")
            else:
                waiting[index] = words
                # MFA's models know silence and need no pad, but with one a word that was laid outside the clip shows
                tokens = [self._lexicon.weighted(word) for word in words]
                clips.append(MfaClip(pad(job.waveform), tokens, job.speaker_id))
        for (index, words), found in zip(waiting.items(), self._engine.align(clips), strict=True):
            outcomes[index] = (
                found if isinstance(found, AlignmentFailure) else _describe(words, found, durations[index])
            )
        return [outcomes[index] for index in range(len(jobs))]


def _describe(
    words: Sequence[SpokenWord], found: Sequence[Sequence[MfaPhone]], duration_s: float
) -> UtteranceAlignment | AlignmentFailure:
    spans, known = [], []
    for position, (word, phones) in enumerate(zip(words, found, strict=True), start=1):
        if not word.pronunciations:
            # it was laid somewhere, so that its neighbours aren't, but as a noise and not as itself
            spans.append(WordSpan(word.word, position, None, None, []))
            continue
        times = [phones[0].start_s, *(phone.end_s for phone in phones)]
        inside = [round(min(max(time_s - PAD_S, 0.0), duration_s), 4) for time_s in times]
        if inside[-1] - inside[0] < _SHORTEST_WORD_S:
            return AlignmentFailure("word_outside_audio", f"word {position}, {word.word!r}, was laid outside the clip")
        names = [phone.phone for phone in phones]
        spans.append(WordSpan(word.word, position, inside[0], inside[-1], names, score([phones]), inside[:-1]))
        known.append(phones)
    return UtteranceAlignment(spans, score(known), sum(map(len, known)))
