import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline import preflight
from sift_ray.pipeline.preflight import WAVES_CPUS, Ask, ClusterError, asks, needs, short_of

from ..ray_head import Head, ray_head

GPU_NODE = {"CPU": 4.0, "GPU": 2.0}
CPU_NODE = {"CPU": 16.0}


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
    assert needs(job, "annotations") == (pytest.approx(WAVES_CPUS + 0.5 + 3 * 2 + 1), 0.75)
    assert needs(job, "release") == (1, 0)
    assert Ask("annotate.features.pool", 2, 0.25, 3) in asks(job, "annotations")


def test_a_job_without_settings_fits_on_four_cpus(tmp_path: Path) -> None:
    assert needs(config(tmp_path), "annotations") <= (4, 0)
    assert needs(config(tmp_path, "instruct.engine=template"), "instructions") <= (4, 0)


def test_a_language_model_needs_its_gpus(tmp_path: Path) -> None:
    job = config(tmp_path, "instruct.pool={actors: [2, 4], num_gpus: 2}")
    assert needs(job, "instructions") == (WAVES_CPUS + 2, 4)
    two = config(tmp_path, "instruct.models={default: smollm2, open_ended: org/other}")
    assert needs(two, "instructions") == (2 * WAVES_CPUS + 2, 2)
    assert needs(config(tmp_path, "instruct.engine=template"), "instructions") == (WAVES_CPUS + 0.5, 0)


def test_an_actor_fits_as_often_as_its_scarcest_resource_lets_it() -> None:
    assert Ask("x", 4, 1, 9).fit(GPU_NODE) == 1
    assert Ask("x", 1, 0.25, 9).fit(GPU_NODE) == 4
    assert Ask("x", 0.1, 0.1, 99).fit({"CPU": 9.0, "GPU": 0.3}) == 3  # 0.3 / 0.1 is 2.99… in floating point
    assert Ask("x", 1, 1).fit(CPU_NODE) == 0
    assert Ask("x", 1, 0, 2).fit(CPU_NODE) == 2, "more than is wanted does not matter"


@pytest.mark.parametrize(
    ("needed", "nodes", "told"),
    [
        ([Ask("a", 1), Ask("b", 4, 2)], [CPU_NODE, GPU_NODE], None),
        ([Ask("a", 1, 1)], [CPU_NODE, CPU_NODE], "1 GPUs, and the cluster has 0"),
        ([Ask("a", 40)], [CPU_NODE], "40 CPUs, and the cluster has 16"),
        # enough in all, and yet no node has room for one
        ([Ask("a", 8, 2)], [CPU_NODE, GPU_NODE], "nodes for a: 1 with 8 CPUs and 2 GPUs, .* hold 0"),
        ([Ask("a", 20)], [CPU_NODE, CPU_NODE], "nodes for a: 1 with 20 CPUs, .* hold 0"),
        # enough in all and one fits, and yet not as many as must run at once
        ([Ask("a", 3, 1, 4)], [GPU_NODE, GPU_NODE, CPU_NODE], "nodes for a: 4 with 3 CPUs and 1 GPU each, .* hold 2"),
        # enough in all, and each kind fits by itself, and yet not all together
        (
            [Ask("a", 3, 0, 2), Ask("b", 2)],
            [{"CPU": 4.0}, {"CPU": 4.0}],
            "at once, .*: a: 2 with 3 CPUs each; b: 1 with 2",
        ),
        ([Ask("a", 3, 0, 2), Ask("b", 1, 0, 2)], [{"CPU": 4.0}, {"CPU": 4.0}], None),
        # a GPU's node must be kept for who needs it, and parts of nodes add up exactly
        ([Ask("a", 4), Ask("b", 4, 1)], [GPU_NODE | {"CPU": 4.0}, {"CPU": 4.0}], None),
        ([Ask("a", 0.1, 0, 30), Ask("b", 1)], [{"CPU": 1.0}, {"CPU": 3.0}], None),
        ([Ask("a", 0.1, 0, 31), Ask("b", 0.9, 0, 1)], [{"CPU": 1.0}, {"CPU": 3.0}], None),
        # a part of a GPU is of one of them
        ([Ask("a", 0.1, 0.6, 6)], [{"CPU": 8.0, "GPU": 4.0}], "nodes for a: 6 .* hold 4"),
        ([Ask("a", 1, 0.6, 2), Ask("b", 1, 0.4, 2)], [{"CPU": 8.0, "GPU": 2.0}], None),
        (
            [Ask("a", 1, 0.7, 2), Ask("b", 1, 0.6)],
            [{"CPU": 8.0, "GPU": 2.0}],
            "at once, .*: a: 2 with 1 CPU and 0.7 GPUs",
        ),
        ([Ask("a", 1, 1), Ask("b", 1, 0.5, 3)], [{"CPU": 8.0, "GPU": 2.0}], "2.5 GPUs, and the cluster has 2"),
        ([Ask("a", 1, 2), Ask("b", 1, 0.5, 4)], [{"CPU": 8.0, "GPU": 4.0}], None),
        # first fit would put 4 and 3 of 7 on the first node, and find no room for 5 of it with 2
        ([Ask("a", 5), Ask("b", 4), Ask("c", 3), Ask("d", 2)], [{"CPU": 7.0}, {"CPU": 7.0}], None),
    ],
)
def test_what_nodes_lack(needed: list[Ask], nodes: list[dict[str, float]], told: str | None) -> None:
    lacking = "; ".join(short_of(needed, nodes))
    if told is None:
        assert not lacking
    else:
        assert re.search(told, lacking)


