"""The human recordings of `tests/real_speech/`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from sift_ray.schema import SAMPLE_RATE

FOLDER = Path(__file__).parent / "real_speech"


@dataclass(frozen=True)
class Recording:
    """One prompt: float32 [n] at 16 kHz (recorded at 8 kHz), and who says what."""

    name: str
    language: str
    speaker_id: str
    gender: str
    transcript: str
    samples: NDArray[np.float32]


def recordings(per_language: int = 50) -> list[Recording]:
    """Return the first `per_language` recordings of each of the four languages: 200 in all."""
    taken: dict[str, int] = {}
    found = []
    with (FOLDER / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            language = row["language"]
            taken[language] = taken.get(language, 0) + 1
            if taken[language] > per_language:
                continue
            samples, rate = sf.read(FOLDER / row["audio"], dtype="float32")
            wide = np.clip(soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32), -1.0, 1.0)
            found.append(Recording(row["id"], language, row["speaker_id"], row["gender"], row["transcript"], wide))
    return found
