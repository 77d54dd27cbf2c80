"""plan: read the corpora once, and cut their utterances into waves of a fixed size and order.

An utterance's identity is the hash of corpus, version and id. Waves are consecutive stretches of an order by hash, so
each mixes corpora, languages and durations, and the same corpora always give the same waves. Clips that are best
read together (of one Parquet row group, tar window or recording) go by the hash of what they share, and so lie
together. See `plan_draft` for what is held in memory, `plan_rules` for what is decided over all rows.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.config import Config
from sift_ray.corpora.tables_read import TableMark, changed
from sift_ray.object_store import S3Connection
from sift_ray.pipeline.parquet_files import write_parquet
from sift_ray.pipeline.plan_draft import Draft
from sift_ray.pipeline.plan_preview import Preview
from sift_ray.pipeline.plan_rules import PlanError
from sift_ray.pipeline.stages import plan_stage
from sift_ray.pipeline.waves import (
    STAGE_RECORD,
    Stage,
    StaleOutputError,
    check_ingredients,
    table_digest,
    versions,
)
from sift_ray.schema import UTTERANCES, conform
from sift_ray.storage import (
    OutputRoot,
    ShardInfo,
    WaveManifest,
    add_counts,
    add_digests,
    id_digest,
    put_json,
    read_json,
    wave_folder,
    write_manifest,
)

__all__ = ["PLAN_NAME", "Plan", "PlanError", "check_plan", "preview_plan", "read_plan", "run_plan"]

log = logging.getLogger(__name__)

PLAN_NAME = "plan.json"
_DIGESTED_ROWS = 2048  # at once: each is held as text
_UTTERANCE_ROW_GROUP = 1024


@dataclass(frozen=True)
class Plan:
    """What `plan.json` says."""

    waves: int
    rows: int
    content: str  # a digest of all rows, and their number in a wave: later stages are made from these


def read_plan(root: OutputRoot) -> Plan | None:
    """Return the finished plan, None where there is none."""
    value = read_json(root, PLAN_NAME)
    return None if value is None else Plan(value["waves"], value["rows"], value["content"])


def run_plan(config: Config, root: OutputRoot) -> Plan:
    """Make the plan, or return the one there is.

    Raises:
        StaleOutputError: the plan there was made from other corpora or another wave size, or a table of theirs has
            changed since.
        PlanError: there are no utterances, two different ones share a `unit_id`, or a corpus that is cut by hours
            does not tell its durations.
        CorpusError: a corpus is not laid out as its type says.
    """
    stage = plan_stage(config)
    done = read_plan(root)
    if done is not None:
        check_plan(config, root)
        return done
    started = time.monotonic()
    for name in root.names(stage.name):
        # of a plan that was not finished nothing is kept: it may have failed for the very config that was mended since
        if name.startswith("wave=") or name == STAGE_RECORD:
            root.delete(f"{stage.name}/{name}")
    root.abort_uploads(stage.name)
    check_ingredients(root, stage)
    with tempfile.TemporaryDirectory(prefix="sift-ray-plan-") as scratch:
        draft = Draft(config, Path(scratch))
        plan = _write_waves(draft, config.plan.wave_rows, root, stage)
    record = {
        **asdict(plan),
        "fingerprint": stage.fingerprint,
        "seconds": round(time.monotonic() - started, 3),
        "left_out": {
            f"{corpus}/{language}": {"utterances": left.utterances, "hours": round(left.hours, 3)}
            for (corpus, language), left in draft.left_out.items()
        },
        "skipped": draft.skipped,
        "tables": {address: list(mark) for address, mark in draft.table_marks().items()},
    }
    put_json(root, PLAN_NAME, record)
    log.info("plan: %s utterances in %d waves", f"{plan.rows:,}", plan.waves)
    return plan


def check_plan(config: Config, root: OutputRoot) -> None:
    """Make sure that a finished plan is of this config, and that the corpora's tables are as they were.

    Raises:
        StaleOutputError: they are not; each difference is named, and the ways on.
    """
    check_ingredients(root, plan_stage(config))
    tables = (read_json(root, PLAN_NAME) or {}).get("tables", {})  # (plans of older versions have none)
    marked = {address: TableMark(*mark) for address, mark in tables.items()}
    # (a store that is away is found out in seconds: the plan stands without it)
    store = S3Connection(config.reading_from.model_copy(update={"retries": 2}))
    if found := changed(marked, store):
        told = "\n  ".join(found)
        raise StaleOutputError(
            f"plan: the corpora are not as they were when {root.uri} was planned. Changed:\n  {told}\n"
            "Put the old files back, or take another `output`, or plan again, which makes everything again, with "
            "`sift-ray build CONFIG --restart-from plan`."
        )


def preview_plan(config: Config) -> Preview:
    """Read the corpora as `run_plan` does, and write nothing (but a demo's corpora where they are not there).

    Raises:
        PlanError, CorpusError: as `run_plan`.
    """
    with tempfile.TemporaryDirectory(prefix="sift-ray-plan-") as scratch:
        draft = Draft(config, Path(scratch))
        preview = Preview(config.plan.wave_rows, config.annotate.error_budget)
        for table in draft.tables():
            preview.add(table)
        preview.left_out, preview.skipped = draft.left_out, draft.skipped
    return preview


def _write_waves(draft: Draft, wave_rows: int, root: OutputRoot, stage: Stage) -> Plan:
    waves = rows = content = 0
    for table in _in_waves(draft.tables(), wave_rows):
        _write_wave(root, stage, waves, table)
        waves += 1
        rows += table.num_rows
        content = add_digests((content, _content(table)))
        del table  # or it is held while the next one is gathered
    return Plan(waves, rows, f"{content:016x}-{wave_rows}")


def _in_waves(tables: Iterator[pa.Table], wave_rows: int) -> Iterator[pa.Table]:
    """Cut tables of any size into tables of `wave_rows`, the last one of what is left."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        start = 0
        while rows + table.num_rows - start >= wave_rows:
            piece = table.slice(start, wave_rows - rows)
            yield conform(pa.concat_tables([*held, piece]), UTTERANCES)
            start += piece.num_rows
            held, rows = [], 0
        if start < table.num_rows:
            held.append(table.slice(start))
            rows += table.num_rows - start
    if held:
        yield conform(pa.concat_tables(held), UTTERANCES)


def _content(rows: pa.Table) -> int:
    """Return a digest of rows with all that later stages use of them; digests of parts add up."""
    return add_digests(
        _content_of_few(rows.slice(first, _DIGESTED_ROWS)) for first in range(0, rows.num_rows, _DIGESTED_ROWS)
    )


def _content_of_few(rows: pa.Table) -> int:
    columns = (pc.fill_null(rows[name].cast(pa.string()), "") for name in UTTERANCES.names)
    salts = pc.binary_join_element_wise(*columns, "\x1f").to_pylist()
    return id_digest(rows["unit_id"].to_numpy(), salts)


def _write_wave(root: OutputRoot, stage: Stage, wave: int, rows: pa.Table) -> None:
    started_at, clock = datetime.now(UTC), time.monotonic()
    name = "part-00000.parquet"
    size = write_parquet(root, f"{wave_folder(stage.name, wave)}/{name}", rows, _UTTERANCE_ROW_GROUP)
    write_manifest(
        root,
        WaveManifest(
            stage=stage.name,
            wave=wave,
            rows=rows.num_rows,
            id_digest=f"{table_digest(rows):016x}",
            fingerprint=stage.fingerprint,
            files=(ShardInfo(name=name, rows=rows.num_rows, bytes=size),),
            counts=add_counts([stage.summarise(rows)]),
            started_at=started_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 3),
            versions=versions(),
        ),
    )
