"""Whether audio piles up where decoding is faster than measuring: an object store that holds a part of it alone.

    python -m tests.benchmarks.backpressure [--clips N]

N clips of half a minute, joined from the recordings of `tests/real_speech/`, are annotated on a local Ray whose object
store holds less than half of them decoded; what the store held at most and what it had to spill to disk is read while
the job runs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import ray
import soundfile as sf
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from sift_ray.config import Config
from sift_ray.pipeline.build import annotate, plan
from sift_ray.schema import SAMPLE_RATE
from tests.human_speech import recordings

CLIP_S: Final = 30
STORE_GIB: Final = 0.4
EVERY_S: Final = 0.5
MB: Final = 10**6


def main() -> None:
    """Annotate the clips and print a line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.backpressure")
    parser.add_argument("--clips", type=int, default=1000)
    clips: int = parser.parse_args().clips
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as temporary:
        config = config_of(Path(temporary), clips)
        plan(config)
        store, began = Store(), time.monotonic()
        with store:
            annotate(config)
        seconds = time.monotonic() - began
    decoded = clips * CLIP_S * SAMPLE_RATE * 2
    print(
        f"{clips:,} clips, {decoded / MB:,.0f} MB decoded, annotated in {seconds:.0f} s: the store of "
        f"{STORE_GIB * 2**30 / MB:.0f} MB held {store.most / MB:.0f} MB at most and spilled {store.spilled / MB:.0f} MB"
    )


def config_of(folder: Path, clips: int) -> Config:
    """Write the clips, each a file of its own, and their manifest; return the job."""
    spoken = np.concatenate([one.samples for one in recordings() if one.language == "en"])
    clip = np.resize(spoken, CLIP_S * SAMPLE_RATE)
    first = folder / "clip.flac"
    sf.write(first, clip, SAMPLE_RATE)
    lines = ["id\taudio\ttranscript\tlanguage"]
    for number in range(clips):
        os.link(first, folder / f"{number:05d}.flac")
        lines.append(f"{number:05d}\t{number:05d}.flac\thello\ten")
    manifest = folder / "clips.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = {
        "output": str(folder / "out"),
        "corpora": [{"type": "manifest", "name": "long", "path": str(manifest)}],
        "annotate": {"align": {"backend": "none"}, "features": {"quality": "none", "room": "none"}},
        "ray": {"object_store_gib": STORE_GIB},
    }
    return Config.model_validate(document)


class Store:
    """Reads what Ray's object store holds until the block is left.

    Attributes:
        most: bytes held at most.
        spilled: bytes written to disk in all.
    """

    def __init__(self) -> None:
        self.most = self.spilled = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            if not ray.is_initialized():
                continue
            try:
                state = get_state_from_address(ray.get_runtime_context().gcs_address)
                told = get_memory_info_reply(state).store_stats
            except Exception as error:  # (it begins or ends just now; Ray has no class for that)
                print(json.dumps({"not read": str(error)[:200]}))
                continue
            self.most = max(self.most, told.object_store_bytes_used)
            self.spilled = max(self.spilled, told.spilled_bytes_total)


if __name__ == "__main__":
    main()
