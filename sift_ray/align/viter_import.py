"""Make a model trained elsewhere one of ours: viter's own file or a Montreal Forced Aligner acoustic model.

What such a model lacks is the phone classifier that scores alignments; it is learnt from clips that the model aligns.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.confidence import DEFAULT_THRESHOLD, gather, score
from sift_ray.align.coverage import Coverage
from sift_ray.align.foreign_model import ForeignModel, convert
from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.phone_model import PhoneModel, observe
from sift_ray.align.protocol import AlignError, AlignmentFailure, TrainingClip
from sift_ray.align.signal import pad
from sift_ray.align.transcripts import SpokenWord, prepare
from sift_ray.align.viter_checks import (
    LEAST_SILENCE_DROP_DB,
    MOST_LOUD_SILENCE,
    SilenceCheck,
    check_silence,
    silent_phones,
)
from sift_ray.align.viter_engine import RawAlignment, ViterModel, limit_threads
from sift_ray.align.viter_files import (
    DICTIONARY,
    FACTS,
    FORMAT,
    G2P,
    MODEL,
    PHONES,
    REPORT,
    SPOKEN,
    TokenDictionary,
    write_json,
    write_spoken,
)
from sift_ray.align.viter_training import LEAST_CLIPS
from sift_ray.schema import SAMPLE_RATE

log = logging.getLogger(__name__)

RECIPE: Final = "imported"
MOST_CLIPS: Final = 600
"""So many usable clips are aligned to learn the phone classifier: it needs no more."""
LEAST_ALIGNED: Final = 0.5
"""Share of those clips that the model must find a path for."""
_LOOKED_AT = 4 * MOST_CLIPS
_BATCH = 64


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How the import went; `report.json` holds the same."""

    language: str
    source: str
    kind: str  # viter or mfa
    speaker_adapted: bool
    clips: int  # aligned, which taught the phone classifier
    unaligned: int  # usable clips that the model finds no path for
    left_out: dict[str, int]  # clips by the reason that they were not aligned
    seconds_of_audio: float
    seconds_taken: float
    phones: int
    standing_in: dict[str, str | None]  # phones that the model lacks, and as what they are told
    words: int  # of the clips looked at, as often as they occur
    out_of_dictionary: int  # of these: all if there is no dictionary
    out_of_dictionary_words: dict[str, int]  # the hundred most frequent
    unpronounceable: dict[str, int]
    silence: SilenceCheck
    silent_phones: dict[str, float]  # that lie on background, and with what share of their frames
    median_score: float
    viter: str


def import_model(
    language: str,
    source: Path,
    clips: Iterable[TrainingClip],
    out: Path,
    *,
    dictionary: Path | None,
    g2p: Path | None = None,
    threads: int = 1,
) -> ImportReport:
    """Make the model of `source` a folder such as `train_model` writes (see `viter_files`), whole or not at all.

    Pronunciations come from `dictionary`, those of other words from G2P, told in the model's phones by `Inventory`.
    The same clips in the same order give the same folder.

    Args:
        language: of the model, the dictionary and the clips.
        source: a `.viter` file, or an MFA acoustic model `.zip`.
        clips: the phone classifier is learnt from the first `MOST_CLIPS` usable ones.
        out: the folder to write; one that is there is replaced.
        dictionary: in MFA's or CMU's format, best in the model's own phones; None: G2P alone.
        g2p: a G2P model for words that the dictionary lacks; None: espeak-ng.
        threads: how many threads viter may use.

    Raises:
        AlignError: `source` is no usable model, the words have no pronunciation in its phones, it does not align the
            clips, or what it takes for silence is speech.
    """
    started = time.monotonic()
    limit_threads(threads)
    lexicon = Lexicon(language, dictionary, g2p)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with tempfile.TemporaryDirectory(prefix="sift-ray-import-") as scratch:
            foreign = convert(source, partial / MODEL, Path(scratch))
            importer = _Importer(source, lexicon, partial, Path(scratch))
            importer.align(clips)
            report = importer.learn(foreign, started)
        for given, name in ((dictionary, DICTIONARY), (g2p, G2P)):
            if given is not None:
                shutil.copyfile(given, partial / name)
        write_json(partial / REPORT, asdict(report))
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


