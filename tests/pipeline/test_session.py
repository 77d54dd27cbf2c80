import subprocess
import sys
from pathlib import Path

import pytest

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline.preflight import ClusterError
from sift_ray.pipeline.session import RaySession


def config(tmp_path: Path, *overrides: str) -> Config:
    (tmp_path / "clips.tsv").write_text("id\n")
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
    return parse_config(text, "job.yaml", overrides)


@pytest.mark.integration
def test_too_much_is_refused_at_once_instead_of_waiting_for_ever(local_ray: None, tmp_path: Path) -> None:
    greedy = config(tmp_path, "annotate.features.pool.num_cpus=64", "instruct.engine=template")
    with pytest.raises(ClusterError, match=r"annotations needs at least 66.95 CPUs, and the cluster has 6"):
        RaySession(greedy).ensure("annotations")


@pytest.mark.integration
def test_a_gpu_that_is_not_there_is_named(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"instructions needs at least 1 GPUs, and the cluster has 0"):
        RaySession(config(tmp_path)).ensure("instructions")


@pytest.mark.integration
def test_a_whole_job_looks_ahead_to_the_stage_that_can_never_run(local_ray: None, tmp_path: Path) -> None:
    job = config(tmp_path, "annotate.features.pool.actors=[1, 1]", "annotate.align.pool.actors=[1, 1]")
    RaySession(job).ensure("annotations")
    with pytest.raises(ClusterError, match=r"instructions needs at least 1 GPUs, and the cluster has 0"):
        RaySession(job, whole=True).ensure("annotations")
    RaySession(job, whole=True).ensure("release")


STOPPED = """
import os, signal, sys
from sift_ray.config_file import parse_config
from sift_ray.lease import Lease
from sift_ray.pipeline.session import RaySession
from sift_ray.storage import LocalRoot
root = LocalRoot(sys.argv[1])
with Lease(root), RaySession(parse_config(sys.argv[2], "job.yaml", ())):
    print(root.read("_LEASE.json").decode(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("it went on", flush=True)
"""


def test_a_job_told_to_stop_gives_its_lease_back(tmp_path: Path) -> None:
    (tmp_path / "clips.tsv").write_text("id\n")
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path / "out"), text],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 128 + 15, done.stderr
    assert "holder" in done.stdout
    assert "it went on" not in done.stdout
    assert not (tmp_path / "out/_LEASE.json").exists()