def test_a_packing_that_takes_too_long_to_judge_passes() -> None:
    """Forty kinds on twenty nodes that are full to the last CPU."""
    needed = [Ask(f"a{n}", 101 + 7 * n) for n in range(40)]
    nodes = [{"CPU": sum(ask.cpus for ask in needed) / 20}] * 20
    assert short_of([Ask("a", 1, 0, 500)], [{"CPU": 8.0}] * 1000) == []
    began = time.monotonic()
    assert short_of(needed, nodes) == []
    assert time.monotonic() - began < 30


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the function that says which nodes Ray has, without Ray."""

    def have(*resources: dict[str, float]) -> None:
        states = [{"Alive": True, "NodeID": f"{i:x}", "Resources": each} for i, each in enumerate(resources)]
        dead = {"Alive": False, "NodeID": "dead", "Resources": {"CPU": 999.0, "GPU": 999.0}}
        monkeypatch.setattr(preflight.ray, "nodes", lambda: [*states, dead])

    return have


@pytest.mark.parametrize(("can_grow", "warned"), [(True, "waits for the autoscaler"), (None, "until nodes are added")])
def test_where_nodes_may_come_it_is_a_warning(
    can_grow: bool | None,
    warned: str,
    nodes: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    nodes(CPU_NODE)
    monkeypatch.setattr(preflight, "_can_grow", lambda needed: can_grow)
    with caplog.at_level(logging.WARNING):
        preflight.check(config(tmp_path), "instructions", joined=True)
    assert "instructions needs at least 1 GPUs, and the cluster has 0" in caplog.text
    assert warned in caplog.text


def test_where_none_can_come_it_is_an_error(
    nodes: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodes(CPU_NODE)
    monkeypatch.setattr(preflight, "_can_grow", lambda needed: False)
    with pytest.raises(ClusterError, match=r"1 GPUs, and the cluster has 0.*node type.*max_workers.*instruct\.pool"):
        preflight.check(config(tmp_path), "instructions", joined=True)


def test_enough_nodes_ask_nobody(
    nodes: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def never(needed: Any) -> None:
        raise AssertionError("the autoscaler was asked")

    nodes(CPU_NODE, GPU_NODE)
    monkeypatch.setattr(preflight, "_can_grow", never)
    with caplog.at_level(logging.WARNING):
        preflight.check(config(tmp_path), "instructions", joined=True)
    assert not caplog.records


CHECKS = """
import json, logging, sys
import ray
from sift_ray.config_file import parse_config
from sift_ray.pipeline.preflight import ClusterError
from sift_ray.pipeline.session import RaySession

text, *trials = json.load(sys.stdin)
told = []
class Keep(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())
logging.getLogger("sift_ray").addHandler(Keep())
ends = []
for trial in trials:
    told.clear()
    with RaySession(parse_config(text, "job.yaml", trial)) as session:
        try:
            session.ensure("instructions")
            ends.append(["runs", *told])
        except ClusterError as error:
            ends.append(["stops", str(error)])
print(json.dumps(ends))
"""


def on(head: Head, tmp_path: Path, *trials: list[str]) -> list[list[str]]:
    """Join a cluster from a process of its own, as a job does, and return how the preflight of each trial ended."""
    (tmp_path / "clips.tsv").write_text("id\n")
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
    done = subprocess.run(
        [sys.executable, "-c", CHECKS],
        input=json.dumps([text, *trials]),
        env={**head.environment, "RAY_ADDRESS": head.address},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return ends


@pytest.mark.integration
def test_a_cluster_started_by_hand_will_not_grow(tmp_path: Path) -> None:
    with ray_head("--num-cpus=3", "--include-dashboard=false") as head:
        time.sleep(6)  # its monitor reports every 5 s
        (gpu, told), enough = on(head, tmp_path, ["instruct.pool.num_gpus=1"], ["instruct.engine=template"])
    assert gpu == "stops"
    assert "instructions needs at least 1 GPUs, and the cluster has 0" in told
    assert "will not grow" in told
    assert enough == ["runs"]


NODE_ID = "f" * 51 + "00000"  # what Ray's stand-in for a cloud calls the head


@pytest.mark.integration
def test_an_autoscaler_is_asked_what_it_could_add(tmp_path: Path) -> None:
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 1},
        "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    lists = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    autoscaling = {
        "cluster_name": "toy",
        "max_workers": 3,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "launch_multiple": True,
            "head_node_id": NODE_ID,
        },
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "cluster_synced_files": [],
        **{key: [] for key in (*lists, "head_start_ray_commands", "worker_start_ray_commands")},
    }
    (tmp_path / "autoscaling.yaml").write_text(json.dumps(autoscaling))
    environment = {
        "RAY_enable_autoscaler_v2": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_CLOUD_INSTANCE_ID": NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    options = ("--num-cpus=0", "--include-dashboard=false", f"--autoscaling-config={tmp_path}/autoscaling.yaml")
    with ray_head(*options, environment=environment) as head:
        two_gpus, three_nodes, wide, fits = on(
            head,
            tmp_path,
            ["instruct.pool.num_gpus=2"],
            ["instruct.pool={actors: [3, 3], num_gpus: 1}"],
            ["instruct.pool={num_cpus: 2, num_gpus: 1}"],
            ["instruct.pool={actors: [2, 4], num_gpus: 1}"],
        )
    assert two_gpus[0] == three_nodes[0] == wide[0] == "stops"
    assert "instruct.pool: 1 with 1 CPU and 2 GPUs" in two_gpus[1]
    assert "instruct.pool: 3 with 1 CPU and 1 GPU each" in three_nodes[1]
    assert "max_workers" in three_nodes[1]
    assert fits[0] == "runs"
    assert "waits for the autoscaler" in fits[1]
