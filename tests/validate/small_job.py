"""A small job that is right in every way: annotations, bins, and a release that follows from them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sift_ray.config import BinConfig
from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.ladder import run_request
from sift_ray.instruct.requests import Request, plan_requests
from sift_ray.instruct.writer import TemplateWriter
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.bins_file import write_bins
from sift_ray.metadata.rulers import Rulers
from sift_ray.pipeline.counts import count_annotations, count_instructions
from sift_ray.release.layout import shard_path
from sift_ray.release.samples import samples_of
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, RELEASE, TASKS, conform
from sift_ray.storage import LocalRoot

from ..report.finished_waves import write_wave

Row = dict[str, Any]

SENTENCES = {
    "en": ("the old lighthouse stands on the hill", "they walked along the river all morning"),
    "de": ("der alte leuchtturm steht auf dem hügel", "sie gingen den ganzen morgen am fluss entlang"),
    "fr": ("le vieux phare se dresse sur la colline", "ils ont marché toute la matinée"),
}
TALKS = tuple(SENTENCES)
SPLITS = ("train", "train", "train", "dev", "test")
EACH = 20  # utterances of a language
KEYS = ("id", "messages", "task", "data_source")


def write_job(folder: Path, audio: str = "/audio/{name}.flac") -> Path:
    """Write annotations, bins, instructions and a release (Parquet) into a folder that is not there yet; return it.

    Args:
        folder: of the job.
        audio: where each utterance's audio lies, by its `name`, or by its `number`: from 0 to `len(TALKS) * EACH` - 1.
    """
    rows = list(_utterances(audio))
    annotations = conform(pa.Table.from_pylist(rows, ANNOTATIONS), ANNOTATIONS)
    rulers = build_rulers(lambda: [annotations], BinConfig(min_count=5))
    root = LocalRoot(folder)
    write_wave(root, "annotations", 0, rows, ANNOTATIONS, count_annotations(annotations))
    root.put("bins.json", write_bins(rulers).encode())
    instructions = asyncio.run(_answered(annotations, rulers))
    write_wave(root, "instructions", 0, instructions.to_pylist(), INSTRUCTIONS, count_instructions(instructions))
    for task in pc.unique(instructions["task"]).to_pylist():
        samples = samples_of(instructions.filter(pc.equal(instructions["task"], task)), task)
        for group in samples.group_by(["split", "language"]).aggregate([]).to_pylist():
            mine = pc.and_(pc.equal(samples["split"], group["split"]), pc.equal(samples["language"], group["language"]))
            path = folder / "release" / shard_path(group["split"], task, group["language"], 0)
            path.parent.mkdir(parents=True)
            pq.write_table(samples.filter(mine), path)
    root.put("release/README.md", b"# a card\n")
    return folder


async def _answered(annotations: pa.Table, rulers: Rulers) -> pa.Table:
    tasks = {task: {"pairs": 3} for task in TASKS} | {"closed_ended_acoustic_level": {"pairs": 3, "unanswerable": 0.3}}
    config = InstructConfig.model_validate({"engine": "template", "tasks": tasks})
    requests = plan_requests(annotations, rulers, config).to_pylist()
    rows = [await run_request(Request.from_row(row), TemplateWriter(), None, config) for row in requests]
    return conform(pa.Table.from_pylist(rows, INSTRUCTIONS), INSTRUCTIONS)


def _utterances(audio: str) -> Iterator[Row]:
    random = np.random.default_rng(5)
    for language in TALKS:
        for number in range(EACH):
            speaker = number // 2
            sources = ("common_voice", "vctk" if language == "en" else "multilingual_librispeech")
            corpus = sources[speaker % 2]
            names = {
                "common_voice": f"common_voice_{language}_{9000 + number}",
                "vctk": f"p{300 + speaker}_{number:03d}",
                "multilingual_librispeech": f"{100 * TALKS.index(language) + speaker}_77_{number:06d}",
            }
            words = SENTENCES[language][number % 2].split()
            yield {
                "unit_id": 7_000_003 * (TALKS.index(language) * EACH + number) - 2**40,
                "utterance_id": names[corpus],
                "corpus": corpus,
                "data_source": f"{corpus}_{language}",
                "language": language,
                # (a speaker stays in one split: five pairs of them go to the splits in turn)
                "split": SPLITS[speaker // 2],
                "speaker_id": f"speaker {language} {speaker}",
                "gender": ("female", "male")[speaker % 2],
                "age": ("teens", "forties")[number % 2],
                "transcript": " ".join(words),
                "audio_uri": audio.format(name=names[corpus], number=TALKS.index(language) * EACH + number),
                "duration_s": 3.0,
                "status": "ok",
                "pitch_median_hz": random.normal(160, 20),
                "pitch_std_hz": random.normal(30, 8),
                "intensity_db": random.normal(60, 5),
                "speaking_rate_pps": random.normal(12, 2),
                "snr_db": random.normal(30, 8),
                "c50_db": random.normal(30, 8),
                "distortion": random.normal(3, 0.4),
                "quality": random.normal(3, 0.4),
                "words": [
                    {
                        "word": word,
                        "position": place,
                        "start_s": 0.3 * place,
                        "end_s": 0.3 * place + 0.2,
                        "pitch_mean_hz": random.normal(160, 20),
                        "pitch_std_hz": random.normal(20, 5),
                        "intensity_db": random.normal(60, 5),
                    }
                    for place, word in enumerate(words, 1)
                ],
            }


def edit(file: Path, change: Callable[[list[Row]], list[Row] | None], schema: pa.Schema = RELEASE) -> None:
    """Put other rows into a Parquet file: what `change` returns, or the list that it was given and changed."""
    rows = pq.read_table(file, partitioning=None).to_pylist()
    made = change(rows)
    pq.write_table(pa.Table.from_pylist(rows if made is None else made, schema=schema), file)


def question(row: Row) -> Row:
    """Return the part of a row's messages that holds the question."""
    return next(part for part in row["messages"][0]["content"] if part["text"] is not None)


def answer(row: Row) -> Row:
    """Return the part of a row's messages that holds the answer."""
    part: Row = row["messages"][1]["content"][0]
    return part


def publish(release: Path, target: Path) -> Path:
    """Write a copy of a release in the published layout: JSON lines of four keys; return its folder."""
    for file in sorted(release.rglob("*.parquet")):
        copy = (target / file.relative_to(release)).with_suffix(".jsonl")
        copy.parent.mkdir(parents=True, exist_ok=True)
        rows = pq.read_table(file, partitioning=None, columns=list(KEYS)).to_pylist()
        copy.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return target


def edit_lines(file: Path, change: Callable[[list[Row]], list[Row] | None]) -> None:
    """The same as `edit`, for JSON lines."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    made = change(rows)
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in (rows if made is None else made))
    file.write_text(text, encoding="utf-8")


def copied(job: Path, target: Path) -> Path:
    """Return a copy of a folder."""
    shutil.copytree(job, target)
    return target
