"""Train a viter model on clips and their transcripts: minutes of speech suffice.

Every clip counts as a speaker of its own, here as in aligning: an utterance's spans must not depend on which others
share its batch, and what is trained is what is aligned later. So speaker adaptation (fMLLR, recipe `triphone_sat`)
adapts to each clip alone, which helps none that has less than about five seconds of speech.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import soundfile
import viter
from numpy.typing import NDArray

from sift_ray.align.confidence import gather, score
from sift_ray.align.echoes import without_echoes
from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.phone_model import PhoneModel, observe
from sift_ray.align.protocol import AlignmentFailure, TrainingClip, TrainingError
from sift_ray.align.seed_speech import seed_speech
from sift_ray.align.signal import PAD_SAMPLES, pad
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
from sift_ray.corpora.demo_voice import SynthesisError
from sift_ray.schema import SAMPLE_RATE

__all__ = [
    "LEAST_SILENCE_DROP_DB",
    "MOST_LOUD_SILENCE",
    "Recipe",
    "SilenceCheck",
    "TrainingReport",
    "check_silence",
    "recipe_for",
    "train_model",
]

log = logging.getLogger(__name__)

Recipe = Literal["auto", "monophone", "triphone", "triphone_lda", "triphone_sat"]

TRIPHONE_S: Final = 900.0
LDA_S: Final = 3600.0
SEED_S: Final = 480.0
"""So much synthetic speech of the same texts goes along with the clips. English, 12.7 minutes of synthetic clips, share
of the words within 50 ms: 82 % without any, 91 % with 125 s of it, 94 % with 430 s."""
LEAST_CLIPS: Final = 2
_BATCH = 64
_CLASSIFIED_CLIPS = 2000  # the phone classifier needs no more


class TrainingLines:
    """Logs how far viter's training is, at most every `interval_s` seconds; viter calls it about ten times a second."""

    def __init__(self, language: str, interval_s: float = 15.0) -> None:
        self._language = language
        self._interval_s = interval_s
        self._told_at = time.monotonic()

    def __call__(self, info: Mapping[str, Any]) -> None:
        """Take viter's `progress` record."""
        now = time.monotonic()
        if now - self._told_at < self._interval_s:
            return
        self._told_at = now
        left = "no estimate yet" if info["eta"] is None else f"{info['eta']:.0f} s left"
        log.info("alignment model %s: %.0f %% trained, %s", self._language, 100 * info["fraction"], left)


class _SpeechAsSilenceError(TrainingError):
    pass


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """How training went; `report.json` holds the same."""

    language: str
    recipe: str
    clips: int
    speakers: int
    seconds_of_audio: float
    seconds_of_seed: float  # synthetic speech besides
    seconds_taken: float
    left_out: dict[str, int]  # clips by the reason that they were not trained on
    phones: int
    standing_in: dict[str, str | None]  # phones too rare to be taught, and as what they are taught
    unpronounceable: dict[str, int]
    unaligned: int  # training clips that the finished model finds no path for
    silence: SilenceCheck
    median_score: float
    seed: int
    viter: str


@dataclass(frozen=True, slots=True)
class _Text:
    file: Path
    transcript: str
    synthetic: bool
    words: list[SpokenWord]
    duration_s: float


_SWITCHES: Final[Mapping[str, Mapping[str, Any]]] = {
    # monophones share their states over the places in a word anyway
    "monophone": {"no_tri": True, "position_dependent": False},
    "triphone": {"no_lda": True, "no_sat": True},
    "triphone_lda": {"no_sat": True},
    "triphone_sat": {"sat_rounds": 1},
}


def recipe_for(seconds: float) -> str:
    """Return the recipe that `auto` takes for `seconds` of real speech.

    Measured on synthetic English, share of the words within 50 ms: with 4.2 minutes 92 % by monophones, 93 % by
    triphones (200 s of seed speech each); with 12.7 minutes 94 % by both, in a third of the time by monophones. LDA
    and speaker adaptation have not been measured: LDA is for hours, as in MFA's recipe, and adaptation is never
    taken by itself.
    """
    if seconds < TRIPHONE_S:
        return "monophone"
    return "triphone" if seconds < LDA_S else "triphone_lda"


def train_model(
    language: str,
    clips: Iterable[TrainingClip],
    out: Path,
    seed: int = 0,
    *,
    dictionary: Path | None = None,
    g2p: Path | None = None,
    recipe: Recipe = "auto",
    threads: int = 1,
) -> TrainingReport:
    """Train on `clips` and write the model's folder (see `viter_files`) to `out`, whole or not at all.

    Args:
        language: of the clips.
        clips: to train on; the waveforms go to a temporary folder, one at a time.
        out: the folder to write; one that is there is replaced.
        seed: of all that is drawn by chance.
        dictionary: pronunciations in MFA's or CMU's format; None: G2P alone.
        g2p: a G2P model for words that the dictionary lacks; None: espeak-ng.
        recipe: `monophone`, `triphone`, `triphone_lda` (with LDA and MLLT), `triphone_sat` (with fMLLR besides);
            `auto`: by how much there is (`recipe_for`).
        threads: how many threads viter may use.

    The same clips in the same order and the same seed give the same model. Clips that can't be used (no words,
    another script) are left out and counted.

    Raises:
        TrainingError: too few clips, viter failed, the silence that it learnt is speech, or a phone is silence.
        AlignError: the dictionary can't be used.
    """
    started = time.monotonic()
    limit_threads(threads)
    lexicon = Lexicon(language, dictionary, g2p)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with tempfile.TemporaryDirectory(prefix="sift-ray-train-") as scratch:
            trainer = _Trainer(language, lexicon, Path(scratch), partial, seed, recipe)
            trainer.gather(clips)
            report = trainer.train(started)
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


