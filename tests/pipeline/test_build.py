from pathlib import Path

import pytest

from sift_ray.pipeline.build import forget
from sift_ray.storage import LocalRoot, StorageError

LEFT = {
    "plan": ["plan.json", "utterances/_STAGE.json", "utterances/wave=00000/_MANIFEST.json", "models/align/de-1/model"],
    "annotate": [
        "annotations/_STAGE.json",
        "annotations/wave=00000/_MANIFEST.json",
        "annotations/wave=00000/p.parquet",
    ],
    "bin": ["bins.json"],
    "instruct": ["instructions/_STAGE.json", "instructions/wave=00000/_MANIFEST.json"],
    "release": ["release.json", "release/README.md", "release/train/open_ended/de/part-00000.parquet"],
}


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    root = LocalRoot(tmp_path)
    for paths in LEFT.values():
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
    assert root.exists("corpora/clip.flac")


def test_marks_go_before_what_they_mark(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(root, "delete", gone.append)
    forget(root, "annotate")
    assert gone.index("annotations/wave=00000/_MANIFEST.json") < gone.index("annotations")
    assert gone.index("release.json") < gone.index("release")
    assert gone.index("release") < gone.index("annotations")


def test_a_folders_name_will_do(root: LocalRoot) -> None:
    forget(root, "instructions")
    assert not root.exists("instructions/_STAGE.json")
    assert root.exists("bins.json")


def test_an_unknown_stage_deletes_nothing(root: LocalRoot) -> None:
    with pytest.raises(StorageError, match="no stage 'anotate'"):
        forget(root, "anotate")
    assert all(root.exists(path) for paths in LEFT.values() for path in paths)
