"""The last step of a stage: rows of some waves become Parquet files of a wave each, and a row is told of each file."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from sift_ray.pipeline.parquet_files import write_parquet
from sift_ray.pipeline.wave_pieces import WAVE
from sift_ray.pipeline.waves import Stage
from sift_ray.pipeline.worker_memory import give_back
from sift_ray.schema import conform
from sift_ray.storage import Counts, OutputRoot, ShardInfo, wave_folder

ROWS_PER_SHARD: Final = 5000
WRITE_RETRIES: Final = 3
_WRITERS: Final = 8  # tasks of a flow at once, each a process
# Nearly none, so that writing, which comes last in the sharing out of CPUs, always gets its own; a head node that is
# told to have none still runs no writer
_CPUS: Final = 0.01

_WRITTEN: Final = pa.schema(
    [
        pa.field(WAVE, pa.int32()),
        pa.field("name", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("digest", pa.string()),
        pa.field("counts", pa.string()),
    ]
)


@dataclass(frozen=True)
class WrittenFile:
    """A file of a wave: its rows' digest and counts with it."""

    wave: int
    file: ShardInfo
    digest: int
    counts: Counts

    def to_row(self) -> dict[str, Any]:
        """Return it as a row of what `write_waves` gives."""
        told = {"digest": f"{self.digest:016x}", "counts": json.dumps(self.counts)}
        return {WAVE: self.wave, **self.file.model_dump(), **told}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> WrittenFile:
        """Read such a row."""
        file = ShardInfo(name=row["name"], rows=row["rows"], bytes=row["bytes"])
        return cls(row[WAVE], file, int(row["digest"], 16), json.loads(row["counts"]))


def write_waves(dataset: ray.data.Dataset, root: OutputRoot, stage: Stage, rows_a_file: int) -> ray.data.Dataset:
    """Write rows that know their wave; the dataset that comes back has a row a file (see `WrittenFile`).

    `rows_a_file` is about how many rows a file gets where waves are larger; of rows of two waves come two files.
    """
    limits: dict[str, Any] = {
        "compute": ray.data.TaskPoolStrategy(size=_WRITERS),
        "num_cpus": _CPUS,
        "ray_remote_args_fn": partial(dict[str, int], max_retries=WRITE_RETRIES),
    }
    # asked for batches of so many rows, Ray Data brings blocks together, and what is over makes a small batch; both are
    # one block for the next step (which it keeps apart, for the function above), and so one file
    dataset = dataset.map_batches(_as_it_is, batch_size=rows_a_file, batch_format="pyarrow", **limits)
    return dataset.map_batches(
        write_by_wave, fn_kwargs={"root": root, "stage": stage}, batch_size=None, batch_format="pyarrow", **limits
    )


def _as_it_is(batch: pa.Table) -> pa.Table:
    return batch


def write_by_wave(batch: pa.Table, root: OutputRoot, stage: Stage) -> pa.Table:
    """Write a batch's rows, a file a wave, sorted by what tells them apart; return a row a file.

    No two attempts at a task write a file of the same name: what a worker that was given up still writes can thus
    never change a file that is in a manifest. What is left of such attempts is deleted before the manifest is put.
    """
    order = [("unit_id", "ascending")] + ([("task", "ascending")] if stage.keyed_by_task else [])
    written = []
    for wave in sorted(pc.unique(batch.column(WAVE)).to_pylist()):
        table = conform(batch.filter(pc.equal(batch.column(WAVE), wave)), stage.schema).sort_by(order)
        name = f"part-{secrets.token_hex(8)}.parquet"
        size = write_parquet(root, f"{wave_folder(stage.name, wave)}/{name}", table)
        file = ShardInfo(name=name, rows=table.num_rows, bytes=size)
        written.append(WrittenFile(wave, file, stage.digest(table), stage.summarise(table)).to_row())
        del table
    give_back()
    return pa.Table.from_pylist(written, _WRITTEN)
