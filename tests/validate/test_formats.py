"""A release in two formats: each is looked at, and each must hold the rows of the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sift_ray.storage import LocalRoot, StorageError
from sift_ray.validate.findings import Finding, Severity
from sift_ray.validate.run import Validation, validate
from sift_ray.validate.shards import list_release

from .small_job import Row, answer, copied, edit, edit_lines, publish

FOLDER = "train/closed_ended/acoustic_level/en"
LINES = f"{FOLDER}/part-00000.jsonl"
TABLE = f"{FOLDER}/part-00000.parquet"
VERSION = "v-0123456789abcdef"


def found_in(folder: Path, form: str | None = None) -> Validation:
    return validate(LocalRoot(folder), form=form)


def told(validation: Validation) -> list[tuple[str, str, int]]:
    return [(finding.form, finding.rule, finding.count) for finding in validation.findings]


def card(folder: Path, version: str, ending: str) -> None:
    """Write a card that leads to a version, as jobs do."""
    data = f"  data_files:\n  - split: train\n    path: {version}/train/open_ended/en/*.{ending}\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: open_ended\n{data}---\n\nA card.\n")


@pytest.fixture
def both(good_job: Path, tmp_path: Path) -> Path:
    """A few files of a good job's release, as a job with two formats lays them."""
    table = tmp_path / "job" / "release" / VERSION
    for split in ("train", "dev"):
        folder = f"{split}/closed_ended/acoustic_level/en"
        copied(good_job / "release" / folder, table / folder)
    publish(table, tmp_path / "job" / "release" / "jsonl" / VERSION)
    card(tmp_path / "job" / "release", VERSION, "parquet")
    card(tmp_path / "job" / "release" / "jsonl", VERSION, "jsonl")
    return tmp_path / "job"


def lines_of(both: Path) -> Path:
    return both / "release" / "jsonl" / VERSION / LINES


def table_of(both: Path) -> Path:
    return both / "release" / VERSION / TABLE


def test_both_formats_of_a_job_are_looked_at_and_agree(both: Path) -> None:
    validation = found_in(both)
    assert validation.findings == ()
    assert validation.others == ()
    table, lines = validation.looked
    assert (table.form, table.path, table.verified) == ("parquet", f"{both}/release/{VERSION}", True)
    assert (lines.form, lines.path, lines.verified) == ("jsonl", f"{both}/release/jsonl/{VERSION}", False)
    assert table.rows == lines.rows == sum(pq.read_metadata(f).num_rows for f in both.rglob("*.parquet")) > 10
    assert validation.rows == 2 * table.rows


def test_a_defect_is_told_with_its_format(both: Path) -> None:
    edit_lines(lines_of(both), lambda rows: rows[2].update(task="open_ended"))
    assert told(found_in(both)) == [("jsonl", "task_of_folder", 1)]
    edit(table_of(both), lambda rows: rows[1].update(split="dev"))
    assert told(found_in(both)) == [("parquet", "split_of_folder", 1), ("jsonl", "task_of_folder", 1)]


def test_one_format_is_looked_at_where_it_is_asked_for(both: Path) -> None:
    edit_lines(lines_of(both), lambda rows: rows[2].update(task="open_ended"))
    assert told(found_in(both, "jsonl")) == [("jsonl", "task_of_folder", 1)]
    validation = found_in(both, "parquet")
    assert validation.findings == ()
    assert [of.form for of in validation.looked] == ["parquet"]
    assert validation.others == (f"release/jsonl/{VERSION}",)
    shutil.rmtree(both / "release" / "jsonl")
    with pytest.raises(StorageError, match="no release lies here as jsonl; there is parquet"):
        found_in(both, "jsonl")


def fewer(rows: list[Row]) -> list[Row]:
    return rows[1:]


def other_answer(rows: list[Row]) -> None:
    answer(rows[0])["text"] = "The voice is neither low nor high."


def one_lacking(finding: Finding, form: str, file: str, row: int) -> None:
    assert (finding.form, finding.rule, finding.severity, finding.count) == (form, "formats_differ", Severity.ERROR, 1)
    assert [(example.file, example.row) for example in finding.examples] == [(file, row)]


def test_rows_that_one_format_lacks_are_found_in_the_other(both: Path) -> None:
    lost = json.loads(lines_of(both).read_text(encoding="utf-8").splitlines()[0])
    edit_lines(lines_of(both), fewer)
    [finding] = found_in(both).findings
    one_lacking(finding, "parquet", TABLE, 1)
    assert finding.examples[0].detail.startswith(repr(lost["id"]))
    edit(table_of(both), lambda rows: rows[:-1])
    of_table, of_lines = found_in(both).findings
    one_lacking(of_table, "parquet", TABLE, 1)
    one_lacking(of_lines, "jsonl", LINES, pq.read_metadata(table_of(both)).num_rows)


