import re
from typing import Any

import pytest
import ray
import yaml

from .kuberay_schema import CLUSTER, KUBERAY_FILES, pods, problems, ray_cluster, read

GPU = "nvidia.com/gpu"
Cluster = dict[str, Any]


@pytest.fixture(params=KUBERAY_FILES)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return ray_cluster(read(request.param))


@pytest.mark.parametrize("name", KUBERAY_FILES)
def test_the_schema_holds(name: str) -> None:
    assert problems(read(name)) == []


@pytest.mark.parametrize("name", KUBERAY_FILES)
@pytest.mark.parametrize(
    ("where", "key", "value", "told"),
    [
        ((), "speck", {}, "'speck' was unexpected"),
        (("autoscalerOptions",), "idleTimeout", 60, "'idleTimeout' was unexpected"),
        (("autoscalerOptions",), "version", "v3", "'v3' is not one of ['v1', 'v2']"),
        (("authOptions",), "mode", "password", "'password' is not one of ['disabled', 'token']"),
        (("headGroupSpec",), "serviceKind", "ClusterIP", "'serviceKind' was unexpected"),
        (("headGroupSpec", "rayStartParams"), "num-cpus", 0, "0 is not of type 'string'"),
        (("workerGroupSpecs", 0), "minReplica", 0, "'minReplica' was unexpected"),
        (("workerGroupSpecs", 1), "maxReplicas", "8", "'8' is not of type 'integer'"),
        (("workerGroupSpecs", 2), "template", None, "None is not of type 'object'"),
        (("workerGroupSpecs", 2, "template", "spec"), "toleration", [], "'toleration' was unexpected"),
        (("workerGroupSpecs", 2, "template", "spec", "containers", 0), "ressources", {}, "'ressources' was unexpected"),
        (("headGroupSpec", "template", "spec", "securityContext"), "runAsUser", "ray", "'ray' is not of type"),
        (("headGroupSpec", "template", "spec", "containers", 0), "name", None, "None is not of type 'string'"),
    ],
)
def test_the_schema_refuses(name: str, where: tuple[str | int, ...], key: str, value: object, told: str) -> None:
    resource = read(name)
    part: Any = resource if not where else ray_cluster(resource)
    for step in where:
        part = part[step]
    part[key] = value
    found = problems(resource)
    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize("key", ["headGroupSpec", "groupName"])
def test_the_schema_misses_what_must_be_given(key: str) -> None:
    resource = read("kuberay/raycluster.yaml")
    del (resource["spec"] if key == "headGroupSpec" else resource["spec"]["workerGroupSpecs"][0])[key]
    assert any(f"'{key}' is a required property" in problem for problem in problems(resource))


def test_an_unknown_key_of_a_job_is_refused() -> None:
    job = read("kuberay/rayjob.yaml")
    job["spec"]["entryPoint"] = job["spec"].pop("entrypoint")
    assert any("'entryPoint' was unexpected" in problem for problem in problems(job))


def test_account_and_volumes_are_valid_and_are_those_that_the_pods_ask_for(cluster: Cluster) -> None:
    resources = list(yaml.safe_load_all((CLUSTER / "kuberay/setup.yaml").read_text()))
    for resource in resources:
        assert problems(resource) == []
        assert problems(resource | {"specs": {}}) != []
    made = {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
    asked = {("ServiceAccount", pod["serviceAccountName"]) for pod in pods(cluster).values()} | {
        ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        for pod in pods(cluster).values()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert asked == made


def test_the_job_makes_the_cluster_that_stands_alone_too() -> None:
    assert ray_cluster(read("kuberay/rayjob.yaml")) == ray_cluster(read("kuberay/raycluster.yaml"))


def test_the_job_runs_the_build_is_tried_again_and_cleans_up() -> None:
    spec = read("kuberay/rayjob.yaml")["spec"]
    _, script, config = spec["entrypoint"].split()
    assert (CLUSTER.parent / script).is_file()
    assert (CLUSTER.parent / config).is_file()
    assert spec["backoffLimit"] >= 1
    assert spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] > 0


def test_the_entrypoint_and_the_config_lie_where_the_job_starts(cluster: Cluster) -> None:
    head = pods(cluster)["head"]["containers"][0]
    image = (CLUSTER.parent / "docker/cpu/Dockerfile").read_text()
    assert f"WORKDIR {head['workingDir']}\nCOPY jobs jobs\n" in image
    assert f"{head['workingDir']}/jobs/production.yaml" in [mount["mountPath"] for mount in head["volumeMounts"]]


def test_the_autoscaler_is_the_second_and_lets_idle_nodes_go(cluster: Cluster) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert 60 <= cluster["autoscalerOptions"]["idleTimeoutSeconds"] <= 900
    assert {pod["restartPolicy"] for pod in pods(cluster).values()} == {"Never"}  # the second autoscaler asks for it


def test_a_token_is_asked_for_by_a_ray_that_can(cluster: Cluster) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)
    assert cluster["rayVersion"] == ray.__version__


