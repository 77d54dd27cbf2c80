"""How fast numbers become rulers, categories and facts, in how much memory, and what Ray takes of it.

    python -m tests.benchmarks.metadata [--quick]

Synthetic annotations come in waves of 20,000 rows: three corpora, five languages, a tenth of each column unknown, with
the reason, a tenth of the speakers of unknown gender, a fifth of the rows with ten words. First every step goes over
them alone, in a process of its own for each number of rows, so that its peak of memory is its own; making the rows
counts in neither time. Then the waves lie in Parquet files, and the passes of `bin` go over them through Ray, in turns
with as many bare processes that read the same files with the same code; the start of either is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.config import BinConfig
from sift_ray.metadata.bins import build_rulers, count, finish, keep_inliers, measure
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.mapping import fact_lists
from sift_ray.metadata.moments import Inliers, Moments
from sift_ray.metadata.rulers import Rulers
from sift_ray.metadata.tally import Tally
from sift_ray.pipeline import bin as stage
from sift_ray.schema import AGES, ANNOTATIONS, LANGUAGES, MEASURES, WORD, conform
from sift_ray.storage import LocalRoot

WAVE_ROWS = 20_000
WORDS = 10  # of a row that has any: one in five
CONFIG = BinConfig()
STEPS = ("first pass", "second pass", "categories", "count", "facts")
WORKERS = (1, 2)


class Amount(NamedTuple):
    """How many rows each step goes over, and the stage; and how often the stage takes turns."""

    rows: tuple[int, ...]
    most_of_facts: int
    stage_rows: int
    turns: int


FULL = Amount(rows=(100_000, 1_000_000, 10_000_000), most_of_facts=1_000_000, stage_rows=1_000_000, turns=5)
QUICK = Amount(rows=(20_000, 40_000), most_of_facts=40_000, stage_rows=40_000, turns=1)


def wave_of(number: int, *, whole: bool) -> pa.Table:
    """Return the annotations of one wave, the same for the same number; unless `whole`, what `bin` reads alone."""
    random = np.random.default_rng(number)

    def drawn(*values: str | None) -> pa.Array:
        places = random.integers(0, len(values), WAVE_ROWS).astype(np.int32)
        return pa.array(values, pa.string()).take(pa.array(places))

    def normal(column: str, rows: int, unknown: float) -> pa.Array:
        _, _, low, high = MEASURES[column]
        middle, spread = (low + high) / 2, (high - low) / 8
        values = (middle + spread * random.standard_normal(rows, dtype=np.float32)).astype(np.float32)
        return pa.array(values, mask=random.random(rows) < unknown)

    measured = {a.column: normal(a.column, WAVE_ROWS, 0.1) for a in ATTRIBUTES.values()}
    columns = {
        "status": drawn("ok"),
        "corpus": drawn("mls", "common_voice", "vctk"),
        "language": drawn(*LANGUAGES),
        "gender": drawn(*["female", "male"] * 5, None),
        "null_reasons": reasons_of(measured),
        **measured,
    }
    if not whole:
        return pa.table(columns)
    lengths = np.where(random.random(WAVE_ROWS) < 0.2, WORDS, 0)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    spoken = pa.array("the quick brown fox jumps over a lazy dog".split())  # noqa: SIM905
    words = {
        "word": spoken.take(pa.array(random.integers(0, len(spoken), ends[-1]))),
        "position": pa.array(np.tile(np.arange(1, WORDS + 1, dtype=np.int32), ends[-1] // WORDS)),
        "pitch_mean_hz": normal("pitch_mean_hz", ends[-1], 0.2),
        "pitch_std_hz": normal("pitch_std_hz", ends[-1], 0.2),
        "intensity_db": normal("intensity_db", ends[-1], 0.0),
    }
    fields = [words.get(field.name, pa.nulls(int(ends[-1]), field.type)) for field in WORD]
    sentences = [
        f"{number}: the quick brown fox jumps over the lazy dog, and the dog sleeps on" for number in range(99)
    ]
    columns |= {
        "unit_id": pa.array(np.arange(WAVE_ROWS) + number * WAVE_ROWS),
        **dict.fromkeys(("utterance_id", "data_source", "split"), drawn("-")),
        "age": drawn(*AGES, None),
        "accent": drawn("Scottish English", "US", "I moved here as a child", None),
        "transcript": drawn(*sentences),
        "phonemes": drawn(*(f"{sentence} (in IPA)" for sentence in sentences)),
        "words": pa.ListArray.from_arrays(
            pa.array(ends), pa.StructArray.from_arrays(fields, fields=list(WORD)), type=pa.list_(WORD)
        ),
    }
    return conform(pa.table(columns), ANNOTATIONS)


def reasons_of(measured: Mapping[str, pa.Array]) -> pa.Array:
    """Return for each row a list of "column:unvoiced", one of each of its nulls."""
    null = np.array([column.is_null().to_numpy(zero_copy_only=False) for column in measured.values()])
    row_of, column_of = np.nonzero(null.T)  # (row by row)
    ends = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=WAVE_ROWS))])
    texts = pa.array([f"{column}:unvoiced" for column in measured]).take(pa.array(column_of))
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), texts)


def waves(rows: int, *, whole: bool = False) -> Iterator[pa.Table]:
    """Yield the waves of so many rows."""
    return (wave_of(number, whole=whole) for number in range(rows // WAVE_ROWS))


def judge(wave: pa.Table, rulers: Rulers) -> None:
    """Turn the numbers of all eight attributes into ordinals."""
    where = [wave[name] for name in ("corpus", "gender", "language")]
    for attribute in ATTRIBUTES.values():
        rulers.ordinals(attribute.key, wave[attribute.column], *where)


def alone(step: str, rows: int) -> None:
    """Print what a step takes for `rows` rows, as JSON: processor seconds, and the peak of memory in bytes."""
    rulers = build_rulers(lambda: waves(2 * WAVE_ROWS), CONFIG)
    near_mean = measure(waves(2 * WAVE_ROWS), CONFIG).near_mean(CONFIG)
    moments, inliers, tally = Moments(), Inliers(), Tally()
    work: Mapping[str, Callable[[pa.Table], Any]] = {
        "first pass": lambda wave: moments.add(wave, CONFIG),
        "second pass": lambda wave: inliers.add(wave, CONFIG, near_mean),
        "categories": lambda wave: judge(wave, rulers),
        "count": lambda wave: tally.add(wave, rulers),
        "facts": lambda wave: fact_lists(wave, rulers),
    }
    spent = 0.0
    for wave in waves(rows, whole=step == "facts"):
        started = time.process_time()
        work[step](wave)
        spent += time.process_time() - started
    print(json.dumps({"seconds": spent, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def each_step(amount: Amount) -> None:
    """Print the part without Ray."""
    print(f"one process\n{'':<12}{'rows':>12}{'rows/core s':>13}{'peak MiB':>10}")
    for step in STEPS:
        peaks = []
        for rows in amount.rows:
            if step == "facts" and rows > amount.most_of_facts:
                continue
            command = [sys.executable, "-m", "tests.benchmarks.metadata", "--child", step, str(rows)]
            done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            peaks.append(done["peak"])
            speed = rows / done["seconds"]
            print(f"{step:<12}{rows:>12,}{speed:>13,.0f}{done['peak'] / 2**20:>10.0f}", flush=True)
        print(f"{step:<12}peak memory, greatest over least: {max(peaks) / min(peaks):.2f}", flush=True)


def bare_pass(
    root: LocalRoot, share: list[list[str]], columns: list[str], work: Callable[..., Any], *given: Any
) -> Any:
    """Make one pass over some waves, as a task of the stage does."""
    return work((stage._good_rows(root, files, columns) for files in share), *given)


def bare_run(pool: ProcessPoolExecutor, root: LocalRoot, tasks: list[list[list[str]]], workers: int) -> Rulers:
    """Make the three passes with bare processes, each with its share of the waves, and merge what they bring."""
    shares = [list(itertools.chain(*tasks[number::workers])) for number in range(workers)]

    def merged(sums: Any, *given: Any) -> Any:
        for part in [pool.submit(bare_pass, root, share, *given) for share in shares]:
            sums.merge(part.result())
        return sums

    moments = merged(Moments(), stage._MEASURED, measure, CONFIG)
    near_mean = moments.near_mean(CONFIG)
    inliers = merged(Inliers(), stage._MEASURED, keep_inliers, CONFIG, near_mean)
    rulers = finish(moments, inliers, CONFIG)
    tally: Tally = merged(Tally(), stage._COUNTED, count, rulers)
    return tally.put_into(rulers)


def stage_run(root: LocalRoot, tasks: list[list[list[str]]]) -> Rulers:
    """Make the three passes as `bin` does, in the Ray that is open."""
    rulers = stage._measure(root, tasks, CONFIG)
    return stage._merged("bin", Tally(), root, tasks, stage._COUNTED, count, rulers).put_into(rulers)


def through_the_stage(amount: Amount) -> None:
    """Print the stage's part."""
    import ray

    from tests.benchmarks.decode import cpu_of_all

    def timed(run: Callable[[], Rulers]) -> tuple[Rulers, float, float]:
        clock, processor = time.monotonic(), cpu_of_all()
        made = run()
        return made, time.monotonic() - clock, cpu_of_all() - processor

    print(f"\nthe stage, {amount.stage_rows:,} rows in Parquet: seconds by the clock, and of all processors")
    print(f"{'workers':<10}{'bare':>8}{'ours':>8}{'speed':>8}{'bare cpu':>10}{'ours cpu':>10}{'speed':>8}")
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as folder:
        root, files = LocalRoot(folder), []
        for number, wave in enumerate(waves(amount.stage_rows)):
            files.append([str(Path(folder) / f"{number}.parquet")])
            pq.write_table(wave, files[-1][0], compression="zstd")
        tasks = stage.shared_out(files, amount.stage_rows)
        for workers in WORKERS:
            ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", _node_ip_address="127.0.0.1")
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                turns = []
                for turn in range(-1, amount.turns):
                    bare, bare_s, bare_cpu = timed(lambda: bare_run(pool, root, tasks, workers))  # noqa: B023
                    ours, ours_s, ours_cpu = timed(lambda: stage_run(root, tasks))
                    assert (ours.rulers, ours.counts) == (bare.rulers, bare.counts)
                    if turn >= 0:  # (before it, workers start and import)
                        speeds = bare_s / ours_s, bare_cpu / ours_cpu
                        turns.append((bare_s, ours_s, speeds[0], bare_cpu, ours_cpu, speeds[1]))
            ray.shutdown()
            medians = [statistics.median(column) for column in zip(*turns, strict=True)]
            columns = "".join(f"{m:>{width}.2f}" for m, width in zip(medians, (8, 8, 8, 10, 10, 8), strict=True))
            print(f"{workers:<10}{columns}", flush=True)


def main() -> None:
    """Print both parts."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.metadata")
    options.add_argument("--quick", action="store_true", help="a few seconds: the figures mean nothing")
    amount = QUICK if options.parse_args().quick else FULL
    each_step(amount)
    through_the_stage(amount)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        alone(sys.argv[2], int(sys.argv[3]))
    else:
        main()
