"""How fast instructions become a release, beside a bare pyarrow writer of the same tables, and in how much memory.

    python -m tests.benchmarks.release [--quick] [SAMPLES ...]

Synthetic instructions come in waves of 20,000 requests with up to three accepted pairs each, and one refused: five
languages, six tasks, one request in fifty of dev and of test. Each number of samples is released in a process of its
own, with Ray as a job starts it (before the clock is), and written by one process with pyarrow alone: the same tables
in the same order, row groups and compression, read back wave by wave outside the clock. CPU seconds are those of the
processes that are there at the end: writers, which have left by then, are not among them. Memory is the greatest that
was read of the driver and of any one worker, writers among them, every two seconds while the release ran.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.config import Config
from sift_ray.pipeline.plan import Plan
from sift_ray.schema import INSTRUCTIONS, LANGUAGES, PAIR, TASKS
from sift_ray.storage import LocalRoot, ShardInfo, WaveManifest, write_manifest
from tests.benchmarks.process_memory import DRIVER, WORKER, peaks_while

WAVE_REQUESTS = 20_000
PAIRS = 4  # of a request; the last is refused
KINDS = tuple(task for task in TASKS if task != "closed_ended_word_align_numeric")
WORDS = np.array([f"w{number:x}" for number in np.random.default_rng(0).integers(16, 2**20, 5_000)])
LABELS = ("very low pitch", "quite low pitch", "moderate pitch", "quite high pitch", "very high pitch")
MIB = 2**20
FULL, QUICK = (500_000, 5_000_000), (60_000,)


def _texts(random: np.random.Generator, rows: int, words: int) -> pa.Array:
    parts = [pa.array(WORDS).take(pa.array(random.integers(0, len(WORDS), rows))) for _ in range(words)]
    return pa.compute.binary_join_element_wise(*parts, " ")


def wave_of(number: int) -> pa.Table:
    """Return the instructions of one wave (`schema.INSTRUCTIONS`), the same for the same number."""
    random = np.random.default_rng(number)
    rows = WAVE_REQUESTS
    pairs = rows * PAIRS
    places = random.integers(0, len(LABELS), 2 * pairs)
    facts = pa.StructArray.from_arrays(
        [
            pa.array(["average_pitch", "speaking_rate"]).take(pa.array(np.arange(2 * pairs) % 2)),
            pa.array(LABELS).take(pa.array(places)),
            pa.array(places.astype(np.int8)),
            pa.array(np.zeros(2 * pairs, np.int8)),
            pa.array(np.zeros(2 * pairs, np.int32)),
        ],
        fields=list(PAIR.field("evidence").type.value_type),
    )
    accepted = np.arange(pairs) % PAIRS != PAIRS - 1
    columns = {
        "question": _texts(random, pairs, 8),
        "answer": _texts(random, pairs, 16),
        "accepted": pa.array(accepted),
        "reason": pa.array(np.where(accepted, None, "false_claim"), pa.string()),
        "evidence": _lists(facts, 2),
        "generator": pa.array(["template"]).take(pa.array(np.zeros(pairs, np.int64))),
        "attempt": pa.array(np.zeros(pairs, np.int8)),
        "score": pa.nulls(pairs, pa.float32()),
        "asked": pa.array(random.integers(-(2**62), 2**62, pairs), mask=~accepted),
    }
    order = np.arange(number * rows, (number + 1) * rows)
    languages = np.array(LANGUAGES)[order // 50 % len(LANGUAGES)]
    splits = np.select([order % 50 == 0, order % 50 == 1], ["dev", "test"], "train")
    names = pa.array([f"clip{n:09d}" for n in order])
    uris = pa.compute.binary_join_element_wise("/data/", names, ".flac", "")
    tasks = np.array(KINDS)[order % len(KINDS)]
    two = tasks == "closed_ended_comparison"
    table: dict[str, Any] = {
        "unit_id": random.integers(-(2**62), 2**62, rows),
        "task": tasks,
        "language": languages,
        "split": splits,
        "data_source": np.char.add("common_voice_", languages),
        "utterance_ids": _own(names, two),
        "audio_uris": _own(uris, two),
        "pairs": _lists(pa.StructArray.from_arrays(list(columns.values()), fields=list(PAIR)), PAIRS),
        "model": ["template"] * rows,
        "prompt_hash": ["0"] * rows,
    }
    for name in ("finish_reason", "prompt_tokens", "cached_tokens", "generated_tokens"):
        table[name] = pa.nulls(rows, INSTRUCTIONS.field(name).type)
    return pa.table([pa.array(table[n]).cast(INSTRUCTIONS.field(n).type) for n in INSTRUCTIONS.names], INSTRUCTIONS)


def _lists(values: pa.Array, each: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, each, dtype=np.int32)), values)


def _own(names: pa.Array, two: Any) -> pa.Array:
    """Return each name in a list of its own; where `two`, twice."""
    each = np.where(two, 2, 1)
    starts = np.concatenate([[0], np.cumsum(each)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(starts), names.take(pa.array(np.repeat(np.arange(len(names)), each))))


def write_job(root: LocalRoot, samples: int) -> Plan:
    """Write as many finished waves as so many samples take."""
    waves = -(-samples // (WAVE_REQUESTS * (PAIRS - 1)))
    for number in range(waves):
        table = wave_of(number)
        path = Path(root.locate(f"instructions/wave={number:05d}/part-00000.parquet"))
        path.parent.mkdir(parents=True)
        pq.write_table(table, path, compression="zstd", row_group_size=4096)
        counts = table.group_by(["task", "language"]).aggregate([([], "count_all")]).to_pylist()
        pairs = {f"{c['task']}/{c['language']}/template/accepted": c["count_all"] * (PAIRS - 1) for c in counts}
        info = ShardInfo(name=path.name, rows=table.num_rows, bytes=path.stat().st_size)
        write_manifest(
            root,
            WaveManifest(
                stage="instructions",
                wave=number,
                rows=table.num_rows,
                id_digest="0",
                fingerprint="benchmark",
                files=(info,),
                counts={"pairs": pairs},
                started_at="",
                seconds=0.0,
                versions={},
            ),
        )
    return Plan(waves, waves * WAVE_REQUESTS, "0")


def config_of(root: LocalRoot) -> Config:
    """The config of the job that is released."""
    corpus = {"type": "demo", "path": str(Path(root.uri) / "corpora")}
    quotas = {"test": {"closed_ended": 2_000, "open_ended": 2_000, "controllable_generation": 2_000}}
    document = {"output": root.uri, "corpora": [corpus], "release": {"quotas": quotas}}
    return Config.model_validate(document)


def stage(root: LocalRoot, plan: Plan) -> dict[str, float]:
    """Release the job through Ray."""
    import ray

    from sift_ray.pipeline.release import run_release
    from sift_ray.pipeline.session import RaySession

    config = config_of(root)
    with RaySession(config) as session:
        session.ensure("release")
        ray.get([_warm.remote() for _ in range(4)])
        used = _cpu_of_children(os.getpid())
        began = time.monotonic()
        with peaks_while(os.getpid(), every_s=1.0) as peaks:
            record = run_release(session, config, root, plan)
        seconds = time.monotonic() - began
        used = _cpu_of_children(os.getpid()) - used
    return {
        "samples": float(sum(record["rows"].values())),
        "seconds": seconds,
        "cpu_s": used,
        "driver_mib": peaks[DRIVER] / MIB,
        "worker_mib": peaks[WORKER] / MIB,
        "files": float(record["files"]["parquet"]["files"]),
        "largest_mb": record["files"]["parquet"]["largest_bytes"] / 1e6,
        "total_mb": record["files"]["parquet"]["bytes"] / 1e6,
    }


def bare(root: LocalRoot, target: Path) -> dict[str, float]:
    """Write the same tables with pyarrow alone, one file a folder; what reads them is not on the clock."""
    from sift_ray.release.versions import published_folder

    seconds = cpu = rows = 0.0
    version = Path(root.locate(published_folder(root) or ""))
    for number, file in enumerate(sorted(version.rglob("*.parquet"))):
        source = pq.ParquetFile(file)
        with pq.ParquetWriter(
            target / f"{number}.parquet", source.schema_arrow, compression="zstd", write_page_index=True
        ) as writer:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group).combine_chunks()
                began, used = time.monotonic(), time.process_time()
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
                seconds, cpu = seconds + time.monotonic() - began, cpu + time.process_time() - used
                rows += table.num_rows
    return {"samples": rows, "seconds": seconds, "cpu_s": cpu}


def _warm() -> None:
    """Let a worker import what the stage's tasks do."""
    import sift_ray.pipeline.release_tasks  # noqa: F401

    time.sleep(1)


