"""From annotations to a release, for so many samples: time, memory of each kind of process, files.

    python -m tests.benchmarks.scale [--samples 500000 5000000] [--folder DIR] [--bare]

Synthetic annotations (`scale_annotations`), in waves of production's size and with production's mix, lie on disk as
finished waves; making them is not timed. Then `bin`, `instruct` with the template engine, every pair verified, and
`release` to Parquet run as a user's would, in one session on a local Ray, in a process of its own for each number of
samples. Ray's start is told apart; so is the steady rate of `instruct`, from its first wave's end to its last's. With
--bare the functions of `instruct` run on the first job once more, in one process a core: that tells what Ray costs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import yaml

from sift_ray.storage import LocalRoot, put_json, read_json, read_manifest, wave_folder
from tests.benchmarks.process_memory import GIB, Peaks, peaks_while
from tests.benchmarks.scale_annotations import Annotations, write_waves
from tests.benchmarks.scale_bare import accepted, bare_rate

PRODUCTION: Final = Path(__file__).parents[2] / "jobs" / "production.yaml"
SAMPLES_AN_UTTERANCE: Final = 16.7
"""What the mix of `jobs/production.yaml` makes of these annotations, some of which lack gender, age or words."""
STEPS: Final = ("bin", "instruct", "release")
FLAT, STEADY = 1.20, 0.85
"""The goals: peaks of memory of all sizes within a fifth of the least, rates no less than this share of the best."""


class Run(NamedTuple):
    """What a run took.

    Attributes:
        samples: in the release.
        utterances: that they were made of.
        waves: that these lay in.
        seconds: by step; `start` is Ray's.
        steady: samples a second of `instruct` between the ends of its first and its last wave; None with one wave.
        peaks: of memory.
        files: by folder, the size of each of its Parquet files in bytes.
    """

    samples: int
    utterances: int
    waves: int
    seconds: dict[str, float]
    steady: float | None
    peaks: Peaks
    files: dict[str, list[int]]

    def rates(self) -> dict[str, float]:
        """Return rows a second by step: utterances of `bin`, samples of all others; `whole` is without Ray's start."""
        whole = sum(self.seconds[step] for step in STEPS)
        rates = {step: self.samples / self.seconds[step] for step in STEPS[1:]}
        return {"bin": self.utterances / self.seconds["bin"], **rates, "whole": self.samples / whole}


