"""A job killed in the middle and run again ends like one that was never disturbed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ..conftest import Job, template_config

pytestmark = pytest.mark.integration

KILL_WHEN_DONE = ["annotations/wave=00000", "instructions/wave=00000"]
PATIENCE_S = 400


def content_by_id(folder: Path) -> dict[str, str]:
    """The release's `sample_id`s, each with a hash of all the row's columns."""
    found = {}
    for file in folder.rglob("*.parquet"):
        for row in pq.read_table(file, partitioning=None).to_pylist():
            assert row["sample_id"] not in found, "a sample stands twice"
            text = json.dumps(row, sort_keys=True)
            found[row["sample_id"]] = hashlib.sha256(text.encode()).hexdigest()
    return found


def start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__).parents[2] / "jobs/build.py"), str(config), "--set", "ray.num_cpus=6"]
    with log.open("ab") as stream:
        environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)


def test_killed_twice_the_release_is_the_same(finished_job: Job, demo_corpora: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    config = tmp_path / "job.yaml"
    config.write_text(template_config(output, demo_corpora, finished_job.models()))
    log = tmp_path / "log"
    for wave in KILL_WHEN_DONE:
        job = start(config, log)
        deadline = time.monotonic() + PATIENCE_S
        while not (output / wave / "_MANIFEST.json").exists():
            assert job.poll() is None, f"the job ended before it could be killed:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        assert not (output / "release.json").exists()
    done_before = {p: p.stat().st_mtime_ns for p in output.glob("*/wave=*/_MANIFEST.json")}
    assert done_before
    job = start(config, log)
    assert job.wait(timeout=PATIENCE_S) == 0, log.read_text()[-3000:]
    after = {p: p.stat().st_mtime_ns for p in done_before}
    assert after == done_before, "a finished wave was run again"
    expected = content_by_id(finished_job.folder / "release")
    assert content_by_id(output / "release") == expected
