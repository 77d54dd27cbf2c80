"""Checks resources of KubeRay against their schema, with Kubernetes' own definitions behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

KUBERNETES = "1.37"  # whose definitions are taken
CLUSTER = Path(__file__).parents[2] / "cluster"
KUBERAY_FILES = ("kuberay/rayjob.yaml", "kuberay/raycluster.yaml")


@cache
def _kubernetes() -> Registry[Any]:
    folder = files("kubernetes_validate") / f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict"
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ Registry()


@cache
def _validator(kind: str) -> Draft202012Validator:
    if kind.startswith("Ray"):
        schema = yaml.safe_load((Path(__file__).parent / "data/kuberay.yaml").read_text())
    else:
        schema = {"$ref": f"https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.api.core.v1.{kind}"}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=_kubernetes())


def problems(resource: Mapping[str, Any]) -> list[str]:
    """Return what its schema refuses in a resource of KubeRay or Kubernetes, each as "path: why".

    Of Kubernetes' own kinds it knows those of the core, such as ServiceAccount.
    """
    found = _validator(resource["kind"]).iter_errors(resource)
    return sorted(f"{error.json_path}: {error.message}" for error in found)


def read(name: str) -> dict[str, Any]:
    """Return the one resource of a file under `cluster/`, as Kubernetes would be sent it: no two parts are shared."""
    resource: dict[str, Any] = json.loads(json.dumps(yaml.safe_load((CLUSTER / name).read_text())))
    return resource


def ray_cluster(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of the cluster in a RayJob or RayCluster."""
    spec: dict[str, Any] = resource["spec"]
    cluster: dict[str, Any] = spec["rayClusterSpec"] if resource["kind"] == "RayJob" else spec
    return cluster


def pods(cluster: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the specs of a cluster's pods by group; "head" for the head."""
    groups = {"head": cluster["headGroupSpec"]} | {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in groups.items()}
