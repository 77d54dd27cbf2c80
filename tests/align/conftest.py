"""Models trained once on the demo's clips, whose words' places are known exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from sift_ray.align.protocol import AlignmentJob, TrainingClip
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_training import TrainingReport, train_model
from sift_ray.schema import SAMPLE_RATE


@dataclass(frozen=True)
class TrueClip:
    clip: TrainingClip
    onsets_s: tuple[float, ...]

    @property
    def job(self) -> AlignmentJob:
        return AlignmentJob(self.clip.waveform, self.clip.transcript, self.clip.speaker_id)


@dataclass(frozen=True)
class Trained:
    language: str
    folder: Path
    report: TrainingReport
    clips: list[TrueClip]

    def aligner(self, min_score: float | None = None) -> ViterAligner:
        return ViterAligner({self.language: self.folder}, min_score=min_score)


def _samples(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples[:, 0], rate, SAMPLE_RATE).astype(np.float32)


@pytest.fixture(scope="session")
def demo_clips(demo_corpora: Path) -> dict[str, list[TrueClip]]:
    """Four minutes of the demo: about fifty seconds of each language."""
    truth = demo_corpora / "truth"
    onsets = {}
    for line in (truth / "words.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        onsets[row["utterance_id"]] = tuple(word["start_s"] for word in row["words"])
    clips: dict[str, list[TrueClip]] = {}
    for line in (truth / "clips.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        clip = TrainingClip(row["utterance_id"], row["speaker_id"], _samples(demo_corpora / row["path"]), row["text"])
        clips.setdefault(row["language"], []).append(TrueClip(clip, onsets[row["utterance_id"]]))
    return clips


@pytest.fixture(scope="session")
def german_clips(demo_clips: dict[str, list[TrueClip]]) -> list[TrueClip]:
    return demo_clips["de"]


@pytest.fixture(scope="session")
def trained_on(
    demo_clips: dict[str, list[TrueClip]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Trained]:
    """Train a language when first asked for."""
    models: dict[str, Trained] = {}

    def train(language: str) -> Trained:
        if language not in models:
            clips = demo_clips[language]
            folder = tmp_path_factory.mktemp("align") / "models" / language
            report = train_model(language, [true.clip for true in clips], folder, seed=0)
            models[language] = Trained(language, folder, report, clips)
        return models[language]

    return train


@pytest.fixture(scope="session")
def trained(trained_on: Callable[[str], Trained]) -> Trained:
    return trained_on("de")
