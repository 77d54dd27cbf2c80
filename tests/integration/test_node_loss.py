"""A spot node that goes in the middle of a wave, and another that comes late, change nothing in the result."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ..conftest import Job, template_config
from ..ray_head import RAY, Head, ray_head
from .test_resume import content_by_id

pytestmark = pytest.mark.integration

PATIENCE_S = 400


def add_node(head: Head, host: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a node of 4 logical CPUs in a process group of its own, and wait until it has joined."""
    command = [
        *(str(RAY), "start", "--block", f"--address={head.address}", f"--node-ip-address={host}", "--num-cpus=4"),
        *("--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"),
    ]
    with log.open("wb") as stream:
        node = subprocess.Popen(
            command, env=dict(head.environment), stdout=stream, stderr=stream, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE_S
    while "--block" not in log.read_text(errors="replace"):
        assert node.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.2)
    return node


def test_a_node_lost_in_a_wave_and_another_added_the_release_is_the_same(
    finished_job: Job, demo_corpora: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    config = tmp_path / "job.yaml"
    config.write_text(template_config(output, demo_corpora, finished_job.models()))
    nodes = []
    with ray_head("--num-cpus=0", "--include-dashboard=false") as head:
        try:
            nodes = [add_node(head, f"127.0.0.{i}", tmp_path / f"node{i}") for i in (3, 4)]
            environment = {**head.environment, "RAY_ADDRESS": head.address}
            command = [sys.executable, str(Path(__file__).parents[2] / "jobs/build.py"), str(config)]
            with log.open("wb") as stream:
                job = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            deadline = time.monotonic() + PATIENCE_S
            while not (output / "annotations/wave=00000/_MANIFEST.json").exists():
                assert job.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.1)
            time.sleep(3)  # into the second wave
            assert not (output / "annotations/wave=00001/_MANIFEST.json").exists(), "too late to be in its middle"
            os.killpg(nodes[0].pid, signal.SIGKILL)
            nodes.append(add_node(head, "127.0.0.5", tmp_path / "node5"))
            assert job.wait(timeout=PATIENCE_S) == 0, log.read_text()[-3000:]
        finally:
            for node in nodes:
                with suppress(ProcessLookupError):
                    os.killpg(node.pid, signal.SIGKILL)
                node.wait()
    assert content_by_id(output / "release") == content_by_id(finished_job.folder / "release")
