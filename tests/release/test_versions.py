from pathlib import Path

import pytest

from sift_ray.release.card import CardFacts, dataset_card
from sift_ray.release.versions import base_of, begin, is_published, pointed_at, publish, published_folder, retire
from sift_ray.storage import LocalRoot, StorageError

ONE, TWO = "0" * 16, "1" * 16
BOTH = ("parquet", "jsonl")
FACTS = CardFacts("mine", {("train", "open_ended", "de"): 1}, {}, {}, {})


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    return LocalRoot(tmp_path)


def put(root: LocalRoot, version: str, formats: tuple[str, ...] = ("parquet",)) -> None:
    """Write and publish a version of one file a format."""
    cards = {}
    for form in formats:
        base = base_of(form, formats)
        root.put(f"{base}/{version}/train/open_ended/de/part-00000.{form}", b"x")
        of = form if form == "jsonl" else "parquet"
        cards[base] = (dataset_card(FACTS, of), dataset_card(FACTS, of, version))  # type: ignore[arg-type]
    publish(root, version, cards)


def files(root: LocalRoot) -> list[str]:
    folder = Path(root.uri)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_version_is_seen_when_its_pointer_is_put(root: LocalRoot) -> None:
    version = begin(root, ONE, ["parquet"])
    assert version == f"v-{ONE}"
    assert pointed_at(root) is None
    put(root, version)
    assert pointed_at(root) == version
    assert published_folder(root) == f"release/{version}"
    assert published_folder(root, "jsonl") is None


def test_the_version_that_readers_have_stays_until_the_next_is_there(root: LocalRoot) -> None:
    put(root, begin(root, ONE, ["parquet"]))
    new = begin(root, TWO, ["parquet"])
    root.put(f"release/{new}/half", b"")
    assert pointed_at(root) == f"v-{ONE}"
    assert root.exists(f"release/v-{ONE}/train/open_ended/de/part-00000.parquet")
    assert begin(root, TWO, ["parquet"]) == new  # once more, after a crash
    assert not root.exists(f"release/{new}/half")
    put(root, new)
    retire(root, new, ["parquet"])
    assert files(root) == [
        "release/README.md",
        f"release/{new}/README.md",
        f"release/{new}/train/open_ended/de/part-00000.parquet",
    ]


def test_the_same_release_made_anew_does_not_touch_the_one_that_is_read(root: LocalRoot) -> None:
    names = []
    for _ in range(3):
        version = begin(root, ONE, ["parquet"])
        put(root, version)
        retire(root, version, ["parquet"])
        names.append(version)
    assert names == [f"v-{ONE}", f"v-{ONE}-2", f"v-{ONE}"]


def test_a_run_that_ended_between_two_pointers_blocks_no_other(root: LocalRoot) -> None:
    put(root, begin(root, ONE, BOTH), BOTH)
    second = begin(root, ONE, BOTH)
    publish(root, second, {"release": (dataset_card(FACTS), dataset_card(FACTS, folder=second))})
    third = begin(root, ONE, BOTH)
    assert third == f"v-{ONE}-3"
    assert (pointed_at(root), pointed_at(root, "release/jsonl")) == (second, f"v-{ONE}")
    assert root.exists(f"release/jsonl/v-{ONE}/train/open_ended/de/part-00000.jsonl")
    put(root, third, BOTH)
    retire(root, third, BOTH)
    assert (pointed_at(root), pointed_at(root, "release/jsonl")) == (third, third)
    assert all(third in file or file.endswith("e/README.md") or file.endswith("l/README.md") for file in files(root))
    assert begin(root, ONE, BOTH) == f"v-{ONE}"


@pytest.mark.parametrize("gone", ["release/README.md", "release/jsonl/README.md", f"release/jsonl/v-{ONE}"])
def test_a_version_is_published_as_long_as_all_of_it_is_there(root: LocalRoot, gone: str) -> None:
    version = begin(root, ONE, BOTH)
    assert not is_published(root, version, BOTH)
    put(root, version, BOTH)
    assert is_published(root, version, BOTH)
    assert not is_published(root, f"v-{TWO}", BOTH)
    root.delete(gone)
    assert not is_published(root, version, BOTH)


def test_a_version_without_samples_is_published_though_no_card_can_lead_into_it(root: LocalRoot) -> None:
    empty = dataset_card(CardFacts("mine", {}, {}, {}, {}))
    version = begin(root, ONE, ["parquet"])
    publish(root, version, {"release": (empty, empty)})
    assert not is_published(root, version, ["parquet"])
    assert is_published(root, version, ["parquet"], empty=True)
    root.delete(f"release/{version}")
    assert not is_published(root, version, ["parquet"], empty=True)


def test_what_somebody_put_beside_a_format_that_goes_is_left_alone(root: LocalRoot) -> None:
    put(root, begin(root, ONE, BOTH), BOTH)
    root.put("release/jsonl/mine.txt", b"x")
    retire(root, f"v-{ONE}", ["parquet"])
    assert files(root) == [
        "release/README.md",
        "release/jsonl/mine.txt",
        f"release/v-{ONE}/README.md",
        f"release/v-{ONE}/train/open_ended/de/part-00000.parquet",
    ]


def test_two_formats_have_a_pointer_each_and_a_third_of_no_use_goes(root: LocalRoot) -> None:
    version = begin(root, ONE, BOTH)
    put(root, version, BOTH)
    assert published_folder(root, "parquet") == f"release/{version}"
    assert published_folder(root, "jsonl") == f"release/jsonl/{version}"
    new = begin(root, TWO, ["jsonl"])
    put(root, new, ("jsonl",))
    retire(root, new, ["jsonl"])
    assert published_folder(root, "jsonl") == f"release/{new}"
    assert published_folder(root, "parquet") is None
    assert not root.exists("release/jsonl/README.md")
    assert all(new in file or file == "release/README.md" for file in files(root))


@pytest.mark.parametrize("name", ["notes.txt", "train/part.parquet", "v-1/x", "jsonl/mine.txt"])
def test_what_is_not_ours_is_not_deleted(root: LocalRoot, name: str) -> None:
    root.put(f"release/{name}", b"x")
    with pytest.raises(StorageError, match=r"no job of this version has put there"):
        begin(root, ONE, ["parquet"])
    assert root.exists(f"release/{name}")