def main() -> None:
    """Run every size and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000])
    parser.add_argument("--wave-rows", type=int, default=20_000, help="utterances of a wave")
    parser.add_argument("--folder", help="where the jobs lie, and stay; else a temporary folder")
    parser.add_argument("--bare", action="store_true", help="tell what Ray costs `instruct`")
    options = parser.parse_args()
    annotations = Annotations()
    runs = []
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as temporary:
        for samples in options.samples:
            folder = Path(options.folder or temporary) / str(samples)
            runs.append(measured(annotations, folder, samples, options.wave_rows))
            tell(runs[-1])
            if options.bare and len(runs) == 1:
                tell_bare(runs[0], bare_rate(folder / "job.yaml", os.cpu_count() or 1))
            if options.folder is None:
                shutil.rmtree(folder)
    if len(runs) > 1:
        compare(runs)


def measured(annotations: Annotations, folder: Path, samples: int, wave_rows: int) -> Run:
    """Lay out the job of so many samples and run it in another process."""
    utterances = -(-samples // SAMPLES_AN_UTTERANCE)
    root, waves = lay_out(annotations, folder, int(utterances), wave_rows)
    command = [sys.executable, "-m", "tests.benchmarks.scale_job", str(folder / "job.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, peaks_while(process.pid) as peaks:
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the job in {folder} failed")
    seconds = json.loads(said.splitlines()[-1])
    record = read_json(root, "release.json")
    assert record is not None
    return Run(
        samples=sum(record["rows"].values()),
        utterances=int(utterances),
        waves=waves,
        seconds=seconds,
        steady=steady_rate(root, waves),
        peaks=peaks,
        files={name: sizes(folder / "out" / name) for name in ("annotations", "instructions", "release")},
    )


def lay_out(annotations: Annotations, folder: Path, utterances: int, wave_rows: int) -> tuple[LocalRoot, int]:
    """Write the config, the plan and the annotations of a job; return its root and the number of waves."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tasks = yaml.safe_load(PRODUCTION.read_text(encoding="utf-8"))["instruct"]["tasks"]
    document = {
        "output": str(folder / "out"),
        "corpora": [{"type": "demo", "name": "synthetic", "path": str(folder / "no_audio")}],
        "plan": {"wave_rows": wave_rows},
        "instruct": {"engine": "template", "tasks": tasks},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    root = LocalRoot(folder / "out")
    waves = write_waves(root, annotations, utterances, wave_rows)
    put_json(root, "plan.json", {"waves": waves, "rows": utterances, "content": "synthetic"})
    return root, waves


def steady_rate(root: LocalRoot, waves: int) -> float | None:
    """Return the samples a second that `instruct` made after its first wave was done."""
    done = []
    for wave in range(waves):
        manifest = read_manifest(root, "instructions", wave)
        assert manifest is not None
        marked = Path(root.locate(f"{wave_folder('instructions', wave)}/_MANIFEST.json")).stat().st_mtime
        done.append((marked, accepted(manifest.counts)))
    done.sort()
    took = done[-1][0] - done[0][0]
    return sum(samples for _, samples in done[1:]) / took if took > 0 else None


def sizes(folder: Path) -> list[int]:
    """Return the bytes of each Parquet file under `folder`."""
    return [path.stat().st_size for path in folder.rglob("*.parquet")]


def tell(run: Run) -> None:
    """Print the tables of one run."""
    print(f"\n{run.samples:,} samples of {run.utterances:,} utterances in {run.waves} waves\n")
    print("| step | seconds | rows a second |\n|---|---|---|")
    print(f"| Ray's start | {run.seconds['start']:.1f} | |")
    for step, rate in run.rates().items():
        took = run.seconds.get(step, sum(run.seconds[part] for part in STEPS))
        print(f"| {step} | {took:,.1f} | {rate:,.0f} {'utterances' if step == 'bin' else 'samples'} |")
    if run.steady is not None:
        print(f"| instruct, after its first wave | | {run.steady:,.0f} samples |")
    print("\n| peak of memory | GiB |\n|---|---|")
    for kind, peak in run.peaks.items():
        print(f"| {kind} | {peak / GIB:.2f} |")
    print("\n| Parquet | files | GB | least MB | greatest MB |\n|---|---|---|---|---|")
    for name, files in run.files.items():
        least, greatest = min(files) / 1e6, max(files) / 1e6
        print(f"| {name} | {len(files)} | {sum(files) / 1e9:.3f} | {least:.2f} | {greatest:.1f} |")
    sys.stdout.flush()


def tell_bare(run: Run, bare: float) -> None:
    """Print the rates of `instruct` beside that of its functions in one process a core."""
    print(f"\nwithout Ray, in {os.cpu_count()} processes: {bare:,.0f} samples a second; through Ray", end=" ")
    print(f"{run.rates()['instruct'] / bare:.2f} of it", end="")
    print("" if run.steady is None else f", after the first wave {run.steady / bare:.2f} (the goal is {STEADY})")
    sys.stdout.flush()


def compare(runs: list[Run]) -> None:
    """Print how the runs differ: peaks of memory over the least of all sizes, rates over the best."""
    print(f"\n| | {' | '.join(f'{run.samples:,}' for run in runs)} | goal |\n|---|{'---|' * (len(runs) + 1)}")
    for kind in runs[0].peaks:
        peaks = [run.peaks[kind] for run in runs]
        print(f"| memory, {kind} | {' | '.join(f'{peak / min(peaks):.2f}' for peak in peaks)} | ≤ {FLAT:.2f} |")
    rates: dict[str, list[float]] = {step: [run.rates()[step] for run in runs] for step in runs[0].rates()}
    if all(run.steady for run in runs):
        rates["instruct, after its first wave"] = [run.steady or 0.0 for run in runs]
    for step, each in rates.items():
        print(f"| rate, {step} | {' | '.join(f'{rate / max(each):.2f}' for rate in each)} | ≥ {STEADY:.2f} |")


if __name__ == "__main__":
    main()
