"""A small release with audio, in any of the forms that a release may have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from numpy.typing import NDArray

from sift_ray.release.layout import shard_path
from sift_ray.release.samples import AUDIO
from sift_ray.schema import RELEASE

CLOSED, OPEN, TWO, SPOKEN = (
    "closed_ended_acoustic_level",
    "open_ended",
    "closed_ended_comparison",
    "controllable_generation",
)
FORMS = ("uris", "absolute", "embedded", "root", "jsonl")
RATE = 16_000


def tone(number: int) -> NDArray[np.int16]:
    """A second and a bit of a tone of its own, int16 at 16 kHz."""
    seconds = np.arange(RATE + 100 * number) / RATE
    return np.rint(8000 * np.sin(2 * np.pi * (200 + 50 * number) * seconds)).astype(np.int16)


def write_release(folder: Path, form: str = "uris", clips: int = 3) -> Path:
    """Write clips and a release about them into `folder`; return the release's folder.

    A question of CLOSED and of OPEN about each clip, one of TWO about each and the next, one of SPOKEN.
    """
    lying = folder / "clips"
    lying.mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        soundfile.write(lying / f"c{number}.wav", tone(number), RATE, subtype="PCM_16")
    release = folder / "release"
    for task in (CLOSED, OPEN, TWO, SPOKEN):
        rows = [_row(task, number, clips, lying, form) for number in range(clips)]
        path = release / shard_path("test", task, "en", 0, "jsonl" if form == "jsonl" else "parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "jsonl":
            kept = ("id", "messages", "task", "data_source")
            path.write_text("".join(f"{json.dumps({key: row[key] for key in kept})}\n" for row in rows))
        else:
            schema = pa.schema([*RELEASE, *([AUDIO] if form == "embedded" else [])])
            pq.write_table(pa.Table.from_pylist(rows, schema), path)
    (release / "README.md").write_text("# a card\n")
    return release


def question_of(task: str, number: int) -> str:
    return f"What of {task} {number}?"


def numbers_of(task: str, number: int, clips: int = 3) -> tuple[int, ...]:
    """The clips that a question is about."""
    return (number, (number + 1) % clips) if task == TWO else (number,)


def _row(task: str, number: int, clips: int, lying: Path, form: str) -> Mapping[str, Any]:
    names = [f"c{clip}" for clip in numbers_of(task, number, clips)]
    files = [lying / f"{name}.wav" for name in names]
    whole = form == "absolute"
    there = form in ("uris", "absolute")
    paths = [str(file) if whole else f"vctk_en/{file.name}" for file in files]
    audio = [{"text": None, "audio_path": path} for path in paths]
    text = [{"text": question_of(task, number), "audio_path": None}]
    user, assistant = (text, audio) if task == SPOKEN else (audio + text, [{"text": "So.", "audio_path": None}])
    return {
        "id": f"comparison_{names[0]}__{names[1]}" if task == TWO else names[0],
        "messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}],
        "task": task,
        "data_source": "vctk_en",
        "sample_id": f"s-{task}-{number}",
        "language": "en",
        "split": "test",
        "generator": "template",
        "evidence": [],
        "utterance_ids": names,
        # (a release that came from another machine names places that are not here)
        "audio_uris": [str(file) if there else f"/nowhere/{file.name}" for file in files],
        "audio": [{"bytes": file.read_bytes(), "path": path} for file, path in zip(files, paths, strict=True)],
    }
