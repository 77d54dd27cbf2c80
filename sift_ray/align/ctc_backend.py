"""Alignment with CTC checkpoints of transformers: batches of clips on a GPU, word spans from letters or phones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.ctc_models import CtcModel, ctc_device
from sift_ray.align.ctc_spans import DEFAULT_THRESHOLD, CtcText, utterance_score, word_spans
from sift_ray.align.ctc_text import CtcVocabulary, Tokens
from sift_ray.align.ctc_viterbi import CtcPath, best_paths
from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import AlignmentFailure, AlignmentJob, UtteranceAlignment, believed
from sift_ray.align.spoken import readings
from sift_ray.align.transcripts import MOST_UNPRONOUNCEABLE, SpokenWord, prepare
from sift_ray.audio.batching import ShrinkingBatches
from sift_ray.config_align import AlignConfig
from sift_ray.features.engine import release_device_memory
from sift_ray.schema import SAMPLE_RATE

MIN_SAMPLES: Final = 1_600
"""A clip under 0.1 s is not aligned: some models have no frame there."""


class CtcAligner:
    """Aligns with wav2vec2-style models; one that serves several languages is loaded once."""

    backend = "ctc"

    def __init__(self, config: AlignConfig) -> None:
        """Find the device; a model is loaded when first used.

        Raises:
            AlignError: torch or transformers is not installed, or the GPU that the config asks for is not there.
        """
        self._config = config
        self._min_score = DEFAULT_THRESHOLD if config.min_score is None else config.min_score
        self._device = ctc_device(config)
        self._batches = ShrinkingBatches(round(config.ctc.batch_s * SAMPLE_RATE), release_device_memory)
        self._models: dict[str, CtcModel] = {}
        self._spellers: dict[str, _Speller] = {}

    def align(self, language: str, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        """Align `jobs`; see `protocol.Aligner`. Reasons of failure: `no_model`, those of `transcripts.prepare`,
        `unspellable`, `unusable_audio`, `out_of_memory`, `no_path`, `aligner_error`, `low_confidence`.

        What a model hears alone and in a batch differs by rounding, and where two borders are as likely so may a span.

        Raises:
            AlignError: the language's model can't be had.
        """
        source = self._config.model(language)
        if source is None:
            return [AlignmentFailure("no_model", f"there is no alignment model for {language!r}")] * len(jobs)
        if source not in self._models:
            self._models[source] = CtcModel(self._config, language, device=self._device)
        model = self._models[source]
        if language not in self._spellers:
            self._spellers[language] = _Speller(self._config, language, model.vocabulary)
        outcomes: dict[int, UtteranceAlignment | AlignmentFailure] = {}
        texts: dict[int, CtcText] = {}
        for index, (job, text) in enumerate(zip(jobs, self._spellers[language].texts(jobs), strict=True)):
            unusable = _unusable(job.waveform)
            if isinstance(text, AlignmentFailure):
                outcomes[index] = text
            elif unusable:
                outcomes[index] = unusable
            else:
                texts[index] = text
        heard = dict(
            zip(texts, self._batches.map([jobs[index].waveform for index in texts], model.emissions), strict=True)
        )
        fitting = {index: emissions for index, emissions in heard.items() if emissions is not None}
        targets = [texts[index].target for index in fitting]
        paths = dict(zip(fitting, best_paths(list(fitting.values()), targets, model.vocabulary.blank), strict=True))
        for index, text in texts.items():
            duration_s = jobs[index].waveform.size / SAMPLE_RATE
            if index in paths:
                outcomes[index] = self._describe(text, paths[index], model.hop / SAMPLE_RATE, duration_s)
            else:
                outcomes[index] = AlignmentFailure(
                    "out_of_memory", f"{duration_s:.1f} s do not fit into the memory of {self._device}"
                )
        return [outcomes[index] for index in range(len(jobs))]

    def _describe(
        self, text: CtcText, path: CtcPath | None, frame_s: float, duration_s: float
    ) -> UtteranceAlignment | AlignmentFailure:
        if path is None:
            return AlignmentFailure(
                "no_path", f"{len(text.target)} labels have no room in the frames of {duration_s:.2f} s"
            )
        if not math.isfinite(path.score):
            return AlignmentFailure(
                "aligner_error", "the model's outputs are no numbers; with annotate.align.ctc.dtype float32 they may be"
            )
        spans = word_spans(text, path, frame_s=frame_s, duration_s=duration_s)
        phones = sum(end - start for start, end in text.places) if text.by_phones else None
        return believed(UtteranceAlignment(spans, utterance_score(text, path), phones), self._min_score)


class _Speller:
    """Tells the words of one language in a model's tokens."""

    def __init__(self, config: AlignConfig, language: str, vocabulary: CtcVocabulary) -> None:
        self._lexicon = Lexicon(language, config.dictionary(language), config.g2p_model(language))
        self._inventory = Inventory(vocabulary.tokens) if vocabulary.phonetic else None
        self._vocabulary = vocabulary

    def texts(self, jobs: Sequence[AlignmentJob]) -> list[CtcText | AlignmentFailure]:
        prepared = prepare(
            self._lexicon,
            self._inventory,
            [job.transcript for job in jobs],
            [job.waveform.size / SAMPLE_RATE for job in jobs],
        )
        return [words if isinstance(words, AlignmentFailure) else self._text(words) for words in prepared]

    def _text(self, words: Sequence[SpokenWord]) -> CtcText | AlignmentFailure:
        target: list[int] = []
        places = []
        for word, read in zip(words, readings([word.word for word in words], self._lexicon.language), strict=True):
            labels = self._labels(word, read)
            if labels and target and self._vocabulary.delimiter is not None:
                # the models were taught texts with one between any two words, and none at the ends
                target.append(self._vocabulary.delimiter)
            places.append((len(target), len(target) + len(labels)))
            target += labels
        unknown = [word.word for word, (start, end) in zip(words, places, strict=True) if start == end]
        if not target or len(unknown) > MOST_UNPRONOUNCEABLE * len(words):
            return AlignmentFailure(
                "unspellable",
                f"{len(unknown)} of {len(words)} words can't be written in the model's letters: "
                f"{', '.join(unknown[:5])[:80]}",
            )
        return CtcText(words, tuple(target), tuple(places), by_phones=self._vocabulary.phonetic)

    def _labels(self, word: SpokenWord, read: Sequence[str]) -> Tokens:
        if not self._vocabulary.phonetic:
            return self._vocabulary.spell(word.word, read)
        return tuple(self._vocabulary.tokens[phone] for phone in word.pronunciations[0]) if word.pronunciations else ()


def _unusable(waveform: NDArray[np.float32]) -> AlignmentFailure | None:
    if waveform.size < MIN_SAMPLES:
        return AlignmentFailure("unusable_audio", f"the clip lasts {waveform.size / SAMPLE_RATE:.3f} s, under 0.1 s")
    if not np.isfinite(waveform).all():
        return AlignmentFailure("unusable_audio", "the waveform holds values that are no numbers")
    return None
