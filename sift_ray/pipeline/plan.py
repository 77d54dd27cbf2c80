"""plan: read the corpora once, and cut their utterances into waves of a fixed size and order.

An utterance's identity is the hash of corpus, version and id. Waves are consecutive ranks of that hash, so
each mixes corpora, languages and durations, and the same corpora always give the same waves. Memory holds one
integer an utterance and a bounded number of rows: the rows themselves wait in a scratch folder on disk.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sift_ray.config import Config, DemoConfig
from sift_ray.corpora import Reading, read_corpus
from sift_ray.corpora.utterance import Utterance
from sift_ray.pipeline.stages import plan_stage
from sift_ray.pipeline.waves import (
    Stage,
    check_ingredients,
    table_digest,
    versions,
    write_parquet,
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
    stable_id,
    wave_folder,
    write_manifest,
)

log = logging.getLogger(__name__)

PLAN_NAME = "plan.json"
_SPOOL_ROWS = 50_000
_GROUP_ROWS = 1_000_000  # rows held at once while waves are written
_UTTERANCE_ROW_GROUP = 1024


class PlanError(RuntimeError):
    """The corpora can't be planned; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What `plan.json` says."""

    waves: int
    rows: int
    content: str  # a digest of all rows: later stages are made from these, not from the config alone


def read_plan(root: OutputRoot) -> Plan | None:
    """Return the finished plan, None where there is none."""
    value = read_json(root, PLAN_NAME)
    return None if value is None else Plan(value["waves"], value["rows"], value["content"])


def run_plan(config: Config, root: OutputRoot) -> Plan:
    """Make the plan, or return the one there is.

    Raises:
        StaleOutputError: the plan there was made from other corpora or another wave size.
        PlanError: there are no utterances, or two different ones share a `unit_id`.
        CorpusError: a corpus is not laid out as its type says.
    """
    stage = plan_stage(config)
    done = read_plan(root)
    if done is not None:
        check_ingredients(root, stage)
        return done
    started = time.monotonic()
    check_ingredients(root, stage)
    for name in root.names(stage.name):
        if name.startswith("wave="):
            root.delete(f"{stage.name}/{name}")
    with tempfile.TemporaryDirectory(prefix="sift-ray-plan-") as scratch:
        spool = _Spool(Path(scratch))
        reading = Reading(config.storage, config.plan.read_headers, config.plan.threads)
        for corpus in config.corpora:
            before = spool.rows
            version = getattr(corpus, "version", None) or ""
            spool.add(read_corpus(corpus, reading), version)
            if spool.rows == before and not isinstance(corpus, DemoConfig):
                log.warning("corpus %s: no utterances found in %s", corpus.name, corpus.path)
        if spool.rows == 0:
            raise PlanError("no corpus holds a single utterance: check each `path` and `languages`")
        plan = _write_waves(spool, config.plan.wave_rows, root, stage)
    seconds = round(time.monotonic() - started, 3)
    put_json(root, PLAN_NAME, {**asdict(plan), "fingerprint": stage.fingerprint, "seconds": seconds})
    log.info("plan: %s utterances in %d waves", f"{plan.rows:,}", plan.waves)
    return plan


def unit_id(corpus: str, version: str, utterance_id: str) -> int:
    """Return the identity of an utterance: the same in every run and on every machine."""
    return stable_id(corpus, version, utterance_id)