def test_a_row_that_says_something_else_in_one_format_is_found_in_both(both: Path) -> None:
    edit_lines(lines_of(both), other_answer)
    of_table, of_lines = found_in(both).findings
    one_lacking(of_table, "parquet", TABLE, 1)
    one_lacking(of_lines, "jsonl", LINES, 1)


def test_a_row_that_stands_more_often_in_one_format_is_found(both: Path) -> None:
    edit_lines(lines_of(both), lambda rows: [*rows, rows[0]])
    assert told(found_in(both)) == [("jsonl", "duplicate_row", 1), ("jsonl", "formats_differ", 1)]


def test_a_row_of_another_split_in_one_format_is_found(both: Path) -> None:
    [row] = [json.loads(line) for line in lines_of(both).read_text(encoding="utf-8").splitlines()[:1]]
    edit_lines(lines_of(both), fewer)
    edit_lines(both / "release" / "jsonl" / VERSION / LINES.replace("train", "dev"), lambda rows: [*rows, row])
    found = told(found_in(both))
    assert ("parquet", "formats_differ", 1) in found
    assert ("jsonl", "formats_differ", 1) in found


def test_hashes_that_went_to_disk_are_compared_too(both: Path) -> None:
    edit_lines(lines_of(both), fewer)
    held = validate(LocalRoot(both), held_bytes=64)
    assert held.findings == found_in(both).findings


def test_both_formats_are_held_against_the_annotations(both: Path, good_job: Path) -> None:
    def another(row: Row) -> None:
        row["id"] = "p999_001"
        row["messages"][0]["content"][0]["audio_path"] = "vctk_en/p999_001.flac"
        row["data_source"] = "vctk_en"

    def change(rows: list[Row]) -> None:
        another(rows[0])

    edit_lines(lines_of(both), change)
    found = validate(LocalRoot(both), LocalRoot(good_job)).findings
    assert ("jsonl", "not_annotated", 1) in [(f.form, f.rule, f.count) for f in found]
    assert "not_annotated" not in {f.rule for f in found if f.form == "parquet"}


def beside(folder: Path) -> Path:
    return folder


def below(folder: Path) -> Path:
    return folder / "jsonl"


@pytest.mark.parametrize(("place", "rules"), [(beside, ["stray_file"]), (below, [])])
def test_formats_may_lie_in_one_folder_but_then_readers_of_lines_meet_strangers(
    both: Path, tmp_path: Path, place: Callable[[Path], Path], rules: list[str]
) -> None:
    folder = copied(both / "release" / VERSION, tmp_path / "mine")
    publish(folder, place(folder))
    validation = found_in(folder)
    assert [of.form for of in validation.looked] == ["parquet", "jsonl"]
    assert [finding.rule for finding in validation.findings] == rules
    assert all((f.form, f.examples[0].file.endswith(".parquet")) == ("jsonl", True) for f in validation.findings)
    assert list_release(LocalRoot(folder)).form == "parquet"


def test_a_format_that_no_card_shows_yet_is_left_alone(both: Path) -> None:
    (both / "release" / "jsonl" / "README.md").write_text("---\nconfigs: []\n---\n\nBeing written.\n")
    validation = found_in(both)
    assert [of.form for of in validation.looked] == ["parquet"]
    assert validation.others == (f"release/jsonl/{VERSION}",)
    with pytest.raises(StorageError, match=f"still being written; name one of them: release/jsonl/{VERSION}"):
        found_in(both, "jsonl")


def test_lines_out_of_place_in_a_folder_of_parquet_are_found(both: Path) -> None:
    shutil.copy(lines_of(both), both / "release" / VERSION / "left_over.jsonl")
    assert told(found_in(both)) == [("parquet", "misplaced_file", 1)]


def test_the_first_format_of_a_job_is_the_one_that_its_folder_shows(both: Path) -> None:
    release = both / "release"
    (release / "parquet").mkdir()
    (release / VERSION).rename(release / "parquet" / VERSION)
    (release / "jsonl" / VERSION).rename(release / VERSION)
    shutil.rmtree(release / "jsonl")
    card(release, VERSION, "jsonl")
    card(release / "parquet", VERSION, "parquet")
    assert list_release(LocalRoot(both)).form == "jsonl"
    validation = found_in(both)
    assert [of.form for of in validation.looked] == ["jsonl", "parquet"]
    assert validation.findings == ()
