"""The published layout: JSON lines of four keys, and the defects that such data has had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sift_ray.storage import LocalRoot
from sift_ray.validate.findings import Finding, Severity
from sift_ray.validate.run import Validation, validate

from .small_job import Row, answer, edit_lines, publish

FILE = "train/closed_ended/acoustic_level/en/part-00000.jsonl"


@pytest.fixture(scope="module")
def whole(good_job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(good_job / "release", tmp_path_factory.mktemp("published"))


@pytest.fixture
def corner(whole: Path, tmp_path: Path) -> Path:
    """One good file."""
    (tmp_path / "corner" / FILE).parent.mkdir(parents=True)
    shutil.copy(whole / FILE, tmp_path / "corner" / FILE)
    return tmp_path / "corner"


def found_in(folder: Path) -> Validation:
    return validate(LocalRoot(folder))


def only(validation: Validation) -> Finding:
    assert len(validation.findings) == 1, [finding.rule for finding in validation.findings]
    return validation.findings[0]


def test_a_good_copy_has_no_defect(whole: Path, good_job: Path) -> None:
    validation = found_in(whole)
    assert validation.findings == ()
    assert [(of.form, of.verified) for of in validation.looked] == [("jsonl", False)]
    assert validation.rows == found_in(good_job).rows


def test_the_french_rows_that_are_german_are_found(whole: Path, tmp_path: Path) -> None:
    """In the published data all open-ended rows of French Common Voice are German clips with German texts."""
    folder = tmp_path / "published"
    shutil.copytree(whole, folder)
    german = [json.loads(line) for line in (folder / "train/open_ended/de/part-00000.jsonl").read_text().splitlines()]
    rows = [row | {"data_source": "common_voice_fr"} for row in german if row["data_source"] == "common_voice_de"]
    edit_lines(folder / "train/open_ended/fr/part-00000.jsonl", lambda _: rows)
    found = {finding.rule: finding for finding in found_in(folder).findings}
    assert set(found) == {"language_of_id", "language_of_text"}
    for finding in found.values():
        assert finding.severity is Severity.ERROR
        assert finding.count == len(rows) > 3
        assert finding.examples[0].file == "train/open_ended/fr/part-00000.jsonl"


def lines_of(corner: Path) -> list[str]:
    return (corner / FILE).read_text(encoding="utf-8").splitlines()


def put(corner: Path, lines: list[str]) -> None:
    (corner / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "p300_001"',
        "[1, 2]",
        '{"id": 12, "messages": [], "task": "open_ended", "data_source": "vctk_en"}',
        '{"id": "a", "messages": "none", "task": "open_ended", "data_source": "vctk_en"}',
        '{"id": "\\ud800", "messages": [], "task": "open_ended", "data_source": "vctk_en"}',
    ],
)
def test_a_line_that_is_no_row_is_found_and_costs_no_other(corner: Path, line: str) -> None:
    lines = lines_of(corner)
    put(corner, [*lines[:2], line, *lines[2:]])
    validation = found_in(corner)
    assert (only(validation).rule, only(validation).examples[0].row) == ("unreadable_row", 3)
    assert validation.rows == len(lines)


def test_a_line_that_is_not_text_is_found(corner: Path) -> None:
    content = (corner / FILE).read_bytes()
    (corner / FILE).write_bytes(content.replace(b'"id": "', b'"id": "\xff', 1))
    assert only(found_in(corner)).rule == "unreadable_row"


def extra_key(row: Row) -> None:
    row["language"] = "en"


def no_source(row: Row) -> None:
    del row["data_source"]


def null_task(row: Row) -> None:
    row["task"] = None


def left_out_null(row: Row) -> None:
    del answer(row)["audio_path"]


def extra_part_key(row: Row) -> None:
    answer(row)["tone"] = None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (extra_key, "more than the four keys: language"),
        (no_source, "no 'data_source'"),
        (null_task, "'task' is null"),
        (left_out_null, "a part of the keys text, not text and audio_path"),
        (extra_part_key, "a part of the keys text, audio_path, tone, not text and audio_path"),
    ],
)
def test_keys_that_are_not_the_four_are_found(corner: Path, change: object, says: str) -> None:
    assert callable(change)
    edit_lines(corner / FILE, lambda rows: change(rows[4]))
    breach = only(found_in(corner))
    assert (breach.rule, breach.severity, breach.count) == ("row_keys", Severity.ERROR, 1)
    assert (breach.examples[0].row, breach.examples[0].detail) == (5, says)


def test_blank_lines_and_a_missing_last_line_end_are_no_rows_and_no_defect(corner: Path) -> None:
    lines = lines_of(corner)
    (corner / FILE).write_text("\n".join([lines[0], "", *lines[1:]]), encoding="utf-8")
    validation = found_in(corner)
    assert validation.findings == ()
    assert validation.rows == len(lines)


def test_a_file_larger_than_a_block_is_read_whole(corner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sift_ray.validate.jsonl._BLOCK_BYTES", 700)
    edit_lines(corner / FILE, lambda rows: rows[6].update(task="open_ended"))
    validation = found_in(corner)
    assert (only(validation).rule, only(validation).examples[0].row) == ("task_of_folder", 7)
    assert validation.rows == len(lines_of(corner))


def test_an_empty_file_is_a_warning(corner: Path) -> None:
    (corner / FILE).with_name("part-00001.jsonl").write_text("")
    assert (only(found_in(corner)).rule, only(found_in(corner)).severity) == ("empty_file", Severity.WARNING)


def test_a_few_texts_that_leak_are_a_warning_where_nobody_verified_them(corner: Path) -> None:
    rows = [json.loads(line) for line in lines_of(corner)]

    def many(_: list[Row]) -> list[Row]:
        made = []
        for number in range(1500):
            row = json.loads(json.dumps(rows[number % len(rows)]))
            answer(row)["text"] += f" {number:04d}"
            made.append(row)
        answer(made[700])["text"] = "The metadata says so."
        return made

    edit_lines(corner / FILE, many)
    assert (only(found_in(corner)).rule, only(found_in(corner)).severity) == ("leaked_word", Severity.WARNING)