class _Spool:
    """Utterances in reading order on disk, and their ids in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids: list[NDArray[np.int64]] = []
        self._started = time.monotonic()
        self.rows = 0
        self.files: list[Path] = []

    @property
    def ids(self) -> NDArray[np.int64]:
        """The `unit_id` of every row, in reading order."""
        return np.concatenate(self._ids)

    def add(self, utterances: Iterator[Utterance], version: str) -> None:
        """Append all `utterances`, a bounded number at a time."""
        while batch := list(islice(utterances, _SPOOL_ROWS)):
            table = _table(batch, version)
            path = self._folder / f"{len(self.files):06d}.parquet"
            pq.write_table(table, path, compression="zstd")
            self.files.append(path)
            self._ids.append(table.column("unit_id").to_numpy())
            self.rows += len(batch)
            if len(batch) == _SPOOL_ROWS:
                rate = self.rows / (time.monotonic() - self._started)
                log.info("plan: %s utterances read, %.0f a second", f"{self.rows:,}", rate)


def _table(utterances: list[Utterance], version: str) -> pa.Table:
    """Return utterances as rows of the schema, those with a reason to reject marked as such."""
    columns: dict[str, list[object]] = {
        name: [getattr(u, name) for u in utterances]
        for name in UTTERANCES.names
        if name not in ("unit_id", "status", "reject_stage")
    }
    columns["unit_id"] = [unit_id(u.corpus, version, u.utterance_id) for u in utterances]
    columns["status"] = ["ok" if u.reject_reason is None else "rejected" for u in utterances]
    columns["reject_stage"] = [None if u.reject_reason is None else "plan" for u in utterances]
    arrays = {name: pa.array(values, UTTERANCES.field(name).type, from_pandas=True) for name, values in columns.items()}
    return conform(pa.table(arrays), UTTERANCES)


def _write_waves(spool: _Spool, wave_rows: int, root: OutputRoot, stage: Stage) -> Plan:
    ids = spool.ids
    repeated = _repeated_rows(ids)
    if repeated.size:
        ids = _tell_apart(spool, ids, repeated)
    ranks = np.empty(ids.size, dtype=np.int64)
    ranks[np.argsort(ids, kind="stable")] = np.arange(ids.size)
    waves = -(-ids.size // wave_rows)
    group_waves = max(1, _GROUP_ROWS // wave_rows)
    content = 0
    for first in range(0, waves, group_waves):
        last = min(first + group_waves, waves)
        rows = _gather(spool, ids, ranks, repeated, (first * wave_rows, last * wave_rows))
        for wave in range(first, last):
            _write_wave(root, stage, wave, rows.slice((wave - first) * wave_rows, wave_rows))
        content = add_digests((content, _content(rows)))
    return Plan(waves, int(ids.size), f"{content:016x}")


def _content(rows: pa.Table) -> int:
    """Return a digest of rows with all that later stages use of them; digests of parts add up."""
    columns = (pa.compute.fill_null(rows[name].cast(pa.string()), "") for name in UTTERANCES.names)
    salts = pa.compute.binary_join_element_wise(*columns, "\x1f").to_pylist()
    return id_digest(rows["unit_id"].to_numpy(), salts)


def _repeated_rows(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of all ids that were seen before, in reading order."""
    _, firsts = np.unique(ids, return_index=True)
    mask = np.ones(ids.size, dtype=bool)
    mask[firsts] = False
    return np.flatnonzero(mask)


def _tell_apart(spool: _Spool, ids: NDArray[np.int64], repeated: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give later rows of an id an id of their own; they are rejected, but they are rows.

    Raises:
        PlanError: the rows that share a hash are different utterances. At 6 million rows the odds are one in a
            million; giving a corpus another `version` changes its hashes.
    """
    shared = pa.array(np.unique(ids[repeated]))
    names: dict[int, tuple[str, str]] = {}
    for path in spool.files:
        table = pq.read_table(path, columns=["unit_id", "corpus", "utterance_id"])
        hits = table.filter(pa.compute.is_in(table.column("unit_id"), value_set=shared))
        for number, corpus, utterance in zip(*(column.to_pylist() for column in hits.columns), strict=True):
            other = names.setdefault(number, (corpus, utterance))
            if other != (corpus, utterance):
                raise PlanError(
                    f"{corpus}/{utterance} and {other[0]}/{other[1]} have one hash: set `version` of either corpus"
                )
    apart = ids.copy()
    for place in repeated:
        apart[place] = stable_id("repeated", str(ids[place]), str(place))
    return apart


def _gather(
    spool: _Spool,
    ids: NDArray[np.int64],
    ranks: NDArray[np.int64],
    repeated: NDArray[np.int64],
    between: tuple[int, int],
) -> pa.Table:
    """Return the rows whose rank lies in the half-open range, in the order of rank."""
    found, order = [], []
    start = 0
    for path in spool.files:
        size = pq.read_metadata(path).num_rows
        here = ranks[start : start + size]
        places = np.flatnonzero((here >= between[0]) & (here < between[1]))
        if places.size:
            table = pq.read_table(path).take(pa.array(places))
            again = np.isin(places + start, repeated)
            found.append(_mark_repeated(table, ids[places + start], again))
            order.append(here[places])
        start += size
    table = pa.concat_tables(found)
    return table.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


def _mark_repeated(table: pa.Table, ids: NDArray[np.int64], again: NDArray[np.bool_]) -> pa.Table:
    table = table.set_column(0, UTTERANCES.field("unit_id"), pa.array(ids))
    if not again.any():
        return table
    mask = pa.array(again)
    for name, value in (
        ("status", "rejected"),
        ("reject_stage", "plan"),
        ("reject_reason", "duplicate_id"),
        ("reject_detail", "an earlier row of this corpus has the same id"),
    ):
        index = table.schema.get_field_index(name)
        column = pa.compute.if_else(mask, pa.scalar(value), table.column(index))
        table = table.set_column(index, UTTERANCES.field(name), column)
    return table


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