def test_the_head_runs_no_tasks_stays_and_is_not_public(cluster: Cluster) -> None:
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["serviceType"] == "ClusterIP"
    assert head["enableIngress"] is False
    pod = head["template"]["spec"]
    assert "tolerations" not in pod  # so that the taint of spot nodes keeps it off them
    assert GPU not in pod["containers"][0]["resources"]["limits"]
    assert head["template"]["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_gpu_groups_are_spot_and_start_empty(cluster: Cluster) -> None:
    groups = {
        group["groupName"]: group
        for group in cluster["workerGroupSpecs"]
        if GPU in group["template"]["spec"]["containers"][0]["resources"]["limits"]
    }
    assert set(groups) == {"features", "llm"}
    for group in groups.values():
        pod = group["template"]["spec"]
        assert group["minReplicas"] == group["replicas"] == 0
        assert group["maxReplicas"] >= 1
        assert pod["nodeSelector"]["sift-ray/capacity"] == "spot"
        tolerated = {toleration["key"]: toleration.get("value") for toleration in pod["tolerations"]}
        assert tolerated == {"sift-ray/capacity": "spot", GPU: None}


def test_groups_and_pools_of_nodes_go_by_the_same_names(cluster: Cluster) -> None:
    assert {name: pod["nodeSelector"]["sift-ray/pool"] for name, pod in pods(cluster).items()} == {
        name: name for name in ("head", "cpu", "features", "llm")
    }


def test_what_a_pod_asks_for_is_what_it_gets(cluster: Cluster) -> None:
    every = [container["resources"] for pod in pods(cluster).values() for container in pod["containers"]]
    for resources in [*every, cluster["autoscalerOptions"]["resources"]]:
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory"} <= set(resources["limits"])


def test_ray_is_told_of_no_more_than_the_pod_has(cluster: Cluster) -> None:
    for group in cluster["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        told = group["rayStartParams"]
        assert 0 < int(told["num-cpus"]) <= int(limits["cpu"])
        assert int(told.get("num-gpus", 0)) == int(limits.get(GPU, 0))


def test_pods_are_not_root_and_can_gain_nothing(cluster: Cluster) -> None:
    for pod in pods(cluster).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in security


def test_spilled_objects_have_a_bounded_place(cluster: Cluster) -> None:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        place = group["rayStartParams"]["object-spilling-directory"]
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert "sizeLimit" in volumes[mounts[place]]["emptyDir"]
        assert set(mounts.values()) == set(volumes)


def test_a_pod_has_the_two_minutes_of_a_spot_notice_to_stop_ray(cluster: Cluster) -> None:
    for pod in pods(cluster).values():
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:2] == ["ray", "stop"]
        assert int(command[-1]) < pod["terminationGracePeriodSeconds"] <= 120


def test_images_have_a_tag_that_stays_and_no_registry_is_named(cluster: Cluster) -> None:
    for pod in pods(cluster).values():
        for container in pod["containers"]:
            name, _, tag = container["image"].partition(":")
            assert name == "sift-ray"
            assert re.fullmatch(r"\d+\.\d+-(cpu|gpu|mfa)", tag)


def test_what_is_secret_comes_from_a_secret(cluster: Cluster) -> None:
    for pod in pods(cluster).values():
        for variable in pod["containers"][0].get("env", []):
            if re.search("TOKEN|KEY|SECRET|PASSWORD", variable["name"]):
                assert "value" not in variable
                assert "secretKeyRef" in variable["valueFrom"]
