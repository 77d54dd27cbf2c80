from pathlib import Path

import pytest

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline.session import ClusterError, RaySession, needs


def config(tmp_path: Path, *overrides: str) -> Config:
    (tmp_path / "clips.tsv").write_text("id\n")
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
    return parse_config(text, "job.yaml", overrides)


def test_what_the_smallest_pools_need(tmp_path: Path) -> None:
    job = config(
        tmp_path,
        "annotate.features.pool={actors: [3, 9], num_cpus: 2, num_gpus: 0.25}",
        "annotate.align.pool={actors: [1, 1], num_cpus: 1}",
        "annotate.decode.pool={num_cpus: 0.5}",
    )
    assert needs(job, "annotations") == (1 + 0.5 + 3 * 2 + 1, 0.75)
    assert needs(job, "release") == (1, 0)


def test_a_language_model_needs_its_gpus(tmp_path: Path) -> None:
    job = config(tmp_path, "instruct.pool={actors: [2, 4], num_gpus: 2}")
    assert needs(job, "instructions") == (3, 4)
    two = config(tmp_path, "instruct.models={default: smollm2, open_ended: org/other}")
    assert needs(two, "instructions") == (3, 2)
    assert needs(config(tmp_path, "instruct.engine=template"), "instructions") == (1, 0)


@pytest.mark.integration
def test_too_much_is_refused_at_once_instead_of_waiting_for_ever(local_ray: None, tmp_path: Path) -> None:
    greedy = config(tmp_path, "annotate.features.pool.num_cpus=64", "instruct.engine=template")
    with pytest.raises(ClusterError, match=r"annotations needs at least 67 CPUs, and the cluster has 6"):
        RaySession(greedy).ensure("annotations")


@pytest.mark.integration
def test_a_gpu_that_is_not_there_is_named(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"instructions needs at least 1 GPUs, and the cluster has 0"):
        RaySession(config(tmp_path)).ensure("instructions")
