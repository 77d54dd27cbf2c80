"""How fast plan reads Common Voice, and whether its memory grows with the rows.

    python -m tests.benchmarks.plan [ROWS ...]

Writes trees of 10 thousand, 100 thousand and 1 million clips (or of so many ROWS) in the temporary folder, plans each
in a process of its own, and deletes them. The clips are links to a few real MP3 files: as many names, files to look
for and durations as in the published corpus, without its bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = (10_000, 100_000, 1_000_000)
LINKS_A_FILE = 60_000  # ext4 allows 65,000
CLIPS_A_SPEAKER = 40
HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\tlocale\tsegment\n"
WORDS = "der die das Haus steht am alten Fluss und niemand weiß seit wann über Nacht fiel dort viel Schnee".split()  # noqa: SIM905


def write_tree(root: Path, rows: int) -> None:
    """Write a `cv-corpus` folder with German clips; a speaker in twenty is in dev, another in test."""
    import numpy as np
    import soundfile as sf

    folder = root / "de"
    (folder / "clips").mkdir(parents=True)
    (root / "sounds").mkdir()
    draw = random.Random(0)
    tone = (0.2 * np.sin(np.arange(48_000) * 0.05)).astype(np.float32)
    tables = {split: (folder / f"{split}.tsv").open("w", encoding="utf-8") for split in ("train", "dev", "test")}
    with (folder / "clip_durations.tsv").open("w", encoding="utf-8") as durations:
        durations.write("clip\tduration[ms]\n")
        for table in tables.values():
            table.write(HEADER)
        for row in range(rows):
            if row % LINKS_A_FILE == 0:
                sound = root / "sounds" / f"{row}.mp3"
                sf.write(sound, tone, 48_000)
            speaker = row // CLIPS_A_SPEAKER
            split = {0: "test", 1: "dev"}.get(speaker % 20, "train")
            name = f"common_voice_de_{17_000_000 + row}.mp3"
            os.link(sound, folder / "clips" / name)
            sentence = " ".join(draw.choices(WORDS, k=draw.randint(5, 14))).capitalize() + "."
            client = hashlib.sha512(str(speaker).encode()).hexdigest()
            gender = ("male", "female", "")[speaker % 3]
            tables[split].write(f"{client}\t{name}\t{sentence}\t2\t0\ttwenties\t{gender}\t\t\tde\t\n")
            durations.write(f"{name}\t{draw.randint(2000, 9000)}\n")
    for table in tables.values():
        table.close()


def plan(tree: Path, output: Path) -> dict[str, float]:
    """Plan the tree in a process of its own; return its rows, seconds by the clock and of all cores, and peak bytes."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.plan", "--child", str(tree), str(output)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    measured: dict[str, float] = json.loads(answer.stdout)
    return measured


def child(tree: str, output: str) -> None:
    """Plan, and print what it took as JSON."""
    from sift_ray.config_file import parse_config
    from sift_ray.pipeline.plan import run_plan
    from sift_ray.storage import LocalRoot

    text = f"output: {output}\ncorpora: [{{type: common_voice, name: cv, path: {tree}, languages: [de]}}]\n"
    wall, processor = time.monotonic(), time.process_time()
    made = run_plan(parse_config(text, "benchmark"), LocalRoot(output))
    wall, processor = time.monotonic() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": made.rows, "seconds": wall, "cpu_seconds": processor, "peak": peak}))


def main(sizes: tuple[int, ...]) -> None:
    """Print a line for each size, and how the peaks compare."""
    peaks = []
    print(f"{'rows':>10} {'seconds':>9} {'rows/s':>9} {'rows/core s':>12} {'peak MiB':>9}")
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as scratch:
            tree = Path(scratch) / "cv-corpus-benchmark"
            write_tree(tree, rows)
            measured = plan(tree, Path(scratch) / "out")
        assert measured["rows"] == rows, measured
        peaks.append(measured["peak"])
        seconds, cores = measured["seconds"], measured["cpu_seconds"]
        print(
            f"{rows:>10,} {seconds:>9.1f} {rows / seconds:>9,.0f} {rows / cores:>12,.0f} "
            f"{measured['peak'] / 2**20:>9.0f}",
            flush=True,
        )
    print(f"peak memory, greatest over least: {max(peaks) / min(peaks):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:4])
    else:
        main(tuple(map(int, sys.argv[1:])) or ROWS)
