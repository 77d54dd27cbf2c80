"""How fast decoding is against the bare libraries, alone and as the stage of a job.

    python -m tests.benchmarks.decode [--quick]

Speech of the demo corpora is joined to clips of 5 to 20 s and written in each format. First `decode` and the bare calls
(`soundfile.read` as float32, `soxr.resample` HQ where the rate is another) take turns on every file, in one process;
processor time is compared, which other work on the machine disturbs least. Then the clips go, many times over, through
Ray Data as `annotate` has it, with two workers, in turns with two processes that make the bare calls on the same
files. Speed by the clock is compared, from when each worker has delivered its first batch until the last batches, and
processor time of the whole run with all that Ray does beside. Medians of several turns are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import soundfile as sf
import soxr
from numpy.typing import NDArray

from sift_ray.audio.decode import decode
from sift_ray.config import DecodeConfig, RayConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.demo import write_demo
from tests.benchmarks.steady import Work, noted, rate, works_of

WORKERS = 2
BLOCKS = 16  # as annotate cuts a wave for two workers
LONGEST_WAIT_S = 120
FORMATS: dict[str, tuple[str, int, dict[str, str]]] = {
    "flac 16 kHz": ("flac", 16_000, {}),
    "mp3 48 kHz": ("mp3", 48_000, {}),
    "opus 48 kHz": ("opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    "opus 16 kHz": ("opus", 16_000, {"format": "OGG", "subtype": "OPUS"}),
}
STAGE_FORMATS = ("flac 16 kHz", "mp3 48 kHz", "opus 48 kHz")


class Amount(NamedTuple):
    """How much is done: clips, turns in one process, and through Ray, of so many seconds of a worker's bare calls."""

    clips: int
    turns: int
    stage_turns: int
    stage_s: float


FULL = Amount(clips=48, turns=9, stage_turns=3, stage_s=8.0)
QUICK = Amount(clips=8, turns=1, stage_turns=1, stage_s=2.0)


class Spent(NamedTuple):
    """Seconds of audio per second of the clock, and the processor seconds of the whole run."""

    speed: float
    cpu_s: float


def write_clips(folder: Path, clips: int) -> dict[str, list[str]]:
    """Return the files of each format; all formats hold the same `clips` clips."""
    demo = write_demo(folder / "demo", minutes=4)
    assert demo.vctk is not None
    recordings = sorted(demo.vctk.rglob("*.flac")) + sorted(demo.common_voice.rglob("*.mp3"))
    draw = np.random.default_rng(0)
    files: dict[str, list[str]] = {name: [] for name in FORMATS}
    for clip in range(clips):
        length = draw.uniform(5, 20)
        parts: list[NDArray[np.float32]] = []
        while sum(map(len, parts)) < length * 48_000:
            samples, rate = sf.read(recordings[draw.integers(len(recordings))], dtype="float32")
            parts.append(soxr.resample(samples, rate, 48_000))
        speech = np.concatenate(parts)[: round(length * 48_000)]
        for name, (suffix, rate, options) in FORMATS.items():
            path = folder / f"{clip}_{rate}.{suffix}"
            sf.write(path, soxr.resample(speech, 48_000, rate), rate, **options)
            files[name].append(str(path))
    return files


def bare(path: str) -> NDArray[np.float32]:
    """The least that has to be done."""
    samples, rate = sf.read(path, dtype="float32")
    return samples if rate == 16_000 else soxr.resample(samples, rate, 16_000, quality="HQ")


def alone(files: Sequence[str], turns_wanted: int) -> tuple[float, float, float]:
    """Return the medians of processor seconds, bare and ours, and of their ratio, over turns on all files."""
    source = AudioSource(StorageConfig())
    ways: list[Callable[[str], Any]] = [bare, lambda path: decode(path, source)]
    turns = []
    for turn in range(-1, turns_wanted):
        spent = [0.0, 0.0]
        for number, path in enumerate(files):
            # each way comes first for every other file, so that neither has the warmer caches
            for way in (0, 1) if (number + turn) % 2 else (1, 0):
                start = time.process_time()
                ways[way](path)
                spent[way] += time.process_time() - start
        if turn >= 0:
            turns.append((*spent, spent[0] / spent[1]))
    return tuple(map(statistics.median, zip(*turns, strict=True)))  # type: ignore[return-value]


def bare_worker(files: Sequence[str], ready: Any, ends: Any) -> None:
    """Make the bare calls, once all workers are there."""
    bare(files[0])
    ready.wait(LONGEST_WAIT_S)
    start = time.process_time()
    for path in files:
        bare(path)
    ends.put((time.monotonic(), time.process_time() - start))


def bare_run(rows: Sequence[str], audio_s: float) -> Spent:
    """Let `WORKERS` bare processes work through `rows`, `audio_s` in all; their start is not counted."""
    context = multiprocessing.get_context("spawn")
    ready, ends = context.Barrier(WORKERS + 1), context.Queue()
    parts = [rows[number::WORKERS] for number in range(WORKERS)]
    workers = [context.Process(target=bare_worker, args=(part, ready, ends)) for part in parts]
    for worker in workers:
        worker.start()
    ready.wait(LONGEST_WAIT_S)
    start = time.monotonic()
    reports = [ends.get(timeout=LONGEST_WAIT_S) for _ in workers]
    for worker in workers:
        worker.join()
    return Spent(audio_s / (max(end for end, _ in reports) - start), sum(cpu for _, cpu in reports))


