"""What `tests.benchmarks.scale` measures the instruct stage against: its functions in one process a core, without Ray.

Each process takes its share of the waves of a finished job, plans their requests, has the template engine write and
every pair verified, and writes Parquet, as the stage does; to a folder of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from sift_ray.config_file import load_config
from sift_ray.config_instruct import TEMPLATE
from sift_ray.pipeline.bin import load_rulers
from sift_ray.pipeline.instruct import ReadRequests, answer_from_templates, data_file_hashes
from sift_ray.pipeline.plan import read_plan
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.stages import instruct_stage
from sift_ray.pipeline.wave_pieces import piece_of
from sift_ray.pipeline.wave_writing import ROWS_PER_SHARD, write_by_wave
from sift_ray.schema import TASKS
from sift_ray.storage import Counts, LocalRoot, read_manifest, root_of, wave_files


def bare_rate(job: Path, processes: int) -> float:
    """Return the samples a second that so many processes make of the waves of `job`, a config whose bins are made."""
    command = [sys.executable, "-m", "tests.benchmarks.scale_bare", str(job)]
    running = [
        subprocess.Popen([*command, str(share), str(processes)], stdout=subprocess.PIPE, text=True)
        for share in range(processes)
    ]
    rate = 0.0
    for process in running:
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit("a process without Ray failed")
        samples, seconds = json.loads(said.splitlines()[-1])
        rate += samples / seconds
    return rate


def accepted(counts: Counts) -> int:
    """Return the accepted pairs among the counts of instructions."""
    pairs = counts["pairs"].items()
    return int(sum(count for label, count in pairs if label.split("/")[0] in TASKS and label.endswith("/accepted")))


def main(job: str, share: str, processes: str) -> None:
    """Print the samples made of every wave whose number leaves `share` over, and the seconds that it took."""
    config = load_config(Path(job))
    root = root_of(config)
    plan = read_plan(root)
    assert plan is not None
    rulers, mark, annotations = load_rulers(config, root, plan)
    manifests = {wave: read_manifest(root, "annotations", wave) for wave in range(plan.waves)}
    files = {wave: wave_files(root, manifest) for wave, manifest in manifests.items() if manifest is not None}
    read = ReadRequests(root, files, rulers, config.instruct, TEMPLATE)
    stage = instruct_stage(config, annotations, mark, data_file_hashes(), {})

    def answered(wave: int, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for piece in pieces:
            yield answer_from_templates(piece_of(wave, piece), config.instruct, Progress())

    samples = 0
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as folder:
        _, pieces = read(0)
        first = next(iter(pieces))
        list(answered(0, [first]))  # (dictionaries are read once)
        began = time.monotonic()
        for wave in range(int(share), plan.waves, int(processes)):
            _, pieces = read(wave)
            rows = pa.concat_tables(answered(wave, pieces))
            for start in range(0, rows.num_rows, ROWS_PER_SHARD):
                written = write_by_wave(rows.slice(start, ROWS_PER_SHARD), LocalRoot(folder), stage)
                samples += sum(accepted(json.loads(counts)) for counts in written["counts"].to_pylist())
        seconds = time.monotonic() - began
    print(json.dumps([samples, seconds]))


if __name__ == "__main__":
    main(*sys.argv[1:])
