import re
import tomllib
from pathlib import Path

import pytest
import ray
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = {"cpu": ("openai", "m4a", "g2p"), "gpu": ("vllm", "models", "openai", "lhotse", "m4a", "g2p")}


def pins(image: str) -> dict[str, str]:
    """Return the version of each package in an image."""
    lines = (ROOT / "docker" / image / "requirements.txt").read_text().splitlines()
    pinned = [re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line) for line in lines]
    assert all(pinned), "every line of requirements.txt must be NAME==VERSION"
    return {canonicalize_name(match[1]): match[2] for match in pinned if match}


def asked(image: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, with the extras of an image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in EXTRAS[image] for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


@pytest.mark.parametrize("image", EXTRAS)
def test_the_pins_satisfy_pyproject(image: str) -> None:
    pinned = pins(image)
    unmet = [
        str(requirement)
        for requirement in asked(image)
        if canonicalize_name(requirement.name) not in pinned
        or not requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])
    ]
    assert unmet == [], "pin anew, as docker/README.md says"


def test_what_both_images_hold_has_one_version() -> None:
    cpu, gpu = pins("cpu"), pins("gpu")
    assert {name: (version, gpu.get(name)) for name, version in cpu.items() if gpu.get(name) != version} == {}


@pytest.mark.parametrize("image", EXTRAS)
def test_ray_is_the_one_that_is_tested_and_has_its_job_server(image: str) -> None:
    pinned = pins(image)
    assert pinned["ray"] == ray.__version__
    assert "aiohttp-cors" in pinned  # of ray[default]


def test_the_cpu_image_does_without_torch_and_the_gpu_image_has_cuda() -> None:
    assert "torch" not in pins("cpu")
    assert {"torch", "vllm", "nvidia-cuda-runtime"} <= set(pins("gpu"))


def test_conda_brings_the_numpy_that_the_pins_name() -> None:
    environment = (ROOT / "docker/mfa/environment.yml").read_text()
    assert re.findall(r"- numpy=(\S+)", environment) == [pins("cpu")["numpy"]]


def test_conda_brings_an_mfa_that_the_extra_allows() -> None:
    environment = (ROOT / "docker/mfa/environment.yml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (mfa,) = (Requirement(line) for line in project["optional-dependencies"]["mfa"])
    (version,) = re.findall(rf"- {mfa.name}=(\S+)", environment)
    assert mfa.specifier.contains(version)


def test_the_readme_pins_with_the_extras_that_are_checked_here() -> None:
    readme = (ROOT / "docker/README.md").read_text()
    for image, extras in EXTRAS.items():
        (line,) = re.findall(rf"\$pins (.*) --output-file docker/{image}/requirements.txt", readme)
        assert tuple(re.findall(r"--extra (\S+)", line)) == extras
