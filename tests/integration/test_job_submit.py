"""A job handed to a cluster's job server, stopped in the middle and handed in again, ends like an undisturbed one."""

import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from sift_ray.lease import LEASE_NAME

from ..conftest import Job, template_config
from ..ray_head import Head, ray_head
from .test_resume import content_by_id

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

JOBS = Path(__file__).parents[2] / "jobs"
PATIENCE_S = 300
"""For a job to come as far as a test wants it. It takes 30 s by itself, and minutes where all tests run at once."""
STATUS_S = 10


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_JOB_STOP_WAIT_TIME_S": "60",  # before the job server kills what it told to stop; 3 unless given
    }
    with ray_head("--num-cpus=6", environment=environment) as started:
        yield started


@pytest.fixture
def working_dir(tmp_path: Path, finished_job: Job, demo_corpora: Path) -> Path:
    """What a person would submit from: entry scripts and a config, beside things that must not travel."""
    folder = tmp_path / "checkout"
    shutil.copytree(JOBS, folder / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "job.yaml").write_text(template_config(tmp_path / "out", demo_corpora, finished_job.models()))
    for heavy in (".venv/lib/torch.so", "out/demo/clip.wav"):
        (folder / heavy).parent.mkdir(parents=True)
        (folder / heavy).write_bytes(b"0")
    return folder


def submit(head: Head, working_dir: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {"excludes": [".venv", "out"], "env_vars": {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}}
    return head.ray(
        *("job", "submit", "--address", head.dashboard, "--submission-id", name, *options),
        *("--working-dir", str(working_dir), "--runtime-env-json", json.dumps(environment)),
        *("--", "python", "jobs/build.py", "job.yaml"),
        timeout=PATIENCE_S,
    )


def logs(head: Head, name: str) -> str:
    return head.ray("job", "logs", "--address", head.dashboard, name).stdout


def said(head: Head, name: str) -> str:
    """What a job has said so far, from the head's own disk: that is there even where the job server hangs."""
    found = head.folder.glob(f"session_*/logs/job-driver-{name}.log")
    return "\n".join(file.read_text(errors="replace")[-3000:] for file in found)


def wait_for(path: Path, head: Head, name: str) -> None:
    """Wait until a running job has put a file there."""
    began = asked = time.monotonic()
    while not path.exists():
        if (now := time.monotonic()) - asked > STATUS_S:
            status = head.ray("job", "status", "--address", head.dashboard, name).stdout
            assert "RUNNING" in status or "PENDING" in status, status + said(head, name)
            assert now - began < PATIENCE_S, f"{path.name} does not come: {status}{said(head, name)}"
            asked = time.monotonic()
        time.sleep(0.1)


def stop(head: Head, name: str) -> None:
    """Stop a job as `ray job stop` does, which itself takes longer to start than such a small job has left to run."""
    request = Request(
        f"{head.dashboard}/api/jobs/{name}/stop",
        headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"},
        method="POST",
    )
    with urlopen(request, timeout=60) as reply:
        assert json.load(reply)["stopped"]
    stopped = head.ray("job", "stop", "--address", head.dashboard, name)  # waits until it is gone
    assert stopped.returncode == 0, stopped.stdout[-3000:]
    assert "stopped" in head.ray("job", "status", "--address", head.dashboard, name).stdout.lower()


def complete(config: Path) -> bool:
    command = [sys.executable, "-m", "sift_ray.cli", "status", str(config), "--json"]
    state = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)
    return bool(state["complete"])


def test_stopped_and_submitted_again_the_release_is_the_same(
    head: Head, working_dir: Path, finished_job: Job, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    submitted = submit(head, working_dir, "first", "--no-wait")
    assert submitted.returncode == 0, submitted.stdout[-3000:]
    wait_for(output / "annotations/wave=00000/_MANIFEST.json", head, "first")
    stop(head, "first")
    assert "told to stop" in logs(head, "first")
    assert not (output / LEASE_NAME).exists(), "the job left without giving its lease back"
    assert not (output / "release.json").exists()
    assert not complete(working_dir / "job.yaml")
    done_before = {path: path.stat().st_mtime_ns for path in output.glob("*/wave=*/_MANIFEST.json")}

    again = submit(head, working_dir, "second")  # waits for the end, and its exit code is the job's
    assert again.returncode == 0, again.stdout[-3000:] + said(head, "second")
    assert {path: path.stat().st_mtime_ns for path in done_before} == done_before, "a finished wave was run again"
    assert content_by_id(output / "release") == content_by_id(finished_job.folder / "release")
    assert complete(working_dir / "job.yaml")
    carried = {path.name for path in head.folder.glob("session_*/runtime_resources/working_dir_files/*/*")}
    assert carried == {"jobs", "job.yaml"}, "the working folder's heavy parts were sent along"


def test_a_job_that_fails_is_told_of_by_its_exit_code(head: Head, working_dir: Path) -> None:
    (working_dir / "job.yaml").write_text("output: nowhere\n")
    failed = submit(head, working_dir, "wrong")
    assert failed.returncode == 1
    assert "corpora" in failed.stdout
