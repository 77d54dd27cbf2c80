"""A small job on human recordings, measured by the code of `annotate`, with bins and a release that follow from it.

The recordings are quieter by 12 dB, so that they can be made louder without clipping.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile as sf

from sift_ray.config import Config
from sift_ray.config_align import AlignConfig
from sift_ray.config_file import parse_config
from sift_ray.instruct.ladder import run_request
from sift_ray.instruct.requests import Request, plan_requests
from sift_ray.instruct.writer import TemplateWriter
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.bins_file import write_bins
from sift_ray.metadata.rulers import Rulers
from sift_ray.pipeline.annotate_actors import Aligning, Measuring
from sift_ray.pipeline.decoding import decode_batch
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.stages import annotate_stage
from sift_ray.pipeline.waves import check_ingredients
from sift_ray.release.layout import shard_path
from sift_ray.release.samples import samples_of
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, SAMPLE_RATE, TASKS, UTTERANCES, conform
from sift_ray.storage import LocalRoot, read_json

from ..human_speech import recordings
from ..report.finished_waves import write_wave

EACH = 24  # utterances of a language
LEAST_S = 1.5
QUIETER = 0.25

YAML = """\
output: {output}
corpora: [{{type: mls, name: prompts, path: /nowhere}}]
annotate:
  decode: {{min_s: 0.2}}
  features: {{quality: none, room: none, pitch_floor: 70}}
  align: {{backend: none}}
bin: {{min_count: 5}}
instruct:
  engine: template
  tasks:
    closed_ended_acoustic_level: {{pairs: 1}}
    closed_ended_content_level: {{pairs: 1}}
    closed_ended_word_align: {{fraction: 0}}
    closed_ended_comparison: {{pairs: 1, fraction: 0.5}}
    open_ended: {{pairs: 1}}
    controllable_generation: {{pairs: 2}}
"""


def write_job(folder: Path) -> Config:
    """Write annotations, bins and a release, all of it of the split `test`, into a folder; return the job's config."""
    config = parse_config(YAML.format(output=folder), "job.yaml", check_paths=False)
    root = LocalRoot(folder)
    utterances = conform(pa.Table.from_pylist(_utterances(folder / "clips"), UTTERANCES), UTTERANCES)
    decoded = decode_batch(utterances, config.annotate.decode, config.storage)
    measured = Measuring(config.annotate.features)(decoded)
    places = {language: ModelPlace(None) for language in pc.unique(utterances["language"]).to_pylist()}
    annotations = Aligning(AlignConfig(backend="none"), root, places, Progress())(measured)
    rulers = build_rulers(lambda: [annotations], config.bin)
    check_ingredients(root, annotate_stage(config, "0", {}))
    write_wave(root, "annotations", 0, annotations.to_pylist(), ANNOTATIONS)
    write_job_bins(root, rulers)
    requests = plan_requests(annotations, rulers, config.instruct).to_pylist()

    async def answered() -> list[dict[str, Any]]:
        writer = TemplateWriter()
        return [await run_request(Request.from_row(row), writer, None, config.instruct) for row in requests]

    instructions = conform(pa.Table.from_pylist(asyncio.run(answered()), INSTRUCTIONS), INSTRUCTIONS)
    for task in TASKS:
        samples = samples_of(instructions.filter(pc.equal(instructions["task"], task)), task)
        for language in pc.unique(samples["language"]).to_pylist():
            path = folder / "release" / shard_path("test", task, language, 0)
            path.parent.mkdir(parents=True)
            pq.write_table(samples.filter(pc.equal(samples["language"], language)), path)
    return config


def write_job_bins(root: LocalRoot, rulers: Rulers) -> None:
    """Write bins.json as `bin` does, with what it was made from."""
    record = read_json(root, "annotations/_STAGE.json")
    assert record is not None
    document = {**json.loads(write_bins(rulers)), "made_from": {"annotations": record["fingerprint"]}}
    root.put("bins.json", json.dumps(document).encode())


def _utterances(folder: Path) -> list[dict[str, Any]]:
    folder.mkdir(parents=True)
    taken: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for clip in recordings():
        seconds = clip.samples.size / SAMPLE_RATE
        if seconds < LEAST_S or taken.get(clip.language, 0) == EACH:
            continue
        taken[clip.language] = taken.get(clip.language, 0) + 1
        path = folder / f"{clip.name}.wav"
        sf.write(path, clip.samples * QUIETER, SAMPLE_RATE)
        rows.append(
            {
                "unit_id": 1_000_003 * (len(rows) + 1),
                "utterance_id": clip.name,
                "corpus": "prompts",
                "data_source": f"prompts_{clip.language}",
                "language": clip.language,
                "split": "test",
                "speaker_id": clip.speaker_id,
                "gender": clip.gender,
                "transcript": clip.transcript,
                "audio_uri": str(path),
                "duration_s": seconds,
                "status": "ok",
            }
        )
    return rows
