"""What every alignment backend takes and gives, whatever does the work inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class AlignError(Exception):
    """Alignment can't work at all: a broken model, a missing library. One bad clip is never this."""


class TrainingError(AlignError):
    """No usable model came out of the training clips; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class AlignmentJob:
    """One clip to align: `waveform` is float32 mono at 16 kHz in [-1, 1], `transcript` as written."""

    waveform: NDArray[np.float32]
    transcript: str
    speaker_id: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingClip:
    """One clip to train on; as `AlignmentJob`, with its name for messages."""

    utterance_id: str
    speaker_id: str | None
    waveform: NDArray[np.float32]
    transcript: str


@dataclass(frozen=True, slots=True)
class WordSpan:
    """A word of the transcript and where it is spoken.

    `word` is as written less the punctuation around it, `position` counts from 1, times are seconds from
    the clip's start, `score` is 0 to 1. A word that can't be pronounced keeps its place with null times.
    `phone_starts_s` has the start of each of `phones` (each ends where the next starts, the last with the word), or is
    None where the backend places words only.
    """

    word: str
    position: int
    start_s: float | None
    end_s: float | None
    phones: list[str]
    score: float | None = None
    phone_starts_s: list[float] | None = None


@dataclass(frozen=True, slots=True)
class UtteranceAlignment:
    """All words of one clip in their order; `score` 0 to 1 is how far the alignment is to be believed.

    `phone_count` counts the phones that were aligned; None where the backend places words only.
    """

    words: list[WordSpan]
    score: float
    phone_count: int | None


@dataclass(frozen=True, slots=True)
class AlignmentFailure:
    """Why a clip has no alignment: `reason` is a slug to count by, `detail` is for a person.

    `score` is there when an alignment was found and not believed (`low_confidence`).
    """

    reason: str
    detail: str
    score: float | None = None


def believed(outcome: UtteranceAlignment | AlignmentFailure, min_score: float) -> UtteranceAlignment | AlignmentFailure:
    """Return `outcome`, or the failure `low_confidence` for an alignment that scores less than `min_score`."""
    if isinstance(outcome, UtteranceAlignment) and outcome.score < min_score:
        return AlignmentFailure(
            "low_confidence",
            f"score {outcome.score:.3f} is less than {min_score:g}: does the transcript belong to the clip?",
            outcome.score,
        )
    return outcome


@runtime_checkable
class Aligner(Protocol):
    """A loaded backend. The result has one entry a job, in the jobs' order, and depends on the job alone."""

    backend: str

    def align(self, language: str, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        """Align `jobs`, all in `language`; a bad job gives an `AlignmentFailure` and costs no other."""
        ...
