"""What tests share: a small demo corpus, one local Ray, and one finished job of the template engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# before anything imports Ray: no token in the home folder, no usage report, no look at the working folder's git
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# of the S3 server that tests start on loopback; real ones on the machine must never be used by tests
os.environ["AWS_ACCESS_KEY_ID"] = "test-key"
os.environ["AWS_SECRET_ACCESS_KEY"] = "test-secret-key"
for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.storage import LocalRoot

from .seaweed import seaweed  # noqa: F401 (a fixture)

DEMO_MINUTES = 4.0


@dataclass(frozen=True)
class Job:
    """A finished job."""

    config: Config
    root: LocalRoot

    @property
    def folder(self) -> Path:
        return Path(self.root.uri)

    def models(self) -> str:
        """Its alignment models as a config names them: training them again would take a minute."""
        folders = sorted((self.folder / "models/align").iterdir())
        return ", ".join(f"{folder.name.split('-')[0]}: {folder}" for folder in folders)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the shared Ray or object store, so that `make test` runs it apart from the quick tests."""
    for item in items:
        if {"local_ray", "seaweed"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def demo_corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the demo's corpora and their ground truth."""
    from sift_ray.corpora.demo import write_demo

    path = tmp_path_factory.mktemp("demo") / "corpora"
    write_demo(path, seed=0, minutes=DEMO_MINUTES)
    return path


def template_config(output: str | Path, corpora: Path, models: str = "", extra: str = "") -> str:
    """The YAML of a job on the demo's corpora with the template engine."""
    return f"""\
output: {output}
corpora:
  - {{type: demo, name: demo, path: {corpora}, minutes: {DEMO_MINUTES}}}
plan: {{wave_rows: 40}}
annotate: {{align: {{min_train_s: 5, models: {{{models}}}}}}}
bin: {{min_count: 5}}
instruct:
  engine: template
  tasks:
    closed_ended_acoustic_level: {{pairs: 3}}
    closed_ended_content_level: {{pairs: 2}}
    closed_ended_word_align: {{pairs: 2}}
    closed_ended_comparison: {{pairs: 2}}
    open_ended: {{pairs: 1}}
    controllable_generation: {{pairs: 1}}
{extra}"""


def run_stages(config: str, folder: Path, stages: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Run stages of a job as a user does, each a process of its own with a Ray of its own and this environment.

    Args:
        config: the YAML, written into `folder` as `job.yaml`.
        folder: an existing folder.
        stages: `plan`, `annotate`, ….
        environment: variables beside those of the tests; Ray's workers inherit them.
    """
    path = folder / "job.yaml"
    path.write_text(config, encoding="utf-8")
    for stage in stages:
        command = [sys.executable, "-m", "sift_ray.cli", stage, str(path)]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]


def rows_of(stage: str, output: Path) -> list[dict[str, Any]]:
    """Return all rows that a stage (`utterances`, `annotations`) left in a job's output folder."""
    import pyarrow.parquet as pq

    files = sorted((output / stage).glob("wave=*/*.parquet"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray on this machine, with more logical than real CPUs so that pools never starve each other."""
    import ray

    ray.init(num_cpus=6, include_dashboard=False, logging_level="WARNING")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def finished_job(local_ray: None, demo_corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The whole way once, undisturbed, with the template engine."""
    from sift_ray.pipeline.build import build

    output = tmp_path_factory.mktemp("finished") / "out"
    config = parse_config(template_config(output, demo_corpora), "template.yaml")
    build(config)
    return Job(config, LocalRoot(output))
