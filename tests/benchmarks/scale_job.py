"""The job that `tests.benchmarks.scale` runs in a process of its own: from finished annotations to a release."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from sift_ray.config_file import load_config
from sift_ray.pipeline.bin import BINS_NAME
from sift_ray.pipeline.build import RUN
from sift_ray.pipeline.session import RaySession


def main(path: str) -> None:
    """Run the job of a config file, and print how many seconds each step took, as the last line and JSON."""
    config = load_config(Path(path))
    seconds = {}
    with RaySession(config) as session:
        started = time.monotonic()
        session.ensure(BINS_NAME)
        seconds["start"] = time.monotonic() - started
        # (the stages find this session open, and use it)
        for step in ("bin", "instruct", "release"):
            started = time.monotonic()
            RUN[step](config)
            seconds[step] = time.monotonic() - started
    print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
