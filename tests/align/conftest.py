"""One German model, trained once on the demo's clips, whose words' places are known exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from sift_ray.align.protocol import AlignmentJob, TrainingClip
from sift_ray.align.viter_backend import TrainingReport, ViterAligner, train_model
from sift_ray.corpora.demo import write_demo
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
    folder: Path
    report: TrainingReport
    clips: list[TrueClip]

    def aligner(self, min_score: float | None = None) -> ViterAligner:
        return ViterAligner({"de": self.folder}, min_score=min_score)


def _samples(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples[:, 0], rate, SAMPLE_RATE).astype(np.float32)


@pytest.fixture(scope="session")
def german_clips(tmp_path_factory: pytest.TempPathFactory) -> list[TrueClip]:
    root = tmp_path_factory.mktemp("align") / "demo"
    truth = write_demo(root, seed=0, minutes=4).truth
    onsets = {}
    for line in (truth / "words.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        onsets[row["utterance_id"]] = tuple(word["start_s"] for word in row["words"])
    clips = []
    for line in (truth / "clips.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["language"] == "de":
            clip = TrainingClip(row["utterance_id"], row["speaker_id"], _samples(root / row["path"]), row["text"])
            clips.append(TrueClip(clip, onsets[row["utterance_id"]]))
    return clips


@pytest.fixture(scope="session")
def trained(german_clips: list[TrueClip], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("align") / "models" / "de"
    report = train_model("de", [true.clip for true in german_clips], folder, seed=0)
    return Trained(folder, report, german_clips)
