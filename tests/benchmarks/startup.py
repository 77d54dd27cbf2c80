"""Where the time of a small job goes: a whole `sift-ray build` of a dozen clips, from the command to its end.

    python -m tests.benchmarks.startup [--clips N] [--given-only]

The N longest English recordings of `tests/real_speech/` are built into a release by the template engine: once with an
aligner trained on them, once with that aligner given. Printed are the seconds from one line of the job's log to the
next, and the processor time of each process that the job started, Ray's own among them. The latter says more on a
machine that others use too: a job can't end sooner than its longest chain of processes, nor sooner than the sum over
the cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.human_speech import FOLDER

LOOK_EVERY_S: Final = 0.2
LONGEST_S: Final = 1200
MARKS: Final = (
    ("imports, plan", r"plan: .* utterances"),
    ("Ray's start", r"Ray: started"),
    ("training", r"alignment model \w+: made"),
    ("annotate", r"annotations wave .*: [\d,]+ rows"),
    ("bin", r"bin: \d+ rulers"),
    ("instruct", r"instructions wave .*: [\d,]+ rows"),
    ("release", r"release: .* samples in"),
)
"""A part of the job, and the line that ends it; one without such a line goes to the next."""
KINDS: Final = (
    ("driver", r"sift_ray\.cli"),
    ("Ray: gcs_server", r"gcs_server"),
    ("Ray: raylet", r"raylet/raylet"),
    ("Ray: dashboard", r"dashboard/dashboard\.py"),
    ("Ray: agents", r"dashboard/agent\.py|runtime_env/agent|ray::(Dashboard|RuntimeEnv)Agent"),
    ("Ray: monitors", r"monitor\.py"),
    ("Ray Data: its own actors", r"ray::(_StatsActor|_AutoscalingCoordinatorActor|ActorLocationTracker)"),
    ("worker: training", r"ray::_make"),
    ("worker: measuring", r"Measuring"),
    ("worker: aligning", r"Aligning"),
    ("worker: progress, gates", r"ray::(RowCounter|WaveGate)"),
    ("worker: release", r"ray::(_Writer|_write|_explode|_look|_settle)"),
    ("worker: others", r"ray::|default_worker"),
    ("other processes", r""),
)
"""What a process was, by the first of these that is found in any command line that it had."""


@dataclass
class Process:
    """A process of the job: the command lines it was seen with, and its processor seconds so far."""

    titles: set[str] = field(default_factory=set)
    cpu_s: float = 0.0

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next(kind for kind, pattern in KINDS if any(re.search(pattern, title) for title in self.titles))


class Family:
    """Follows a process and all that it starts, and those that these start, until they end."""

    def __init__(self, pid: int) -> None:
        self.processes: dict[int, Process] = {pid: Process()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            there = _processes()
            while more := [pid for pid, (parent, _, _) in there.items() if parent in self.processes]:
                for pid in more:
                    _, seconds, title = there.pop(pid)
                    seen = self.processes.setdefault(pid, Process())
                    seen.cpu_s = seconds
                    seen.titles.add(title)
            for pid in self.processes.keys() & there.keys():  # (the first of them, and those whose parent has ended)
                _, self.processes[pid].cpu_s, title = there[pid]
                self.processes[pid].titles.add(title)


def _processes() -> dict[int, tuple[int, float, str]]:
    """Return the parent, the processor seconds and the command line of every process on the machine."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        found[int(folder.name)] = (int(fields[1]), seconds, title)
    return found


def write_job(folder: Path, clips: int, model: Path | None) -> Path:
    """Write the manifest and the config of a job in `folder`; return the config's path."""
    with (FOLDER / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["language"] == "en"]
    rows.sort(key=lambda row: -len(row["transcript"]))
    with (folder / "clips.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), delimiter="\t")
        table.writeheader()
        table.writerows(rows[:clips])
    align = "min_train_s: 5" if model is None else f"models: {{en: {model}}}"
    path = folder / "job.yaml"
    path.write_text(
        f"""\
output: {folder / "out"}
corpora: [{{type: manifest, name: prompts, path: {folder / "clips.tsv"}, root: {FOLDER.resolve()}}}]
annotate: {{align: {{{align}}}}}
instruct: {{engine: template}}
""",
        encoding="utf-8",
    )
    return path


def build(job: Path) -> tuple[list[tuple[str, float]], list[Process]]:
    """Run the job; return the seconds of each part, and its processes.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", "sift_ray.cli", "build", str(job)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1"}
    environment.pop("RAY_ADDRESS", None)  # Ray's start is part of it
    started = time.monotonic()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        family = Family(running.pid)
        limit = threading.Timer(LONGEST_S, running.terminate)
        limit.start()
        said: list[str] = []
        parts: list[tuple[str, float]] = []
        last, marks = started, list(MARKS)
        for line in running.stdout or ():
            said.append(line)
            reached = next((place for place, (_, pattern) in enumerate(marks) if re.search(pattern, line)), None)
            if reached is not None:
                now = time.monotonic()
                parts.append((marks[reached][0], now - last))
                last, marks = now, marks[reached + 1 :]
        status = running.wait()
        limit.cancel()
        parts.append(("end", time.monotonic() - last))
        parts.append(("whole", time.monotonic() - started))
        family.stop()
    if status:
        sys.exit(f"the build failed with exit code {status}:\n{''.join(said[-40:])}")
    return parts, list(family.processes.values())


def tell(title: str, parts: Sequence[tuple[str, float]], processes: Sequence[Process]) -> None:
    """Print the tables of one build."""
    print(f"\n## {title}\n\n| part | seconds |\n|---|---|")
    for part, seconds in parts:
        print(f"| {part} | {seconds:.1f} |")
    print("\n| processes | how many | processor seconds |\n|---|---|---|")
    for kind, _ in KINDS:
        if of_kind := [process.cpu_s for process in processes if process.kind == kind]:
            print(f"| {kind} | {len(of_kind)} | {sum(of_kind):.1f} |")
    print(f"| all | {len(processes)} | {sum(process.cpu_s for process in processes):.1f} |", flush=True)


def main() -> None:
    """Build twice, and print."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.startup")
    options.add_argument("--clips", type=int, default=12)
    options.add_argument("--given-only", action="store_true", help="measure only the job whose aligner is given")
    asked = options.parse_args()
    load = os.getloadavg()[0]
    print(f"{asked.clips} clips on {os.cpu_count()} cores; load average before: {load:.1f}")
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as scratch:
        folders = [Path(scratch) / name for name in ("trained", "given")]
        for folder in folders:
            folder.mkdir()
        trained = build(write_job(folders[0], asked.clips, None))
        if not asked.given_only:
            tell("The aligner is trained on the clips", *trained)
        (model,) = (folders[0] / "out/models/align").iterdir()
        tell("The aligner is given", *build(write_job(folders[1], asked.clips, model)))


if __name__ == "__main__":
    main()
