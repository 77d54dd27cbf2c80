"""No file under `cluster/` is left out by the tests that validate them."""

from pathlib import Path

import yaml

from .kuberay_schema import CLUSTER, KUBERAY_FILES

VALIDATED = {
    "aws.yaml": "test_aws.py",
    "grafana/sift-ray.json": "test_grafana.py",
    **dict.fromkeys([*KUBERAY_FILES, "kuberay/setup.yaml"], "test_kuberay.py"),
}
"""File → the test that reads it and refuses what its tool would refuse; add both here with a new file."""


def test_every_file_is_validated_by_a_test() -> None:
    assert {file.relative_to(CLUSTER).as_posix() for file in CLUSTER.rglob("*") if file.is_file()} == set(VALIDATED)


def test_each_of_those_tests_reads_the_file() -> None:
    for file, name in VALIDATED.items():
        if file not in KUBERAY_FILES:  # (which that test is parametrised with)
            assert f'"{file}"' in (Path(__file__).parent / name).read_text(encoding="utf-8"), file
    assert "KUBERAY_FILES" in (Path(__file__).parent / "test_kuberay.py").read_text(encoding="utf-8")


def test_every_resource_for_kubernetes_is_of_a_kind_that_has_a_schema() -> None:
    kinds = {
        resource["kind"]
        for file in VALIDATED
        if file.startswith("kuberay/")
        for resource in yaml.safe_load_all((CLUSTER / file).read_text(encoding="utf-8"))
    }
    assert kinds == {"RayCluster", "RayJob", "ServiceAccount", "PersistentVolumeClaim"}
