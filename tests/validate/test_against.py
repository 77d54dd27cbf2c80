"""A release is held against the annotations and bins that it came from."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.schema import ANNOTATIONS
from sift_ray.storage import LocalRoot, StorageError
from sift_ray.validate.run import Validation, validate

from .small_job import Row, copied, edit, publish, question


@pytest.fixture
def job(good_job: Path, tmp_path: Path) -> Path:
    return copied(good_job, tmp_path / "job")


def held(job: Path, against: Path | None = None, **more: int) -> Validation:
    return validate(LocalRoot(job), LocalRoot(against or job), **more)


def found(validation: Validation) -> dict[str, int]:
    return {finding.rule: finding.count for finding in validation.findings}


def a_file(job: Path, task: str, language: str = "en") -> Path:
    return next(iter((job / "release/train" / task / language).glob("*.parquet")))


@pytest.mark.parametrize("held_bytes", [1 << 25, 1 << 12])
def test_what_was_measured_is_clean_whether_or_not_it_lies_on_disk(job: Path, held_bytes: int) -> None:
    assert found(held(job, held_bytes=held_bytes)) == {}


def other_label(row: Row) -> bool:
    """Move the first graded fact of a row to the next label of its attribute."""
    for fact in row["evidence"]:
        if fact["key"] in ATTRIBUTES and fact["value"] is not None:
            labels = ATTRIBUTES[fact["key"]].labels
            place = (fact["ordinal"] + 1) % len(labels)
            fact |= {"value": labels[place], "ordinal": place}
            return True
    return False


@pytest.mark.parametrize(
    "task",
    [
        "closed_ended/acoustic_level",
        "closed_ended/word_align",
        "closed_ended/comparison",
        "open_ended",
        "controllable_generation",
    ],
)
def test_evidence_that_was_changed_is_found(job: Path, task: str) -> None:
    changed: list[int] = []

    def change(rows: list[Row]) -> None:
        changed.extend(number for number, row in enumerate(rows, 1) if number % 3 == 0 and other_label(row))

    file = a_file(job, task)
    edit(file, change)
    assert changed
    validation = held(job)
    assert found(validation) == {"evidence_not_measured": len(changed)}
    path = str(file.relative_to(job / "release"))
    assert [(e.file, e.row) for e in validation.findings[0].examples] == [(path, row) for row in changed[:5]]


def test_the_second_audio_of_a_comparison_is_looked_up_too(job: Path) -> None:
    def change(rows: list[Row]) -> None:
        fact = next(fact for fact in rows[0]["evidence"] if fact["audio"] == 1 and fact["key"] in ATTRIBUTES)
        assert other_label({"evidence": [fact]})

    edit(a_file(job, "closed_ended/comparison"), change)
    assert found(held(job)) == {"evidence_not_measured": 1}


def test_evidence_of_another_word_is_found(job: Path) -> None:
    def change(rows: list[Row]) -> None:
        row = next(row for row in rows if any(fact["key"] == "word" for fact in row["evidence"]))
        next(fact for fact in row["evidence"] if fact["key"] == "word")["value"] = "elsewhere"

    edit(a_file(job, "closed_ended/word_align"), change)
    assert found(held(job)) == {"evidence_not_measured": 1}


def test_annotations_that_were_measured_anew_make_old_evidence_untrue(job: Path, good_job: Path) -> None:
    annotations = next(iter((job / "annotations").rglob("*.parquet")))
    edit(annotations, lambda rows: [{**row, "snr_db": -row["snr_db"] / 2} for row in rows], ANNOTATIONS)
    assert set(found(held(good_job, job))) == {"evidence_not_measured"}


def test_utterances_that_are_unknown_or_were_rejected_are_found(job: Path) -> None:
    annotations = next(iter((job / "annotations").rglob("*.parquet")))
    file = a_file(job, "closed_ended/acoustic_level", "fr")
    lead = pq.read_table(file, partitioning=None)["utterance_ids"][0].as_py()[0]

    def reject(rows: list[Row]) -> None:
        next(row for row in rows if row["utterance_id"] == lead)["status"] = "rejected"

    edit(annotations, reject, ANNOTATIONS)
    rows = [
        row for f in (job / "release").rglob("*.parquet") for row in pq.read_table(f, partitioning=None).to_pylist()
    ]
    assert found(held(job)) == {"not_annotated": sum(lead in row["utterance_ids"] for row in rows)}


def test_a_text_to_be_spoken_that_nobody_spoke_is_found_in_either_layout(job: Path, tmp_path: Path) -> None:
    def change(rows: list[Row]) -> None:
        question(rows[0])["text"] += " and so on"

    edit(a_file(job, "controllable_generation"), change)
    assert found(held(job)) == {"spoken_text": 1}
    published = publish(job / "release", tmp_path / "published")
    assert found(held(published, job)) == {"spoken_text": 1}


def test_an_output_without_bins_or_annotations_says_what_is_missing(job: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match=r"there is no bins\.json"):
        held(job, tmp_path / "empty")
    (tmp_path / "empty/bins.json").write_bytes((job / "bins.json").read_bytes())
    with pytest.raises(StorageError, match="no wave is annotated"):
        held(job, tmp_path / "empty")
