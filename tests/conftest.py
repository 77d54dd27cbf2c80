"""What tests share: a small demo corpus, one local Ray, and one finished job of the template engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
