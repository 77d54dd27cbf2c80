"""Where viter puts words, against the exact word onsets of the synthetic corpus.

    python -m tests.benchmarks.align_accuracy [--minutes N] [--language xx] [--quick]

Writes a demo of N minutes (a fifth of it in each language), trains a model of each language on its clips, aligns the
same clips, and prints the errors of word onsets in ms.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from sift_ray.align.protocol import AlignmentJob, TrainingClip, UtteranceAlignment
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_training import train_model
from sift_ray.corpora.demo import write_demo
from sift_ray.schema import LANGUAGES, SAMPLE_RATE

MINUTES = 20.0
QUICK_MINUTES = 4.0
_WITHIN_MS = (20, 50, 100)
_WORST = 8


@dataclass(frozen=True, slots=True)
class DemoClip:
    """A clip of the demo and the truth about it."""

    clip: TrainingClip
    condition: str  # clean, noise, reverb, both
    voice: str
    onsets_s: tuple[float, ...]

    @property
    def job(self) -> AlignmentJob:
        """What an aligner is given."""
        return AlignmentJob(self.clip.waveform, self.clip.transcript, self.clip.speaker_id)


@dataclass(frozen=True, slots=True)
class WordError:
    """How far from its true onset a word was laid; positive is late."""

    clip: DemoClip
    word: str
    position: int
    ms: float


def demo_clips(root: Path, minutes: float, language: str, seed: int = 0) -> list[DemoClip]:
    """Write the demo at `root` unless it is there, and read the clips of `language` at 16 kHz."""
    truth = write_demo(root, seed=seed, minutes=minutes).truth
    onsets = {row["utterance_id"]: tuple(w["start_s"] for w in row["words"]) for row in _rows(truth / "words.jsonl")}
    clips = []
    for row in _rows(truth / "clips.jsonl"):
        if row["language"] == language:
            samples, rate = soundfile.read(root / row["path"], dtype="float32", always_2d=True)
            waveform = soxr.resample(samples[:, 0], rate, SAMPLE_RATE).astype(np.float32)
            clip = TrainingClip(row["utterance_id"], row["speaker_id"], waveform, row["text"])
            clips.append(DemoClip(clip, row["condition"], row["voice"], onsets[row["utterance_id"]]))
    return clips


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def word_errors(aligner: ViterAligner, language: str, clips: Sequence[DemoClip]) -> tuple[list[WordError], int]:
    """Align `clips`; return the errors of all words that were placed, and how many clips were not aligned."""
    errors = []
    failed = 0
    for true, outcome in zip(clips, aligner.align(language, [clip.job for clip in clips]), strict=True):
        if not isinstance(outcome, UtteranceAlignment):
            failed += 1
            continue
        for word, onset_s in zip(outcome.words, true.onsets_s, strict=True):
            if word.start_s is not None:
                errors.append(WordError(true, word.word, word.position, 1000 * (word.start_s - onset_s)))
    return errors, failed


def row(name: str, errors: Iterable[WordError]) -> str:
    """Return one line of the table: words, median absolute and median signed error, shares within 20, 50, 100 ms."""
    signed = np.array([error.ms for error in errors])
    if signed.size == 0:
        return f"  {name:<8}{0:>7}"
    shares = "".join(f"{100 * np.mean(np.abs(signed) <= limit):8.1f}" for limit in _WITHIN_MS)
    return f"  {name:<8}{signed.size:>7}{np.median(np.abs(signed)):9.1f}{np.median(signed):+8.1f}{shares}"


def _measure(root: Path, minutes: float, language: str, models: Path, seed: int) -> None:
    clips = demo_clips(root, minutes, language, seed)
    seconds = sum(true.clip.waveform.size for true in clips) / SAMPLE_RATE
    report = train_model(language, [true.clip for true in clips], models / language)
    aligner = ViterAligner({language: models / language}, min_score=0.0)
    started = time.monotonic()
    errors, failed = word_errors(aligner, language, clips)
    taken = time.monotonic() - started
    print(
        f"{language}: {len(clips)} clips, {seconds / 60:.1f} min and {report.seconds_of_seed / 60:.1f} min of seed "
        f"speech, {report.recipe}, {report.seconds_taken:.0f} s to train "
        f"({3600 * report.seconds_taken / seconds:.0f} s an hour of audio), aligned at {seconds / taken:.0f} times "
        f"real time, {failed} clips not aligned"
    )
    print(f"  {'':<8}{'words':>7}{'median':>9}{'bias':>8}" + "".join(f"{f'<={ms} %':>8}" for ms in _WITHIN_MS))
    by_condition = defaultdict(list)
    for error in errors:
        by_condition[error.clip.condition].append(error)
    for condition, own in sorted(by_condition.items()):
        print(row(condition, own))
    print(row("all", errors))
    worst = sorted(errors, key=lambda error: -abs(error.ms))[:_WORST]
    told = (f"{e.word} ({e.clip.clip.utterance_id} word {e.position}, {e.clip.condition}) {e.ms:+.0f}" for e in worst)
    print("  worst: " + "; ".join(told), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of demo, all languages together")
    parser.add_argument("--language", choices=LANGUAGES, action="append", help="only this (may be given again)")
    parser.add_argument("--seed", type=int, default=0, help="of the demo")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MINUTES:g} minutes of demo")
    options = parser.parse_args()
    minutes = QUICK_MINUTES if options.quick else options.minutes
    with tempfile.TemporaryDirectory(prefix="sift-ray-accuracy-") as scratch:
        for language in options.language or LANGUAGES:
            _measure(Path(scratch) / "demo", minutes, language, Path(scratch) / "models", options.seed)


if __name__ == "__main__":
    main()
