"""release: accepted pairs become samples, one writer a task and language, in the reference's folders.

Each writer goes through the waves in order and sorts a wave's rows by identity, so the same instructions give the
same files, row for row. `release.json` is put last; without it the folder does not count and is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from sift_ray.config import Config
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import raise_stale
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
    manifests = list(_instruction_waves(root, plan))
    ingredients = {
        "release": config.release.model_dump(mode="json"),
        "instructions": manifests[0].fingerprint,
        "releasing_version": RELEASING_VERSION,
    }
    done = read_json(root, RELEASE_NAME)
    if done is not None:
        if done["fingerprint"] != fingerprint(ingredients):
            raise_stale(root, FOLDER, done["ingredients"], ingredients)
        return done
    root.delete(FOLDER)
    session.ensure()
    waves = [wave_files(root, manifest) for manifest in manifests]
    tasks = [
        _write.options(name=f"release {task} {language}").remote(
            root, waves, task, language, config.release.rows_per_file
        )
        for task, language in _groups(manifests)
    ]
    rows: dict[str, int] = {}
    generators: dict[str, int] = {}
    sources: set[str] = set()
    while tasks:
        ready, tasks = ray.wait(tasks, num_returns=1)
        written, by_generator, seen = ray.get(ready[0])
        rows.update(written)
        sources |= seen
        for generator, count in by_generator.items():
            generators[generator] = generators.get(generator, 0) + count
    record = {
        "fingerprint": fingerprint(ingredients),
        "ingredients": ingredients,
        "rows": dict(sorted(rows.items())),
        "generators": dict(sorted(generators.items())),
        "data_sources": sorted(sources),
    }
    root.put(f"{FOLDER}/README.md", _card(config, root, record).encode())
    put_json(root, RELEASE_NAME, record)
    log.info("release: %s samples in %s/%s", f"{sum(rows.values()):,}", root.uri, FOLDER)
    return record


def _instruction_waves(root: OutputRoot, plan: Plan) -> Iterator[WaveManifest]:
    for wave in range(plan.waves):
        manifest = read_manifest(root, "instructions", wave)
        if manifest is None:
            raise StorageError(f"{root.uri}: wave {wave} has no instructions yet; run `sift-ray instruct` first")
        yield manifest


def _groups(manifests: list[WaveManifest]) -> list[tuple[str, str]]:
    """Return every (task, language) that has accepted pairs, by the manifests' counts; largest first."""
    sizes: dict[tuple[str, str], float] = {}
    for manifest in manifests:
        for label, count in manifest.counts.get("pairs", {}).items():
            task, language, *_, fate = label.split("/")
            if fate == "accepted":
                sizes[task, language] = sizes.get((task, language), 0) + count
    return sorted(sizes, key=lambda group: (-sizes[group], TASKS.index(group[0]), group[1]))


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
    """Writes Parquet files of a bounded number of rows, one after another."""

    def __init__(self, root: OutputRoot, split: str, task: str, language: str, rows_per_file: int) -> None:
        self._root = root
        self._where = (split, task, language)
        self._rows_per_file = rows_per_file
        self._writer: pq.ParquetWriter | None = None
        self._files = 0
        self._in_file = 0
        self.rows = 0

    def __enter__(self) -> _RollingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> pq.ParquetWriter:
        path = self._root.locate(f"{FOLDER}/{shard_path(*self._where, self._files)}")
        filesystem = self._root.filesystem
        if isinstance(self._root, LocalRoot):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        self._files += 1
        self._in_file = 0
        return pq.ParquetWriter(path, RELEASE, filesystem=filesystem, compression="zstd", write_page_index=True)

    def write(self, table: pa.Table) -> None:
        """Append `table`, going on to the next file where one is full."""
        start = 0
        while start < table.num_rows:
            if self._writer is None:
                self._writer = self._open()
            piece = table.slice(start, self._rows_per_file - self._in_file)
            self._writer.write_table(piece, row_group_size=_ROW_GROUP_ROWS)
            start += piece.num_rows
            self._in_file += piece.num_rows
            if self._in_file >= self._rows_per_file:
                self._close()
        self.rows += table.num_rows


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
            "alignment": config.annotate.align.backend,
            "bins": f"{config.bin.method}" + (f", frozen {config.bin.frozen}" if config.bin.frozen else ""),
            "language models": ", ".join(sorted(set(config.instruct.models.values())))
            if config.instruct.engine != "template"
            else "none",
        },
    )


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
