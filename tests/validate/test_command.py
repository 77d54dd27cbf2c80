"""`sift-ray validate`: its table, its JSON and its exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.cli_reports import ERRORS_FOUND, WARNINGS_FOUND
from sift_ray.validate.rules import RULES

from .small_job import copied, edit, edit_lines, publish

FOLDER = "train/closed_ended/acoustic_level/en"


@pytest.fixture
def corner(good_job: Path, tmp_path: Path) -> Path:
    copied(good_job / "release" / FOLDER, tmp_path / "corner" / FOLDER)
    return tmp_path / "corner"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["validate", *map(str, arguments)], env={"COLUMNS": "140"})
    return result.exit_code, result.stdout, result.stderr


def test_a_good_job_passes_against_itself(good_job: Path) -> None:
    code, out, _ = run(good_job, "--against", good_job / "annotations", "--strict")
    assert code == 0
    assert f"held against {good_job}\n" in out
    assert f"0 errors, 0 warnings, 0 notes, of {len(RULES)} rules" in out


def test_an_error_is_shown_with_its_file_and_row_and_is_exit_3(corner: Path, tmp_path: Path) -> None:
    edit(corner / FOLDER / "part-00000.parquet", lambda rows: rows[1].update(task="open_ended"))
    code, out, _ = run(corner, "--output", tmp_path / "found.json")
    assert code == ERRORS_FOUND == 3
    assert RULES["task_of_folder"].says in out
    assert f"{FOLDER}/part-00000.parquet:2" in out
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["rows"] > 10
    [finding] = document["findings"]
    assert finding | {"share": 0} == {
        "format": "parquet",
        "rule": "task_of_folder",
        "severity": "error",
        "count": 1,
        "of": document["rows"],
        "unit": "rows",
        "says": RULES["task_of_folder"].says,
        "share": 0,
        "examples": [{"file": f"{FOLDER}/part-00000.parquet", "row": 2, "detail": "open_ended"}],
    }
    assert finding["share"] == pytest.approx(1 / document["rows"])


def test_each_format_is_shown_or_the_one_that_is_asked_for(corner: Path) -> None:
    lines = publish(corner, corner / "jsonl") / FOLDER / "part-00000.jsonl"
    edit_lines(lines, lambda rows: rows[2].update(task="open_ended"))
    code, out, _ = run(corner)
    assert code == ERRORS_FOUND
    assert f"{corner}: " in out
    assert f"{corner}/jsonl: " in out
    assert re.search(r"^error +jsonl +task_of_folder ", out, re.MULTILINE), out
    assert run(corner, "--format", "jsonl")[0] == ERRORS_FOUND
    code, out, _ = run(corner, "--format", "parquet")
    assert code == 0
    assert "not looked at: jsonl\n" in out
    code, _, err = run(corner, "--format", "csv")
    assert code == 2
    assert "--format csv: there is no such format; there are parquet, jsonl" in err


def test_a_format_without_rows_is_exit_3(corner: Path) -> None:
    (publish(corner, corner / "jsonl") / FOLDER / "part-00000.jsonl").write_text("")
    assert run(corner)[0] == run(corner, "--format", "jsonl")[0] == ERRORS_FOUND


def test_json_alone_is_printed_where_it_is_asked_for(corner: Path) -> None:
    code, out, _ = run(corner, "--json")
    assert code == 0
    assert json.loads(out)["findings"] == []


def test_warnings_count_where_it_is_strict(corner: Path) -> None:
    shutil.copy(corner / FOLDER / "part-00000.parquet", corner / "left_over.parquet")
    assert run(corner)[0] == 0
    assert run(corner, "--strict")[0] == WARNINGS_FOUND == 4


def test_a_release_without_rows_is_exit_3(corner: Path) -> None:
    edit(corner / FOLDER / "part-00000.parquet", lambda rows: [])
    assert run(corner)[0] == ERRORS_FOUND


def test_what_is_no_release_is_exit_1_and_a_sentence(tmp_path: Path) -> None:
    code, _, err = run(tmp_path)
    assert code == 1
    assert "no release lies here" in err
    assert run(tmp_path, "--scratch", tmp_path / "nowhere")[0] == 2


def test_the_job_may_be_named_by_its_config(good_job: Path, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"output: {good_job}\ncorpora: [{{type: mls, name: mls, path: /nowhere}}]\n")
    published = publish(good_job / "release" / "train" / "open_ended", tmp_path / "copy" / "train" / "open_ended")
    code, out, _ = run(published.parent.parent, "--against", config)
    assert code == 0
    assert f"held against {good_job}\n" in out
