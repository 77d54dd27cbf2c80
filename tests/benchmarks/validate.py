"""How many rows a second `sift-ray validate` looks at, and whether its memory grows with them.

    python -m tests.benchmarks.validate [ROWS ...] [--quick]

Writes releases of 100 thousand and 1 million rows (or of about so many ROWS) in the temporary folder: a small job's,
over and over, each time with other utterances. Each is looked at in processes of their own: as Parquet, as Parquet
against the annotations, and in the published layout.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS = (100_000, 1_000_000)
COPIES_AT_ONCE = 50


def renamed(table: pa.Table, names: pa.Array, known: pa.Array, copies: range, column: str) -> pa.Table:
    """Return copies of a table, each with ids and units of its own.

    Args:
        table: annotations or instructions of one language.
        names: the ids in the column, one after another.
        known: all ids of the job; an id's new name is made of its place among them and of the copy.
        copies: their numbers.
        column: that holds the ids, as text or in lists.
    """
    language = table["language"][0].as_py()
    many = pa.concat_tables([table] * len(copies)).combine_chunks()
    place = np.tile(pc.index_in(names, value_set=known).to_numpy(), len(copies))
    copy = np.repeat(np.arange(copies.start, copies.stop), len(names))
    texts = pc.cast(pa.array(place + copy * len(known)), pa.string())
    made = pc.binary_join_element_wise(f"common_voice_{language}", texts, "_").cast(pa.string())
    if pa.types.is_list(many[column].type):
        made = pa.ListArray.from_arrays(pa.concat_arrays(many[column].chunks).offsets, made)
    units = many["unit_id"].to_numpy() + np.repeat(np.arange(copies.start, copies.stop), table.num_rows) * 2**32
    sources = pa.array([f"common_voice_{language}"] * many.num_rows)
    for name, values in ((column, made), ("unit_id", pa.array(units)), ("data_source", sources)):
        many = many.set_column(many.column_names.index(name), name, values)
    return many


def write_many(small: Path, folder: Path, rows: int) -> None:
    """Write a job's `annotations`, `bins.json` and `release` of about so many rows, and `published`."""
    from sift_ray.release.files import json_lines
    from sift_ray.release.layout import shard_path
    from sift_ray.release.samples import samples_of
    from sift_ray.schema import ANNOTATIONS, RELEASE, conform
    from sift_ray.storage import LocalRoot, ShardInfo, read_manifest, write_manifest

    annotations, instructions = (
        pq.read_table(next(iter((small / stage).rglob("*.parquet"))), partitioning=None)
        for stage in ("annotations", "instructions")
    )
    known = annotations["utterance_id"].combine_chunks()
    there = sum(pq.read_metadata(file).num_rows for file in (small / "release").rglob("*.parquet"))
    count = -(-rows // there)
    chunks = [range(start, min(start + COPIES_AT_ONCE, count)) for start in range(0, count, COPIES_AT_ONCE)]
    for task in pc.unique(instructions["task"]).to_pylist():
        of_task = instructions.filter(pc.equal(instructions["task"], task))
        for group in of_task.group_by(["split", "language"]).aggregate([]).to_pylist():
            mine = of_task
            for name, value in group.items():
                mine = mine.filter(pc.equal(mine[name], value))
            mine = mine.combine_chunks()
            names = pc.list_flatten(mine["utterance_ids"]).combine_chunks()
            paths = [
                folder / top / shard_path(group["split"], task, group["language"], 0, ending)
                for top, ending in (("release", "parquet"), ("published", "jsonl"))
            ]
            for path in paths:
                path.parent.mkdir(parents=True)
            with pq.ParquetWriter(paths[0], RELEASE, compression="zstd") as writer, paths[1].open("wb") as lines:
                for copies in chunks:
                    samples = samples_of(renamed(mine, names, known, copies, "utterance_ids"), task)
                    writer.write_table(samples)
                    lines.write(json_lines(samples))
    root = LocalRoot(folder)
    path = folder / "annotations/wave=00000/part-00000.parquet"
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(path, ANNOTATIONS, compression="zstd") as writer:
        for copies in chunks:
            for language in pc.unique(annotations["language"]).to_pylist():
                of = annotations.filter(pc.equal(annotations["language"], language)).combine_chunks()
                made = renamed(of, of["utterance_id"].combine_chunks(), known, copies, "utterance_id")
                writer.write_table(conform(made, ANNOTATIONS))
    root.put("bins.json", (small / "bins.json").read_bytes())
    manifest = read_manifest(LocalRoot(small), "annotations", 0)
    assert manifest is not None
    file = ShardInfo(name=path.name, rows=0, bytes=path.stat().st_size)
    write_manifest(root, manifest.model_copy(update={"files": (file,)}))


def looked_at(*arguments: str) -> dict[str, float]:
    """Validate in a process of its own; return rows, seconds by the clock and of the cores, and peak bytes."""
    command = [sys.executable, "-m", "tests.benchmarks.validate", "--child", *arguments]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(answer.stdout)
    return measured


def child(path: str, *against: str) -> None:
    """Validate, and print what it took as JSON; what every process needs is loaded before."""
    from sift_ray.instruct.verify.lexicon import languages_of_word
    from sift_ray.storage import LocalRoot
    from sift_ray.validate.findings import Severity
    from sift_ray.validate.run import validate

    languages_of_word()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    made = validate(LocalRoot(path), LocalRoot(against[0]) if against else None)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    errors = [finding for finding in made.findings if finding.severity is Severity.ERROR]
    if errors:
        raise SystemExit(f"{path}: {errors[0]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps(
            {"rows": made.rows, "seconds": seconds, "cpu": cpu, "start": before.ru_maxrss, "peak": after.ru_maxrss}
        )
    )


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    from tests.validate.small_job import write_job

    asked = [int(argument) for argument in sys.argv[1:] if argument != "--quick"]
    print(f"{'rows':>10} {'layout':<22} {'rows/s':>9} {'rows/CPU s':>11} {'MiB at start':>13} {'MiB at most':>12}")
    with tempfile.TemporaryDirectory() as temporary:
        small = write_job(Path(temporary) / "small")
        for rows in asked or ((4_000,) if "--quick" in sys.argv else ROWS):
            folder = Path(temporary) / str(rows)
            write_many(small, folder, rows)
            for layout, arguments in (
                ("Parquet", [folder / "release"]),
                ("Parquet, --against", [folder / "release", folder]),
                ("published JSON lines", [folder / "published"]),
            ):
                m = looked_at(*map(str, arguments))
                print(
                    f"{m['rows']:>10,} {layout:<22} {m['rows'] / m['seconds']:>9,.0f} {m['rows'] / m['cpu']:>11,.0f}"
                    f" {m['start'] / 1024:>13,.0f} {m['peak'] / 1024:>12,.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