class _Trainer:
    def __init__(self, language: str, lexicon: Lexicon, scratch: Path, out: Path, seed: int, recipe: Recipe) -> None:
        self._language, self._lexicon, self._seed, self._recipe = language, lexicon, seed, recipe
        self._corpus, self._dictionary, self._out = scratch / "corpus", scratch / "dict.txt", out
        self._texts: list[_Text] = []
        self._left_out: Counter[str] = Counter()
        self._speakers: set[str | None] = set()

    def gather(self, clips: Iterable[TrainingClip]) -> None:
        """Write the usable clips, padded, to the corpus folder."""
        self._write(clips, synthetic=False)
        if len(self._texts) < LEAST_CLIPS:
            raise TrainingError(
                f"{self._language}: {len(self._texts)} usable clips to train an aligner on, and "
                f"{dict(self._left_out)} left out; give more clips with transcripts, or a trained model"
            )

    def train(self, started: float) -> TrainingReport:
        """Train and write all files but the report; once more with more synthetic speech if the silence is speech."""
        self._add_seed(SEED_S)
        try:
            return self._train_once(started)
        except _SpeechAsSilenceError as error:
            log.warning("%s; trying once more with more synthetic speech", error)
        self._add_seed(SEED_S)
        return self._train_once(started)

    def _add_seed(self, seconds: float) -> None:
        if seconds > 0:
            texts = [text.transcript for text in self._texts if not text.synthetic]
            clips = seed_speech(self._language, texts, seconds, self._seed + len(self._texts))
            try:
                self._write(clips, synthetic=True)
            except SynthesisError as error:
                raise TrainingError(f"{self._language}: no seed speech could be made: {error}") from error

    def _seconds(self, *, synthetic: bool) -> float:
        return sum(text.duration_s for text in self._texts if text.synthetic == synthetic)

    def _write(self, clips: Iterable[TrainingClip], *, synthetic: bool) -> None:
        for batch in _batches(clips):
            durations = [clip.waveform.size / SAMPLE_RATE for clip in batch]
            outcomes = prepare(self._lexicon, None, [clip.transcript for clip in batch], durations)
            for clip, words, duration in zip(batch, outcomes, durations, strict=True):
                if isinstance(words, AlignmentFailure):
                    self._left_out[words.reason] += 1
                elif not np.isfinite(clip.waveform).all():
                    self._left_out["non_finite"] += 1
                else:
                    self._add(clip, words, duration, synthetic)

    def _add(self, clip: TrainingClip, words: list[SpokenWord], duration: float, synthetic: bool) -> None:
        # viter takes cepstral means by folder; a clip is aligned by its own later, so it is trained by its own
        folder = self._corpus / f"c{len(self._texts):06d}"
        folder.mkdir(parents=True)
        file = folder / "clip.wav"
        padded = pad(clip.waveform)
        heard = without_echoes(padded, PAD_SAMPLES)
        soundfile.write(file, heard, SAMPLE_RATE, subtype="FLOAT")
        if heard is not padded:
            np.save(_as_it_is(file), padded)
        self._texts.append(_Text(file, clip.transcript, synthetic, words, duration))
        if not synthetic:
            self._speakers.add(clip.speaker_id)

    def _train_once(self, started: float) -> TrainingReport:
        counts = Counter(p for text in self._texts for w in text.words for p in _likeliest(w))
        inventory = Inventory.of_counts(counts)
        tokens = TokenDictionary()
        lines = [_line(text.words, inventory, tokens) for text in self._texts]
        for text, line in zip(self._texts, lines, strict=True):
            text.file.with_suffix(".txt").write_text(line, encoding="utf-8")
        tokens.write(self._dictionary)
        seconds, seed_s = self._seconds(synthetic=False), self._seconds(synthetic=True)
        recipe = recipe_for(seconds) if self._recipe == "auto" else self._recipe
        try:
            viter.train(
                self._corpus, self._out / MODEL, dict=self._dictionary, seed=self._seed, cpu=True, quiet=True,
                no_pron_probs=True, progress=TrainingLines(self._language), **_SWITCHES[recipe],
            )  # fmt: skip
        except viter.ViterError as error:
            raise TrainingError(f"{self._language}: viter could not train on {seconds:.0f} s: {error}") from error
        model = ViterModel(self._out / MODEL, self._dictionary)
        real = [index for index, text in enumerate(self._texts) if not text.synthetic]
        aligned = [
            (file, raw)
            for file, raw in self._align(model, [(self._texts[i].file, lines[i]) for i in real])
            if raw is not None
        ]
        silence = self._check(aligned)
        phone_model, median_score = self._learn_phones(aligned[:_CLASSIFIED_CLIPS])
        phone_model.save(self._out / PHONES)
        known = sorted(model.phones & set(inventory.phones))
        write_json(
            self._out / FACTS,
            {"format": FORMAT, "language": self._language, "recipe": recipe, "phones": known, "hears_echoes": False},
        )
        write_spoken(self._out / SPOKEN, ((w.word, w.pronunciations) for text in self._texts for w in text.words))
        unpronounceable = Counter(w.word for t in self._texts for w in t.words if not w.pronunciations)
        return TrainingReport(
            language=self._language,
            recipe=recipe,
            clips=len(real),
            speakers=len(self._speakers),
            seconds_of_audio=round(seconds, 3),
            seconds_of_seed=round(seed_s, 3),
            seconds_taken=round(time.monotonic() - started, 3),
            left_out=dict(self._left_out),
            phones=len(known),
            standing_in={p: inventory.stand_in(p) for p in sorted(counts) if inventory.stand_in(p) != p},
            unpronounceable=dict(unpronounceable.most_common(100)),
            unaligned=len(real) - len(aligned),
            silence=silence,
            median_score=median_score,
            seed=self._seed,
            viter=version("viter"),
        )

    def _align(
        self, model: ViterModel, items: Sequence[tuple[Path, str]]
    ) -> Iterator[tuple[Path, RawAlignment | None]]:
        for first in range(0, len(items), _BATCH):
            batch = items[first : first + _BATCH]
            found = model.align([_read(file) for file, _ in batch], [line for _, line in batch])
            yield from zip((file for file, _ in batch), found, strict=True)

    def _check(self, aligned: Sequence[tuple[Path, RawAlignment]]) -> SilenceCheck:
        if not aligned:
            raise TrainingError(f"{self._language}: the trained model aligns none of its own clips")
        check = check_silence((_read(file), raw) for file, raw in aligned)
        if check.drop_db < LEAST_SILENCE_DROP_DB or check.loud_share > MOST_LOUD_SILENCE:
            raise _SpeechAsSilenceError(
                f"{self._language}: the silence that was learnt is not silence: it lies {check.drop_db:.1f} dB under "
                f"the phones (at least {LEAST_SILENCE_DROP_DB:g} are asked for) and {100 * check.loud_share:.0f} % of "
                f"it inside the clips is as loud as speech (at most {100 * MOST_LOUD_SILENCE:.0f} %); "
                "do the transcripts belong to these clips, and are the clips not all noise?"
            )
        silent = silent_phones((_read(file), raw) for file, raw in aligned)
        if silent:
            told = ", ".join(f"{phone} ({100 * share:.0f} % of it)" for phone, share in silent.items())
            raise _SpeechAsSilenceError(
                f"{self._language}: phones were learnt as silence, they lie where the clips are as quiet as their "
                f"background: {told}; do the transcripts, and the dictionary if one is given, have sounds that nobody "
                "says?"
            )
        return check

    def _learn_phones(self, aligned: Sequence[tuple[Path, RawAlignment]]) -> tuple[PhoneModel, float]:
        model = PhoneModel.fit((observe(_read_as_it_is(file)), raw.intervals) for file, raw in aligned)
        scores = []
        for file, raw in aligned:
            clip = _read_as_it_is(file)
            scores.append(score(gather(model, clip, observe(clip), raw.intervals, len(raw.words))))
        return model, round(float(np.median(scores)), 4)


def _likeliest(word: SpokenWord) -> Sequence[str]:
    return word.pronunciations[0] if word.pronunciations else ()


def _line(words: Sequence[SpokenWord], inventory: Inventory, tokens: TokenDictionary) -> str:
    told = ((inventory.translate(phones) for phones in word.pronunciations) for word in words)
    forms = (tuple(dict.fromkeys(phones for phones in word if phones)) for word in told)
    return " ".join(tokens.token(word) for word in forms if word)


def _read(file: Path) -> NDArray[np.float32]:
    samples, _ = soundfile.read(file, dtype="float32")
    return np.asarray(samples, np.float32)


def _as_it_is(file: Path) -> Path:
    """Return where a padded clip lies whose echo was taken off in `file`: the phone classifier hears that one."""
    return file.with_suffix(".npy")


def _read_as_it_is(file: Path) -> NDArray[np.float32]:
    return np.asarray(np.load(_as_it_is(file)), np.float32) if _as_it_is(file).exists() else _read(file)


def _batches(clips: Iterable[TrainingClip]) -> Iterator[list[TrainingClip]]:
    batch: list[TrainingClip] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
