"""The job that `tests.benchmarks.instruct` runs: synthetic annotations of sentences that the demo's voices read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import yaml

from sift_ray.config import BinConfig, Config
from sift_ray.config_file import parse_config
from sift_ray.instruct.requests import Request
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import Rulers
from sift_ray.pipeline.instruct import plan_wave
from sift_ray.schema import AGES, ANNOTATIONS, MEASURES, conform
from sift_ray.storage import LocalRoot, read_manifest, wave_files
from tests.report.finished_waves import write_wave

DEMO = Path(__file__).parents[2] / "jobs" / "demo.yaml"
TIMED, WARM_UP = 0, 1
"""Waves: whose requests are timed, and whose an engine answers before."""

PROSE: Mapping[str, Any] = {"constrain": "json", "facts_per_request": None}
PROSE_TASK: Mapping[str, Any] = {"pairs": 3}
PROSE_TOKENS = 512
SPLIT = "train"


class Job(NamedTuple):
    """What every arm is given; `config` is the demo's, but every request goes to the model and none is repeated."""

    folder: Path
    config: Config
    root: LocalRoot
    rulers: Rulers
    engine_core: int | None = None
    """The only core of vLLM's own processes; None: the system may use any."""

    @property
    def model(self) -> str:
        """The name of the model, as a config has it."""
        return self.config.instruct.models["default"]

    def requests(self, wave: int) -> pa.Table:
        """Return the requests of a wave (`schema.REQUESTS`); of `WARM_UP` one of each task and language."""
        manifest = read_manifest(self.root, "annotations", wave)
        assert manifest is not None
        files = wave_files(self.root, manifest)
        _, table = plan_wave(files, self.root, self.rulers, self.config.instruct, self.model)
        if wave == TIMED:
            return table
        kinds = list(zip(*(table[name].to_pylist() for name in ("task", "language")), strict=True))
        return table.take(pa.array([kinds.index(kind) for kind in sorted(set(kinds))], pa.int64()))

    def asked(self, wave: int) -> list[Request]:
        """Return the same as objects."""
        return [Request.from_row(row) for row in self.requests(wave).to_pylist()]


def settings(
    output: Path, tasks: Sequence[str], *, constrain: str, threads: int, sequences: int, retries: int
) -> dict[str, Any]:
    """Return the config as a document: that of the demo, with what makes arms comparable."""
    document: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    section = document["instruct"]
    known = section["tasks"]
    section |= {"fallback": "none", "retries": retries, "constrain": constrain}
    every = {"engine_share": 1.0, **(PROSE_TASK if constrain == "json" else {})}
    section["tasks"] = {task: known[task] | every if task in tasks else {"fraction": 0.0} for task in known}
    if constrain == "json":
        section |= PROSE
        section["sampling"]["max_tokens"] = PROSE_TOKENS
    section["vllm"] |= {"cpu_threads": threads, "max_num_seqs": sequences}
    return document | {"output": str(output)}


def write_job(folder: Path, document: Mapping[str, Any], requests: int, languages: Sequence[str]) -> None:
    """Write the config, and annotations that about so many requests are planned from."""
    tasks = sum(section.get("fraction", 1.0) > 0 for section in document["instruct"]["tasks"].values())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(yaml.safe_dump(dict(document)), encoding="utf-8")
    root = LocalRoot(str(document["output"]))
    count = max(-(-requests // tasks), 2 * len(languages))
    for wave, rows in ((TIMED, count), (WARM_UP, 4 * len(languages))):
        write_wave(root, "annotations", wave, utterances(rows, languages, wave), ANNOTATIONS)


def read_job(folder: Path, engine_core: int | None = None) -> Job:
    """Read what `write_job` wrote."""
    text = (folder / "job.yaml").read_text(encoding="utf-8")
    config = parse_config(text, "job.yaml")
    root = LocalRoot(config.output)
    rows = utterances(1000, sorted(_sentences()), TIMED)
    table = conform(pa.Table.from_pylist(rows, ANNOTATIONS), ANNOTATIONS)
    return Job(folder, config, root, build_rulers(lambda: [table], BinConfig(min_count=8)), engine_core)


def _sentences() -> dict[str, list[str]]:
    source = resources.files("sift_ray.corpora").joinpath("demo_sentences.yaml").read_text(encoding="utf-8")
    sentences: dict[str, list[str]] = yaml.safe_load(source)
    return sentences


def utterances(count: int, languages: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return so many rows of `schema.ANNOTATIONS`, the same for the same arguments; languages take turns."""
    random = np.random.default_rng(seed)
    sentences = _sentences()

    def around(column: str) -> float:
        _, _, low, high = MEASURES[column]
        return float((low + high) / 2 + (high - low) / 8 * random.standard_normal())

    rows = []
    for number in range(count):
        language = languages[number % len(languages)]
        said = sentences[language]
        transcript = said[number // len(languages) % len(said)]
        words = [
            {"word": word.strip(".,;:!?"), "position": place, "start_s": 0.4 * place, "end_s": 0.4 * place + 0.3}
            | {"pitch_mean_hz": around("pitch_mean_hz"), "pitch_std_hz": around("pitch_std_hz")}
            | {"intensity_db": around("intensity_db")}
            for place, word in enumerate(transcript.split(), 1)
        ]
        measured = {attribute.column: around(attribute.column) for attribute in ATTRIBUTES.values()}
        rows.append(
            {
                "unit_id": int(random.integers(2**62)),
                "utterance_id": f"{seed}-{number}",
                "corpus": "demo",
                "data_source": f"demo_{language}",
                "language": language,
                "split": SPLIT,
                "speaker_id": str(number),
                "gender": ("female", "male")[number % 2],
                "age": AGES[int(random.integers(len(AGES)))],
                "transcript": transcript,
                "audio_uri": f"/{seed}/{number}.wav",
                "duration_s": 0.4 * len(words) + 1,
                "status": "ok",
                "words": words,
            }
            | measured
        )
    return rows