class _Importer:
    def __init__(self, source: Path, lexicon: Lexicon, out: Path, scratch: Path) -> None:
        self._source, self._lexicon, self._out, self._scratch = source, lexicon, out, scratch
        self._dictionary = scratch / "dict.txt"
        self._dictionary.touch()
        self._model = ViterModel(out / MODEL, self._dictionary)
        self._inventory = Inventory(self._model.phones)
        self._aligned: list[tuple[Path, RawAlignment]] = []
        self._usable = 0
        self._seconds = 0.0
        self._left_out: Counter[str] = Counter()
        self._coverage = Coverage(lexicon, self._inventory)
        self._spoken: list[SpokenWord] = []

    def align(self, clips: Iterable[TrainingClip]) -> None:
        """Align the first `MOST_CLIPS` usable clips and check that the model suits them."""
        for batch in _batches(islice(clips, _LOOKED_AT)):
            self._align_batch(batch)
            if self._usable >= MOST_CLIPS:
                break
        self._coverage.check(self._source)
        if self._usable < LEAST_CLIPS:
            raise AlignError(
                f"{self._source}: {self._usable} usable clips to learn the phones' looks from, and "
                f"{dict(self._left_out)} left out; give more clips with transcripts"
            )
        if len(self._aligned) < max(LEAST_ALIGNED * self._usable, 1):
            raise AlignError(
                f"{self._source}: the model aligns {len(self._aligned)} of {self._usable} clips; "
                "is it of this language, and for such speech?"
            )

    def learn(self, foreign: ForeignModel, started: float) -> ImportReport:
        """Learn the phone classifier and write all files but the report."""
        silence = check_silence(self._clips())
        if silence.drop_db < LEAST_SILENCE_DROP_DB or silence.loud_share > MOST_LOUD_SILENCE:
            raise AlignError(
                f"{self._source}: what the model takes for silence is not: it lies {silence.drop_db:.1f} dB under the "
                f"phones (at least {LEAST_SILENCE_DROP_DB:g} are asked for) and {100 * silence.loud_share:.0f} % of "
                f"it inside the clips is as loud as speech (at most {100 * MOST_LOUD_SILENCE:.0f} %); "
                "is the model of this language, and the dictionary in its phones?"
            )
        silent = silent_phones(self._clips())
        if silent:
            log.warning(
                "%s: phones that lie where the clips are as quiet as background: %s; does the dictionary, or what "
                "they stand in for, have sounds that nobody says?", self._source, " ".join(silent),
            )  # fmt: skip
        phone_model = PhoneModel.fit((observe(clip), raw.intervals) for clip, raw in self._clips())
        phone_model.save(self._out / PHONES)
        median_score = float(np.median([
            score(gather(phone_model, clip, observe(clip), raw.intervals, len(raw.words)))
            for clip, raw in self._clips()
        ]))  # fmt: skip
        if median_score < DEFAULT_THRESHOLD:
            log.warning(
                "%s: half of the clips score less than %.2f, the threshold is %.2f; is the dictionary in the model's "
                "phones?", self._source, median_score, DEFAULT_THRESHOLD,
            )  # fmt: skip
        phones = list(self._inventory.phones)
        write_json(
            self._out / FACTS,
            {
                "format": FORMAT,
                "language": self._lexicon.language,
                "recipe": RECIPE,
                "phones": phones,
                "hears_echoes": True,
            },
        )
        write_spoken(self._out / SPOKEN, ((word.word, word.pronunciations) for word in self._spoken))
        return ImportReport(
            language=self._lexicon.language,
            source=self._source.name,
            kind=foreign.kind,
            speaker_adapted=foreign.speaker_adapted,
            clips=len(self._aligned),
            unaligned=self._usable - len(self._aligned),
            left_out=dict(self._left_out),
            seconds_of_audio=round(self._seconds, 3),
            seconds_taken=round(time.monotonic() - started, 3),
            phones=len(phones),
            standing_in={phone: self._inventory.stand_in(phone) for phone in sorted(self._coverage.foreign)},
            words=self._coverage.words,
            out_of_dictionary=self._coverage.not_listed.total(),
            out_of_dictionary_words=dict(self._coverage.not_listed.most_common(100)),
            unpronounceable=dict(self._coverage.unsaid.most_common(100)),
            silence=silence,
            silent_phones=silent,
            median_score=round(median_score, 4),
            viter=version("viter"),
        )

    def _clips(self) -> Iterator[tuple[NDArray[np.float32], RawAlignment]]:
        for file, raw in self._aligned:
            yield np.load(file), raw

    def _align_batch(self, batch: list[TrainingClip]) -> None:
        transcripts = [clip.transcript for clip in batch]
        self._coverage.count(transcripts)
        durations = [clip.waveform.size / SAMPLE_RATE for clip in batch]
        padded, texts = [], []
        outcomes = prepare(self._lexicon, self._inventory, transcripts, durations)
        for clip, words, duration in zip(batch, outcomes, durations, strict=True):
            if isinstance(words, AlignmentFailure):
                self._left_out[words.reason] += 1
            elif not np.isfinite(clip.waveform).all():
                self._left_out["unusable_audio"] += 1
            elif self._usable < MOST_CLIPS:
                self._usable += 1
                self._seconds += duration
                padded.append(pad(clip.waveform))
                texts.append(words)
        if not padded:
            return
        tokens = TokenDictionary()
        lines = [tokens.line(word.pronunciations for word in words if word.pronunciations) for words in texts]
        tokens.write(self._dictionary)
        for waveform, words, raw in zip(padded, texts, self._model.align(padded, lines), strict=True):
            if raw is not None:
                file = self._scratch / f"{len(self._aligned)}.npy"
                np.save(file, waveform)
                self._aligned.append((file, raw))
                self._spoken += words


def _batches(clips: Iterable[TrainingClip]) -> Iterator[list[TrainingClip]]:
    left = iter(clips)
    while batch := list(islice(left, _BATCH)):
        yield batch
