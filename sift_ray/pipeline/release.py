"""release: accepted pairs become samples, one writer a task and language, in the reference's folders.

Each writer goes through the waves in order and sorts a wave's rows by identity, so the same instructions give the
same files, row for row. `release.json` is put last; without it the folder does not count and is made again.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from sift_ray.config import Config
from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engines import models_for
from sift_ray.instruct.template_engine import TEMPLATE
from sift_ray.pipeline.labelling import FROM_CORPUS
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.progress import Pace
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import LostRowsError, finished_waves, raise_stale, sync
from sift_ray.release.card import dataset_card
from sift_ray.release.layout import shard_path
from sift_ray.release.samples import samples_of
from sift_ray.schema import RELEASE, TASKS
from sift_ray.storage import (
    LocalRoot,
    OutputRoot,
    StorageError,
    WaveManifest,
    fingerprint,
    put_json,
    read_json,
    read_manifest,
    read_table,
    wave_files,
)

log = logging.getLogger(__name__)

RELEASE_NAME = "release.json"
FOLDER = "release"
RELEASING_VERSION = 1
_ROW_GROUP_ROWS = 10_000


def run_release(session: RaySession, config: Config, root: OutputRoot, plan: Plan) -> dict[str, Any]:
    """Write the release, or return the record of the one there is.

    Raises:
        StaleOutputError: the release there was made from other instructions or options.
        StorageError: a wave of instructions is missing.
    """
    manifests = finished_waves(root, "instructions", plan.waves, "sift-ray instruct")
    ingredients = {
        "release": config.release.model_dump(mode="json"),
        "instructions": manifests[0].fingerprint,
        "releasing_version": RELEASING_VERSION,
    }
    done = read_json(root, RELEASE_NAME)
    if done is not None and done["complete"]:
        if done["fingerprint"] != fingerprint(ingredients):
            raise_stale(root, FOLDER, done["ingredients"], ingredients)
        return done
    if done is None and root.names(FOLDER):
        raise StorageError(f"{root.uri}/{FOLDER} holds something that no job has put there: take another `output`")
    record: dict[str, Any] = {"complete": False, "fingerprint": fingerprint(ingredients), "ingredients": ingredients}
    put_json(root, RELEASE_NAME, record)  # from here on the folder is ours to delete
    root.delete(FOLDER)
    session.ensure(FOLDER)
    written = _write_all(root, manifests, config.release.rows_per_file)
    record |= {"complete": True, **written}
    session.check()
    root.put(f"{FOLDER}/README.md", _card(config, root, record).encode())
    put_json(root, RELEASE_NAME, record)
    log.info("release: %s samples in %s/%s", f"{sum(record['rows'].values()):,}", root.uri, FOLDER)
    return record


def _write_all(root: OutputRoot, manifests: list[WaveManifest], rows_per_file: int) -> dict[str, Any]:
    """Write every task and language, largest first; return rows, generators and data sources.

    Raises:
        LostRowsError: what was written is not what the manifests say was accepted.
    """
    waves = [wave_files(root, manifest) for manifest in manifests]
    accepted = _accepted(manifests)
    order = sorted(accepted, key=lambda group: (-accepted[group], TASKS.index(group[0]), group[1]))
    tasks = [_write.remote(root, waves, task, language, rows_per_file) for task, language in order]
    rows: dict[str, int] = {}
    generators: dict[str, int] = {}
    sources: set[str] = set()
    pace = Pace("release", len(tasks))
    while tasks:
        ready, tasks = ray.wait(tasks, num_returns=1)
        written, by_generator, seen = ray.get(ready[0])
        rows.update(written)
        sources |= seen
        for generator, count in by_generator.items():
            generators[generator] = generators.get(generator, 0) + count
        pace.step()
    for (task, language), count in accepted.items():
        out = sum(number for label, number in rows.items() if label.endswith(f"/{task}/{language}"))
        if out != count:
            raise LostRowsError(f"release: {count:,} pairs of {task} in {language} were accepted, {out:,} written")
    return {
        "rows": dict(sorted(rows.items())),
        "generators": dict(sorted(generators.items())),
        "data_sources": sorted(sources),
    }


def _accepted(manifests: list[WaveManifest]) -> dict[tuple[str, str], int]:
    """Return how many pairs of each (task, language) were accepted, by the manifests' counts."""
    sizes: dict[tuple[str, str], int] = {}
    for manifest in manifests:
        for label, count in manifest.counts.get("pairs", {}).items():
            task, language, *_, fate = label.split("/")
            if fate == "accepted":
                sizes[task, language] = sizes.get((task, language), 0) + int(count)
    return sizes