def cpu_of_all() -> float:
    """Return the processor seconds so far of this process and its descendants, Ray's servers and workers."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            seconds[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    ours = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(seconds[process] for process in ours if process in seconds)


def noted_decode(batch: pa.Table, config: DecodeConfig, storage: StorageConfig) -> pa.Table:
    """Decode as `annotate` does, and note who did it, and when."""
    from sift_ray.pipeline.decoding import decode_batch

    return noted(lambda table: decode_batch(table, config, storage), batch)


def stage_run(rows: Sequence[str]) -> tuple[list[Work], float, float]:
    """Let the stage work through `rows` in the Ray that is open.

    Returns:
        The batches, when it began, and processor seconds with all that Ray does beside it.
    """
    import ray

    from sift_ray.pipeline.session import task_limits
    from sift_ray.schema import UTTERANCES, conform

    config = DecodeConfig()
    same = dict.fromkeys(("corpus", "data_source", "language", "split"), ["-"] * len(rows))
    numbers = pa.array(range(len(rows)))
    table = conform(
        pa.table(
            {
                **same,
                "unit_id": numbers,
                "utterance_id": numbers.cast(pa.string()),
                "audio_uri": list(rows),
                "status": ["ok"] * len(rows),
            }
        ),
        UTTERANCES,
    )
    start, cpu = time.monotonic(), cpu_of_all()
    bounds = np.linspace(0, len(rows), BLOCKS + 1).astype(int)
    pieces = [ray.put(table.take(pa.array(np.arange(a, b)))) for a, b in itertools.pairwise(bounds)]
    dataset = ray.data.from_arrow_refs(pieces).map_batches(
        noted_decode,
        fn_kwargs={"config": config, "storage": StorageConfig()},
        batch_size=config.pool.batch_rows,
        batch_format="pyarrow",
        num_cpus=config.pool.num_cpus,
        ray_remote_args_fn=task_limits(RayConfig()),
    )
    done: list[Work] = []
    decoded = 0
    for bundle in dataset.iter_internal_ref_bundles():
        for block in ray.get(list(bundle.block_refs)):
            decoded += block.column("status").to_pylist().count("ok")
            done += works_of(block)
    assert decoded == len(rows), f"{len(rows) - decoded} clips were rejected"
    return done, start, cpu_of_all() - cpu


def through_the_stage(files: dict[str, list[str]], bare_s: dict[str, float], amount: Amount) -> None:
    """Print the stage's part; `bare_s` are the seconds of the bare calls for all files of a format."""
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
    import ray
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR", _node_ip_address="127.0.0.1")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    print("\nthrough Ray: seconds of audio per second by the clock, and processor seconds of all processes")
    print(f"{'':<14}{'clips':>8}{'audio h':>9}{'bare':>9}{'ours':>9}{'speed':>8}", end="")
    print(f"{'bare s':>9}{'ours s':>9}{'speed':>8}{'start-up s':>12}")
    for name in STAGE_FORMATS:
        paths = files[name]
        repeats = max(1, round(amount.stage_s * WORKERS / bare_s[name]))
        rows = paths * repeats
        audio_s = sum(sf.info(path).duration for path in paths) * repeats
        stage_run(rows)  # Ray starts servers of its own during the first seconds of work
        turns = []
        for _ in range(amount.stage_turns):
            one, (done, start, cpu_s) = bare_run(rows, audio_s), stage_run(rows)
            speed, start_up = rate(done, WORKERS, start)
            turns.append((one.speed, speed, speed / one.speed, one.cpu_s, cpu_s, one.cpu_s / cpu_s, start_up))
        medians = [statistics.median(column) for column in zip(*turns, strict=True)]
        columns = f"{medians[0]:>9,.0f}{medians[1]:>9,.0f}{medians[2]:>8.2f}"
        columns += f"{medians[3]:>9.1f}{medians[4]:>9.1f}{medians[5]:>8.2f}{medians[6]:>12.1f}"
        print(f"{name:<14}{len(rows):>8}{audio_s / 3600:>9.1f}{columns}", flush=True)
    ray.shutdown()


def main() -> None:
    """Write the clips, and print both parts."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.decode")
    options.add_argument("--quick", action="store_true", help="a few seconds: the figures mean nothing")
    amount = QUICK if options.parse_args().quick else FULL
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as folder:
        files = write_clips(Path(folder), amount.clips)
        seconds = sum(sf.info(path).duration for path in files["flac 16 kHz"])
        print(f"{amount.clips} clips of 5 to 20 s, {seconds:.0f} s in all; processor seconds for all of them")
        print(f"{'one process':<14}{'bare s':>9}{'ours s':>9}{'speed':>8}")
        bare_s = {}
        for name, paths in files.items():
            bare_s[name], ours, speed = alone(paths, amount.turns)
            print(f"{name:<14}{bare_s[name]:>9.3f}{ours:>9.3f}{speed:>8.2f}", flush=True)
        through_the_stage(files, bare_s, amount)


if __name__ == "__main__":
    main()
