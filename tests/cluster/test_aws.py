import copy
import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

from .kuberay_schema import CLUSTER

Launcher = dict[str, Any]


@pytest.fixture
def launcher() -> Launcher:
    cluster: Launcher = json.loads(json.dumps(yaml.safe_load((CLUSTER / "aws.yaml").read_text())))
    return cluster


@pytest.fixture
def nodes(launcher: Launcher) -> dict[str, Any]:
    nodes: dict[str, Any] = launcher["available_node_types"]
    return nodes


def as_ray_reads_it(launcher: Launcher) -> Launcher:
    """Return the config as `ray up` has it, with Ray's defaults for AWS, checked by Ray."""
    prepared: Launcher = prepare_config(copy.deepcopy(launcher))
    validate_config(prepared)
    return prepared


def problems_for_ec2(node_config: dict[str, Any]) -> str:
    """Return what EC2's RunInstances would refuse in the shape of a node's parameters; "" if nothing."""
    asked = {key: value for key, value in node_config.items() if key != "SubnetIds"}  # Ray takes one of them
    asked |= {"SubnetId": node_config["SubnetIds"][0], "MinCount": 1, "MaxCount": 1}
    service = botocore.session.get_session().get_service_model("ec2")
    shape = service.operation_model("RunInstances").input_shape
    report: str = ParamValidator().validate(asked, shape).generate_report()
    kinds = service.shape_for("InstanceType").enum
    return report if asked["InstanceType"] in kinds else f"{report}\nno such kind: {asked['InstanceType']}".strip()


def test_ray_accepts_it(launcher: Launcher) -> None:
    assert set(as_ray_reads_it(launcher)["available_node_types"]) == {"head", "cpu", "features", "llm"}


@pytest.mark.parametrize(
    ("where", "key", "value", "told"),
    [
        ((), "max_worker", 3, "'max_worker' was unexpected"),
        ((), "max_workers", "many", "'many' is not of type 'integer'"),
        (("auth",), "ssh_key", "x", "'ssh_key' was unexpected"),
        (("docker",), "images", "x", "'images' was unexpected"),
        (("available_node_types", "cpu"), "minimum", 0, "'minimum' was unexpected"),
        (("available_node_types", "llm", "resources"), "GPU", 0.5, "0.5 is not of type 'integer'"),
    ],
)
def test_ray_would_refuse(launcher: Launcher, where: tuple[str, ...], key: str, value: object, told: str) -> None:
    part = launcher
    for step in where:
        part = part[step]
    part[key] = value
    with pytest.raises(jsonschema.ValidationError, match=re.escape(told)):
        as_ray_reads_it(launcher)


@pytest.mark.parametrize("kind", ["head", "cpu", "features", "llm"])
def test_ec2_knows_the_parameters_of_every_node(nodes: dict[str, Any], kind: str) -> None:
    assert problems_for_ec2(nodes[kind]["node_config"]) == ""


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("InstanceTypes", "c7i.8xlarge", 'Unknown parameter in input: "InstanceTypes"'),
        ("InstanceType", "c7i.9xlarge", "no such kind: c7i.9xlarge"),
        ("SecurityGroupIds", "sg-aaaaaaaa", "Invalid type for parameter SecurityGroupIds"),
        ("InstanceMarketOptions", {"Market": "spot"}, 'Unknown parameter in InstanceMarketOptions: "Market"'),
    ],
)
def test_ec2_would_refuse(nodes: dict[str, Any], key: str, value: object, told: str) -> None:
    assert told in problems_for_ec2(nodes["cpu"]["node_config"] | {key: value})


def test_the_head_runs_no_tasks_and_is_on_demand(launcher: Launcher, nodes: dict[str, Any]) -> None:
    head = nodes[launcher["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    start = next(command for command in launcher["head_start_ray_commands"] if "--head" in command)
    assert "--num-cpus=0" in start
    assert "--dashboard-host=127.0.0.1" in start


def test_workers_are_spot_and_start_at_none(launcher: Launcher, nodes: dict[str, Any]) -> None:
    workers = {name: node for name, node in nodes.items() if name != launcher["head_node_type"]}
    assert launcher["idle_timeout_minutes"] > 0
    assert launcher["max_workers"] == sum(node["max_workers"] for node in workers.values())
    for node in workers.values():
        assert node["min_workers"] == 0
        assert node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_gpu_nodes_run_the_image_with_cuda(launcher: Launcher, nodes: dict[str, Any]) -> None:
    images = {
        name: node.get("docker", {}).get("worker_image", launcher["docker"]["image"]) for name, node in nodes.items()
    }
    for name, image in images.items():
        assert image == ("sift-ray:0.1-gpu" if "GPU" in nodes[name]["resources"] else "sift-ray:0.1-cpu")


def test_nothing_of_rays_defaults_is_installed_on_a_node(launcher: Launcher) -> None:
    prepared = as_ray_reads_it(launcher)
    for commands in ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert prepared[commands] == []


def test_no_port_is_open_to_the_world(launcher: Launcher, nodes: dict[str, Any]) -> None:
    # without groups of one's own Ray makes one that lets everybody in by SSH
    assert all(node["node_config"]["SecurityGroupIds"] for node in nodes.values())
    assert launcher["provider"]["use_internal_ips"] is True
    assert launcher["auth"]["ssh_proxy_use_node_id"] is True
    assert "AWS-StartSSHSession" in launcher["auth"]["ssh_proxy_command"]


def test_a_token_is_asked_for_and_comes_from_a_file(launcher: Launcher) -> None:
    assert "--env RAY_AUTH_MODE=token" in launcher["docker"]["run_options"]
    assert launcher["file_mounts"] == {"/home/sift/.ray/auth_token": "~/.ray/auth_token"}
    for image in ("cpu", "gpu", "mfa"):
        dockerfile = Path(CLUSTER.parent / f"docker/{image}/Dockerfile").read_text()
        assert "useradd --create-home --uid 1000 --shell /bin/bash sift" in dockerfile  # whose home that is


def test_s3_is_reached_by_a_role_and_disks_are_encrypted(nodes: dict[str, Any]) -> None:
    for node in nodes.values():
        assert node["node_config"]["IamInstanceProfile"]["Name"].startswith("sift-ray-")
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