def _descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [process]
    while waiting:
        found += (more := children.get(waiting.pop(), []))
        waiting += more
    return found


def _cpu_of_children(process: int) -> float:
    """Return the CPU seconds of a process, of what descends from it, and of what they waited for."""
    ticks = 0
    for one in (process, *_descendants(process)):
        try:
            ticks += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def _alone(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.release", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    """Run it all and print a line for each number of samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="*", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", nargs=2, metavar=("PART", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        import ray

        part, folder = given.part
        root = LocalRoot(Path(folder) / "out")
        if part == "stage":
            globals()["_warm"] = ray.remote(num_cpus=0.5)(_warm)
            waves = len(root.names("instructions"))
            print(json.dumps(stage(root, Plan(waves, waves * WAVE_REQUESTS, "0"))))
        else:
            print(json.dumps(bare(root, Path(folder))))
        return
    print(f"{'samples':>12} {'release':>9} {'bare':>9} {'ratio':>6} {'CPU s':>8} {'of bare':>8} "
          f"{'driver':>7} {'worker':>7} {'files':>6} {'largest':>8}")  # fmt: skip
    for samples in given.samples or (QUICK if given.quick else FULL):
        with tempfile.TemporaryDirectory() as folder:
            write_job(LocalRoot(Path(folder) / "out"), samples)
            ours, theirs = _alone("--part", "stage", folder), _alone("--part", "bare", folder)
        speed, bare_speed = ours["samples"] / ours["seconds"], theirs["samples"] / theirs["seconds"]
        print(
            f"{ours['samples']:12,.0f} {speed:7,.0f}/s {bare_speed:7,.0f}/s {speed / bare_speed:6.2f} "
            f"{ours['cpu_s']:8.1f} {theirs['cpu_s']:8.1f} {ours['driver_mib']:7.0f} {ours['worker_mib']:7.0f} "
            f"{ours['files']:6.0f} {ours['largest_mb']:6.1f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
