import time
from functools import partial
from pathlib import Path

import pytest

from sift_ray.align.protocol import TrainingError
from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.lease import LEASE_NAME, Lease, LeaseError
from sift_ray.pipeline import build
from sift_ray.pipeline.build import _job, align_train, forget
from sift_ray.storage import LocalRoot, StorageError, put_json

LEFT = {
    "plan": [
        "plan.json",
        "utterances/_STAGE.json",
        "utterances/wave=00000/_MANIFEST.json",
        "models/align/de-1/model",
        "models/lexicon/1/g2p.zip",
    ],
    "annotate": [
        "annotations/_STAGE.json",
        "annotations/wave=00000/_MANIFEST.json",
        "annotations/wave=00000/p.parquet",
    ],
    "bin": ["bins.json"],
    "instruct": ["instructions/_STAGE.json", "instructions/wave=00000/_MANIFEST.json"],
    "release": ["release.json"],
}
READ = ["release/README.md", "release/v-0123456789abcdef/train/open_ended/de/part-00000.parquet"]
"""What readers get: it stays until a new version takes its place."""


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    root = LocalRoot(tmp_path)
    for paths in (*LEFT.values(), READ):
        for path in paths:
            root.put(path, b"{}")
    root.put("corpora/clip.flac", b"not of a stage")
    return root


@pytest.mark.parametrize("stage", LEFT)
def test_a_stage_and_all_after_it_are_forgotten(root: LocalRoot, stage: str) -> None:
    forget(root, stage)
    stages = list(LEFT)
    for later, paths in LEFT.items():
        kept = stages.index(later) < stages.index(stage)
        assert [root.exists(path) for path in paths] == [kept] * len(paths), later
    assert all(map(root.exists, ("corpora/clip.flac", *READ)))


def test_marks_go_before_what_they_mark(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(root, "delete", gone.append)
    forget(root, "annotate")
    assert gone.index("annotations/wave=00000/_MANIFEST.json") < gone.index("annotations")
    assert gone.index("release.json") < gone.index("instructions") < gone.index("annotations")


def test_a_folders_name_will_do(root: LocalRoot) -> None:
    forget(root, "instructions")
    assert not root.exists("instructions/_STAGE.json")
    assert root.exists("bins.json")


def test_an_unknown_stage_deletes_nothing(root: LocalRoot) -> None:
    with pytest.raises(StorageError, match="no stage 'anotate'"):
        forget(root, "anotate")
    assert all(root.exists(path) for paths in LEFT.values() for path in paths)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A job of one German clip of 3 s."""
    (tmp_path / "a.wav").write_bytes(b"not read")
    (tmp_path / "m.tsv").write_text("id\taudio\ttranscript\tlanguage\tduration\na\ta.wav\thallo\tde\t3.0\n")
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: m, path: {tmp_path}/m.tsv}}]\n"
    return parse_config(text + "plan: {read_headers: false}\n", "job.yaml")


def test_training_makes_the_plan_and_tells_which_languages_it_cannot_train(config: Config) -> None:
    assert align_train(config) == {}  # (3 s are too few, and that is no error where nobody asked)
    assert LocalRoot(config.output).exists("plan.json")
    with pytest.raises(TrainingError, match="de: too little transcribed speech"):
        align_train(config, ["de"])
    with pytest.raises(TrainingError, match="no usable utterance in fr; it has de"):
        align_train(config, ["de", "fr"])
    with pytest.raises(TrainingError, match="no language xx; there are en"):
        align_train(config, ["xx"])
    assert not LocalRoot(config.output).exists("annotations/_STAGE.json")


def test_other_backends_train_nothing(config: Config) -> None:
    align = config.annotate.align.model_copy(update={"backend": "none"})
    off = config.model_copy(update={"annotate": config.annotate.model_copy(update={"align": align})})
    with pytest.raises(TrainingError, match="backend is none"):
        align_train(off)


@pytest.fixture
def own(tmp_path: Path) -> Config:
    corpus = f"{{type: demo, name: d, path: {tmp_path}}}"
    return parse_config(f"{{output: {tmp_path / 'out'}, corpora: [{corpus}]}}", "job.yaml")


def test_who_loses_the_lease_is_told_so_and_not_that_it_was_interrupted(
    own: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "Lease", partial(Lease, term_s=1.2))

    def job() -> None:
        with _job(own) as (root, _):
            put_json(root, LEASE_NAME, {"holder": "another", "host": "elsewhere", "process": "7@1@b"})
            time.sleep(60)  # (what renews the lease finds it out, and interrupts)

    with pytest.raises(LeaseError, match="was taken by process 7 on elsewhere, so it stops"):
        job()


def test_an_interruption_stays_one_and_asks_no_store(own: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def job() -> None:
        with _job(own):
            monkeypatch.setattr(Lease, "check", None)  # (the store may be why somebody stops it)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
