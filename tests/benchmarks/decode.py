"""How fast decoding is against the bare libraries, alone and as the stage of a job.

    python -m tests.benchmarks.decode

Speech of the demo corpora is joined to clips of 5 to 20 s and written in each format. First `decode` and the bare calls
(`soundfile.read` as float32, `soxr.resample` HQ where the rate is another) take turns on every file, in one process;
processor time is compared, which other work on the machine disturbs least. Then the clips go, many times over, through
Ray Data as `annotate` has it, with two workers, in turns with two processes that make the bare calls on the same
files; wall-clock
time is compared, and processor time with all that Ray does beside. Medians of several turns are printed.
"""

from __future__ import annotations

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
import soundfile as sf
import soxr
from numpy.typing import NDArray

from sift_ray.audio.decode import decode
from sift_ray.config import DecodeConfig, RayConfig, StorageConfig
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.demo import write_demo

CLIPS = 48
TURNS = 9
WORKERS = 2
STAGE_TURNS = 3
STAGE_S = 8.0  # of one worker's bare calls in a turn
BLOCKS = 16  # as annotate cuts a wave for two workers
FORMATS: dict[str, tuple[str, int, dict[str, str]]] = {
    "flac 16 kHz": ("flac", 16_000, {}),
    "mp3 48 kHz": ("mp3", 48_000, {}),
    "opus 48 kHz": ("opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    "opus 16 kHz": ("opus", 16_000, {"format": "OGG", "subtype": "OPUS"}),
}
STAGE_FORMATS = ("flac 16 kHz", "mp3 48 kHz", "opus 48 kHz")


class Spent(NamedTuple):
    """What a run took."""

    wall_s: float
    cpu_s: float


def write_clips(folder: Path) -> dict[str, list[str]]:
    """Return the files of each format; all formats hold the same clips."""
    demo = write_demo(folder / "demo", minutes=4)
    assert demo.vctk is not None
    recordings = sorted(demo.vctk.rglob("*.flac")) + sorted(demo.common_voice.rglob("*.mp3"))
    draw = np.random.default_rng(0)
    files: dict[str, list[str]] = {name: [] for name in FORMATS}
    for clip in range(CLIPS):
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


def alone(files: Sequence[str]) -> tuple[float, float, float]:
    """Return the medians of processor seconds, bare and ours, and of their ratio, over turns on all files."""
    source = AudioSource(StorageConfig())
    ways: list[Callable[[str], Any]] = [bare, lambda path: decode(path, source)]
    turns = []
    for turn in range(-1, TURNS):
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
    ready.wait()
    start = time.process_time()
    for path in files:
        bare(path)
    ends.put((time.monotonic(), time.process_time() - start))


def bare_run(rows: Sequence[str]) -> Spent:
    """Let `WORKERS` bare processes work through `rows`; their start is not counted."""
    context = multiprocessing.get_context("spawn")
    ready, ends = context.Barrier(WORKERS + 1), context.Queue()
    parts = [rows[number::WORKERS] for number in range(WORKERS)]
    workers = [context.Process(target=bare_worker, args=(part, ready, ends)) for part in parts]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.monotonic()
    reports = [ends.get() for _ in workers]
    for worker in workers:
        worker.join()
    return Spent(max(end for end, _ in reports) - start, sum(cpu for _, cpu in reports))


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


def stage_run(rows: Sequence[str]) -> Spent:
    """Let the stage work through `rows` in the Ray that is open; all that Ray does beside it is counted."""
    import pyarrow as pa
    import ray

    from sift_ray.pipeline.decoding import decode_batch
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
        decode_batch,
        fn_kwargs={"config": config, "storage": StorageConfig()},
        batch_size=config.pool.batch_rows,
        batch_format="pyarrow",
        num_cpus=config.pool.num_cpus,
        ray_remote_args_fn=task_limits(RayConfig()),
    )
    decoded = 0
    for bundle in dataset.iter_internal_ref_bundles():
        for block in ray.get(list(bundle.block_refs)):
            decoded += block.column("status").to_pylist().count("ok")
    assert decoded == len(rows), f"{len(rows) - decoded} clips were rejected"
    return Spent(time.monotonic() - start, cpu_of_all() - cpu)


def through_the_stage(files: dict[str, list[str]], bare_s: dict[str, float]) -> None:
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
    start_up = stage_run(files["flac 16 kHz"][: 2 * WORKERS])
    print(f"\nstart-up of the stage, with its workers: {start_up.wall_s:.1f} s")
    print("through Ray: wall-clock seconds, and processor seconds of all processes")
    print(f"{'':<14}{'clips':>8}{'audio h':>9}{'bare s':>9}{'ours s':>9}{'speed':>8}{'bare':>9}{'ours':>9}{'speed':>8}")
    for name in STAGE_FORMATS:
        paths = files[name]
        rows = paths * max(1, round(STAGE_S * WORKERS / bare_s[name]))
        stage_run(rows)  # Ray starts servers of its own during the first seconds of work
        turns = []
        for _ in range(STAGE_TURNS):
            one, other = bare_run(rows), stage_run(rows)
            ratios = (one.wall_s / other.wall_s, one.cpu_s / other.cpu_s)
            turns.append((one.wall_s, other.wall_s, ratios[0], one.cpu_s, other.cpu_s, ratios[1]))
        medians = [statistics.median(column) for column in zip(*turns, strict=True)]
        hours = sum(sf.info(path).duration for path in paths) / 3600 * len(rows) / len(paths)
        columns = "".join(f"{a:>9.1f}{b:>9.1f}{ratio:>8.2f}" for a, b, ratio in (medians[:3], medians[3:]))
        print(f"{name:<14}{len(rows):>8}{hours:>9.1f}{columns}", flush=True)
    ray.shutdown()


def main() -> None:
    """Write the clips, and print both parts."""
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as folder:
        files = write_clips(Path(folder))
        seconds = sum(sf.info(path).duration for path in files["flac 16 kHz"])
        print(f"{CLIPS} clips of 5 to 20 s, {seconds:.0f} s in all; processor seconds for all of them")
        print(f"{'one process':<14}{'bare s':>9}{'ours s':>9}{'speed':>8}")
        bare_s = {}
        for name, paths in files.items():
            bare_s[name], ours, speed = alone(paths)
            print(f"{name:<14}{bare_s[name]:>9.3f}{ours:>9.3f}{speed:>8.2f}", flush=True)
        through_the_stage(files, bare_s)


if __name__ == "__main__":
    main()
