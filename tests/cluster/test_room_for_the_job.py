"""The clusters, as Ray's autoscaler reads them, against the config that they are sized for."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.event_logger import AutoscalerEventLogger
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig, NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.config import Config
from sift_ray.config_file import load_config
from sift_ray.config_sections import PoolConfig

from .kuberay_schema import CLUSTER, read

Demand = list[tuple[dict[str, float], int]]


def on_kubernetes() -> dict[str, Any]:
    cluster = read("kuberay/raycluster.yaml")
    cluster["metadata"]["namespace"] = "default"
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    return config


def on_aws() -> dict[str, Any]:
    config: dict[str, Any] = prepare_config(yaml.safe_load((CLUSTER / "aws.yaml").read_text()))
    return config


@pytest.fixture(params=[on_kubernetes, on_aws])
def autoscaling(request: pytest.FixtureRequest) -> AutoscalingConfig:
    make: Callable[[], dict[str, Any]] = request.param
    config = make()
    validate_config(config)
    return AutoscalingConfig(config, skip_content_hash=True)


@pytest.fixture
def nodes(autoscaling: AutoscalingConfig) -> dict[str, NodeTypeConfig]:
    kinds: dict[str, NodeTypeConfig] = autoscaling.get_node_type_configs()
    return kinds


def asks_for(pool: PoolConfig) -> dict[str, float]:
    return {"CPU": pool.num_cpus} | ({"GPU": pool.num_gpus} if pool.num_gpus else {})


def launched(autoscaling: AutoscalingConfig, demand: Demand) -> dict[str, int]:
    """Return how many nodes of each kind Ray's autoscaler would start for a demand, those it always has left out."""
    shapes = [ResourceRequestUtil.make(shape) for shape, count in demand for _ in range(count)]
    kinds = autoscaling.get_node_type_configs()
    for kind in kinds.values():
        kind.min_worker_nodes = 0
    reply = ResourceDemandScheduler(Mock(spec=AutoscalerEventLogger)).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=kinds,
            max_num_nodes=autoscaling.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(shapes),
        )
    )
    assert not reply.infeasible_resource_requests
    return {launch.instance_type: launch.count for launch in reply.to_launch}


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(CLUSTER.parent / "jobs/production.yaml", check_paths=False)


def test_each_stage_can_start_all_its_actors_and_starts_the_nodes_meant_for_them(
    config: Config, autoscaling: AutoscalingConfig, nodes: dict[str, NodeTypeConfig]
) -> None:
    features, align, engines = config.annotate.features.pool, config.annotate.align.pool, config.instruct.pool
    tasks = {"CPU": config.annotate.decode.pool.num_cpus}
    annotate = launched(
        autoscaling, [(asks_for(features), features.actors[1]), (asks_for(align), align.actors[1]), (tasks, 32)]
    )
    assert set(annotate) == {"cpu", "features"}
    assert annotate["features"] <= nodes["features"].max_worker_nodes
    instruct = launched(autoscaling, [(asks_for(engines), engines.actors[1]), ({"CPU": 1.0}, 32)])
    assert set(instruct) == {"cpu", "llm"}


def test_the_first_actor_of_a_stage_starts_the_node_meant_for_it(
    config: Config, autoscaling: AutoscalingConfig
) -> None:
    assert launched(autoscaling, [(asks_for(config.annotate.features.pool), 1)]) == {"features": 1}
    assert launched(autoscaling, [(asks_for(config.annotate.align.pool), 1)]) == {"cpu": 1}
    assert launched(autoscaling, [(asks_for(config.instruct.pool), 1)]) == {"llm": 1}


def test_the_head_offers_nothing(autoscaling: AutoscalingConfig, nodes: dict[str, NodeTypeConfig]) -> None:
    head = nodes[autoscaling.get_head_node_type()]
    assert head.resources["CPU"] == 0
    assert "GPU" not in head.resources


def test_an_engine_has_all_its_gpus_on_one_node(config: Config, nodes: dict[str, NodeTypeConfig]) -> None:
    parallel = config.instruct.vllm.tensor_parallel_size
    assert config.instruct.pool.num_gpus == parallel == nodes["llm"].resources["GPU"]


def test_an_actor_with_gpus_leaves_no_room_for_tasks_without(config: Config, nodes: dict[str, NodeTypeConfig]) -> None:
    for group, pool in (("features", config.annotate.features.pool), ("llm", config.instruct.pool)):
        actors = nodes[group].resources["GPU"] / pool.num_gpus
        assert nodes[group].resources["CPU"] == actors * pool.num_cpus


def test_what_waits_for_a_spot_node_is_not_taken_for_stuck(config: Config) -> None:
    assert config.ray.no_progress_timeout_s >= 3 * 3600


@pytest.mark.parametrize("path", sorted(CLUSTER.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CLUSTER)))
def test_no_file_holds_a_key_an_account_or_a_tag_that_moves(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|-----BEGIN|hf_[A-Za-z0-9]{20}", text)
    assert not re.search(r"\b\d{12}\b", text)  # the number of an account
    assert not re.search(r"image:\s*\S*:latest|\.dkr\.ecr\.", text)


def test_the_arithmetic_in_the_comments_is_right() -> None:
    seconds = 14_000 * 3600
    core_hours = [seconds / 240 / 3600, seconds / 166 / 3600, 330 * 20 * 5 / 3600, 93e6 / 5040 / 3600]
    engine_hours = 93.3e6 * 60 / 2000 / 3600
    for name, cpus in (("aws.yaml", 4 * 32), ("kuberay/rayjob.yaml", 8 * 16)):
        text = " ".join((CLUSTER / name).read_text().replace("#", " ").split())
        for hours in core_hours:
            assert f" {hours:.0f} core-hours" in text
        assert f"together {sum(core_hours):.0f} core-hours" in text
        assert f"{seconds / 31 / 3600:.0f} core-hours more" in text
        assert f"CPUs {2 * sum(core_hours) / cpus:.1f} h" in text
        assert f"{seconds / 500 / 3600:.0f} GPU-hours; on 8 GPUs {seconds / 500 / 3600 / 8:.1f} h" in text
        assert f"{engine_hours:.0f} engine-hours" in text
        assert f"on 16 engines {engine_hours / 16:.0f} h" in text
        # (what is planned and trained before and between, the command knows)
        wall, weekend = told_by_the_command(), 63
        around = wall - seconds / 500 / 3600 / 8 - engine_hours / 16
        assert f"planning requests, {around:.0f} h, in all {wall:.0f} h" in text
        faster = wall - engine_hours / 16 + engine_hours / 20
        assert f"there are {weekend}, so {weekend - wall:.0f} are left" in text
        assert f"on 20 engines {weekend - faster:.0f}." in text


def told_by_the_command() -> float:
    """The hours of `sift-ray estimate` for the production job on as many hours of audio."""
    hours = "en=7500,de=3000,fr=1900,it=600,es=1000"
    production = CLUSTER.parent / "jobs/production.yaml"
    said = CliRunner().invoke(app, ["estimate", str(production), "--hours", hours, "--json"])
    assert said.exit_code == 0, said.output
    return float(json.loads(said.stdout)["wall_hours"])