@ray.remote(num_cpus=1, max_retries=2)
def _write(
    root: OutputRoot, waves: list[list[str]], task: str, language: str, rows_per_file: int
) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """Write one task and language; return rows by `split/task/language`, rows by generator, and data sources."""
    generators: dict[str, int] = {}
    sources: set[str] = set()
    with ExitStack() as stack:
        writers: dict[str, _RollingWriter] = {}
        for files in waves:
            samples = _wave_samples(root, files, task, language)
            for value in samples["generator"].value_counts().to_pylist():
                generators[value["values"]] = generators.get(value["values"], 0) + value["counts"]
            sources.update(samples["data_source"].unique().to_pylist())
            for split in sorted(samples["split"].unique().to_pylist()):
                if split not in writers:
                    writers[split] = stack.enter_context(_RollingWriter(root, split, task, language, rows_per_file))
                writers[split].write(samples.filter(pc.equal(samples["split"], split)))
        rows = {f"{split}/{task}/{language}": writer.rows for split, writer in writers.items()}
    return rows, generators, sources


def _wave_samples(root: OutputRoot, files: list[str], task: str, language: str) -> pa.Table:
    """Return the samples of one wave, task and language, sorted by identity."""
    wanted = (pc.field("task") == task) & (pc.field("language") == language)
    tables = [read_table(root, file, filters=wanted) for file in files]
    return samples_of(pa.concat_tables(tables).sort_by("unit_id"), task)


class _RollingWriter:
    """Writes Parquet files of a bounded number of rows, one after another, in row groups of a fixed size."""

    def __init__(self, root: OutputRoot, split: str, task: str, language: str, rows_per_file: int) -> None:
        self._root = root
        self._where = (split, task, language)
        self._rows_per_file = rows_per_file
        self._writer: pq.ParquetWriter | None = None
        self._path = ""
        self._waiting: list[pa.Table] = []
        self._files = 0
        self._in_file = 0
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush(0)
        self._close()

    def write(self, table: pa.Table) -> None:
        """Append `table`; whole row groups are written, the rest waits."""
        self.rows += table.num_rows
        self._waiting.append(table)
        self._flush(_ROW_GROUP_ROWS)

    def _flush(self, least: int) -> None:
        """Write while at least `least` rows wait (and any do)."""
        waiting = pa.concat_tables(self._waiting) if self._waiting else None
        while waiting is not None and waiting.num_rows >= max(least, 1):
            if self._writer is None:
                self._writer = self._open()
            piece = waiting.slice(0, min(_ROW_GROUP_ROWS, self._rows_per_file - self._in_file))
            self._writer.write_table(piece, row_group_size=_ROW_GROUP_ROWS)
            waiting = waiting.slice(piece.num_rows)
            self._in_file += piece.num_rows
            if self._in_file >= self._rows_per_file:
                self._close()
        self._waiting = [waiting] if waiting is not None and waiting.num_rows else []

    def _open(self) -> pq.ParquetWriter:
        self._path = self._root.locate(f"{FOLDER}/{shard_path(*self._where, self._files)}")
        filesystem = self._root.filesystem
        if isinstance(self._root, LocalRoot):
            filesystem.create_dir(self._path.rpartition("/")[0], recursive=True)
        self._files += 1
        self._in_file = 0
        return pq.ParquetWriter(self._path, RELEASE, filesystem=filesystem, compression="zstd", write_page_index=True)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if isinstance(self._root, LocalRoot):
                sync(Path(self._path))


def _card(config: Config, root: OutputRoot, record: dict[str, Any]) -> str:
    rows = {tuple(label.split("/")): count for label, count in record["rows"].items()}
    annotations = read_manifest(root, "annotations", 0)
    backends = {} if annotations is None else annotations.versions
    return dataset_card(
        config.release.name,
        rows,
        record["generators"],
        corpus_licenses(config),
        {
            "pipeline": f"sift-ray {backends.get('sift-ray', '')}".strip(),
            "fingerprint": f"`{record['fingerprint']}`",
            "quality and distortion": config.annotate.features.quality,
            "noise and reverberation": config.annotate.features.room,
            **{
                f"{label.column} where the corpus gives none": label.model
                for label in config.annotate.features.labels
                if label.column in FROM_CORPUS
            },
            "alignment": config.annotate.align.backend,
            # (frozen bins bring their own method)
            "bins": config.bin.method if config.bin.frozen is None else f"frozen, {config.bin.frozen}",
            "language models": ", ".join(_models(config.instruct)) or "none",
        },
    )


def _models(config: InstructConfig) -> list[str]:
    """Return the names of all models that wrote or judged."""
    if config.engine == TEMPLATE:
        return []
    return sorted({name for model in config.models.values() for name in models_for(model, config)})


_KNOWN_LICENSES = {
    "mls": "CC BY 4.0",
    "common_voice": "CC0 1.0",
    "vctk": "CC BY 4.0",
    "demo": "CC0 1.0 (synthetic speech)",
}


def corpus_licenses(config: Config) -> dict[str, str]:
    """Return each corpus's licence: the config's word, else that of its publisher, else `not stated`."""
    return {
        corpus.name: getattr(corpus, "license", None) or _KNOWN_LICENSES.get(corpus.type, "not stated")
        for corpus in config.corpora
    }
