"""What became of the questions of a run, in numbers and for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sift_ray.evaluate.predict_file import PredictionFile
from sift_ray.evaluate.samples import GENERATION


@dataclass(slots=True)
class Outcome:
    """What became of the questions.

    Attributes:
        asked: how many there are.
        before: had a prediction of an earlier run.
        predicted: got one now.
        cut: of these, ended at `max_tokens`.
        missing: reasons of those that have none.
        skipped: samples for speech generators, of which no text can be predicted.
    """

    asked: int = 0
    before: int = 0
    predicted: int = 0
    cut: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    skipped: int = 0

    @property
    def tried(self) -> int:
        """How many were asked now, with or without success."""
        return self.predicted + self.missing.total()

    @property
    def complete(self) -> bool:
        """Whether all that was asked for is there."""
        return self.before + self.predicted == self.asked


def readable(outcome: Outcome, file: PredictionFile, notes: Mapping[str, str]) -> str:
    """Return the outcome for a person, a line each."""
    lines = [f"{outcome.before + outcome.predicted:,} of {outcome.asked:,} predictions are in {file.path}"]
    if outcome.before:
        lines.append(f"{outcome.before:,} of them were there before")
    if outcome.cut:
        lines.append(f"{outcome.cut:,} answers were cut at --max-tokens")
    if outcome.skipped:
        lines.append(f"{outcome.skipped:,} samples of {GENERATION} skipped: they are for models that generate speech")
    lines += [f"{name}: {note}" for name, note in notes.items()]
    lines += [f"{count:,} missing: {reason}" for reason, count in sorted(outcome.missing.items())]
    if outcome.missing:
        lines.append(f"what went wrong with each is in {file.rejects}; run the same command to try them again")
    return "\n".join(lines)
