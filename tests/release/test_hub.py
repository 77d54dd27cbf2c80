from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from typer.testing import CliRunner

from sift_ray.cli_publish import publishing
from sift_ray.release import hub
from sift_ray.release.card import CardFacts, dataset_card
from sift_ray.release.hub import UploadError, upload
from sift_ray.release.versions import publish
from sift_ray.storage import LocalRoot, StorageError

from .forged_hub import COMMIT, Repository, hub_of

NAME = "me/mine"
VERSION = f"v-{'0' * 16}"
SAMPLES = "train/open_ended/de/part-00000.parquet"
OLD = "train/open_ended/en/part-00000.parquet"


@pytest.fixture
def served() -> Iterator[tuple[huggingface_hub.HfApi, Repository]]:
    with hub_of(NAME) as (address, repository):
        yield huggingface_hub.HfApi(endpoint=address, token="hf_of_the_test"), repository


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    """A published release of one file."""
    root = LocalRoot(tmp_path / "out")
    facts = CardFacts("mine", {("train", "open_ended", "de"): 1}, {}, {}, {})
    root.put(f"release/{VERSION}/{SAMPLES}", b"PAR1 rows")
    publish(root, VERSION, {"release": (dataset_card(facts), dataset_card(facts, "parquet", VERSION))})
    return root


def test_the_repository_becomes_the_version_and_nothing_else(
    root: LocalRoot, served: tuple[huggingface_hub.HfApi, Repository]
) -> None:
    api, repository = served
    repository.files = {".gitattributes": b"*.parquet lfs", OLD: b"old", SAMPLES: b"old"}
    assert upload(root, NAME, api=api).endswith(f"/datasets/{NAME}/commit/{COMMIT}")
    assert repository.files == {
        ".gitattributes": b"*.parquet lfs",
        "README.md": root.read(f"release/{VERSION}/README.md"),
        SAMPLES: b"PAR1 rows",
    }
    assert b"path: train/open_ended" in repository.files["README.md"]
    assert [commit["summary"] for commit in repository.commits] == [f"sift-ray release {VERSION}"]
    assert [one["type"] for one in repository.created] == ["dataset"]
    assert repository.private == [True]
    assert repository.tokens == {"Bearer hf_of_the_test"}


def test_files_of_something_else_go_only_when_somebody_says_so(
    root: LocalRoot, served: tuple[huggingface_hub.HfApi, Repository]
) -> None:
    api, repository = served
    others = {"train/mine.parquet": b"1", "notes.txt": b"2", "README.md": b"3"}
    repository.files = dict(others)
    with pytest.raises(UploadError, match=r"holds 2 files that are of no release, such as notes.txt, train/mine.parq"):
        upload(root, NAME, api=api)
    assert repository.files == others
    upload(root, NAME, replace=True, api=api)
    assert set(repository.files) == {"README.md", SAMPLES}


def test_a_file_of_an_object_store_that_goes_within_the_commit_is_whole(
    root: LocalRoot, served: tuple[huggingface_hub.HfApi, Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, repository = served
    monkeypatch.setattr(hub, "LocalRoot", type("AnotherRoot", (), {}))  # as if it were none
    root.put(f"release/{VERSION}/{SAMPLES}", b"x" * 9_000_000)
    upload(root, NAME, api=api)
    assert repository.files[SAMPLES] == b"x" * 9_000_000


def test_a_large_file_of_an_object_store_goes_by_way_of_a_copy(
    root: LocalRoot, served: tuple[huggingface_hub.HfApi, Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, repository = served
    monkeypatch.setattr(hub, "LocalRoot", type("AnotherRoot", (), {}))  # as if it were none
    monkeypatch.setattr(hub, "_SMALL_BYTES", 5_000)
    root.put(f"release/{VERSION}/{SAMPLES}", b"x" * 6_000)
    sent: dict[str, Any] = {}
    send = api.preupload_lfs_files

    def noted(*args: Any, additions: Any, **more: Any) -> None:
        for one in additions:
            sent.setdefault(one.path_in_repo, one.path_or_fileobj)
            if isinstance(one.path_or_fileobj, str):  # as the library does after a large file was sent
                assert Path(one.path_or_fileobj).read_bytes() == b"x" * 6_000
                one.path_or_fileobj = b"sent"
        send(*args, additions=additions, **more)

    monkeypatch.setattr(api, "preupload_lfs_files", noted)
    upload(root, NAME, private=False, api=api)
    assert isinstance(sent["README.md"], bytes)
    assert not Path(sent[SAMPLES]).exists()
    assert repository.files[SAMPLES] == b"sent"
    assert repository.private[0] is False


def test_a_refusal_is_told_and_changes_nothing(
    root: LocalRoot, served: tuple[huggingface_hub.HfApi, Repository]
) -> None:
    api, repository = served
    repository.files = {OLD: b"old"}
    repository.refuses_commits = True
    with pytest.raises(UploadError, match=r"me/mine: the hub refused: .*507"):
        upload(root, NAME, api=api)
    assert repository.files == {OLD: b"old"}


def test_what_is_not_released_is_not_uploaded(
    root: LocalRoot, tmp_path: Path, served: tuple[huggingface_hub.HfApi, Repository]
) -> None:
    api, repository = served
    with pytest.raises(StorageError, match="no release as jsonl is published there"):
        upload(root, NAME, form="jsonl", api=api)
    with pytest.raises(StorageError, match="no release as parquet"):
        upload(LocalRoot(tmp_path / "other"), NAME, api=api)
    assert repository.created == []


def test_the_command_publishes_where_it_is_told_to(
    root: LocalRoot,
    tmp_path: Path,
    served: tuple[huggingface_hub.HfApi, Repository],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api, repository = served
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    config = tmp_path / "job.yaml"
    config.write_text(f"output: {root.uri}\ncorpora: [{{type: demo, path: {tmp_path}/corpora}}]\n")
    result = CliRunner().invoke(publishing, [str(config), "--repo", NAME, "--public"])
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith(COMMIT)
    assert SAMPLES in repository.files
    assert repository.private[0] is False
    repository.files["mine.txt"] = b"x"
    refused = CliRunner().invoke(publishing, [str(config), "--repo", NAME])
    assert "add --replace" in " ".join(refused.output.split())
    assert CliRunner().invoke(publishing, [str(config), "--repo", NAME, "--replace"]).exit_code == 0
    assert "mine.txt" not in repository.files
    refused = CliRunner().invoke(publishing, [str(config), "--repo", NAME, "--format", "jsonl"])
    assert refused.exit_code == 2
    assert "release.formats has parquet" in refused.output
