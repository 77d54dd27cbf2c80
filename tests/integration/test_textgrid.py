"""TextGrids of a finished job, through the command: Praat opens them, and they say what the tables say."""

import json
from pathlib import Path
from typing import Any

import parselmouth
import pytest
from parselmouth.praat import call
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.config_file import parse_config
from sift_ray.report.textgrid import Choice, export_textgrids
from sift_ray.storage import S3Root

from ..conftest import Job, rows_of, template_config
from ..seaweed import Seaweed

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def annotated(finished_job: Job) -> dict[str, dict[str, Any]]:
    rows = {row["utterance_id"]: row for row in rows_of("annotations", finished_job.folder)}
    assert any(row["words"] for row in rows.values())
    return rows


@pytest.fixture(scope="module")
def job_file(finished_job: Job, demo_corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grids") / "job.yaml"
    path.write_text(template_config(finished_job.folder, demo_corpora), encoding="utf-8")
    return path


def labels(grid: parselmouth.Data, tier: str) -> list[str]:
    tiers = [call(grid, "Get tier name", number) for number in range(1, call(grid, "Get number of tiers") + 1)]
    number = tiers.index(tier) + 1
    count = call(grid, "Get number of intervals", number)
    found = (call(grid, "Get label of interval", number, interval) for interval in range(1, count + 1))
    return [label for label in found if label]


def test_some_of_a_job_with_its_audio(job_file: Path, annotated: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    arguments = ["export-textgrid", str(job_file), "--out", str(tmp_path / "grids"), "--limit", "12", "--audio"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"12 TextGrids in {tmp_path / 'grids'}\n"
    files = sorted((tmp_path / "grids").rglob("*.TextGrid"))
    assert len(files) == 12
    for file in files:
        row = annotated[file.stem]
        assert file.parent == tmp_path / "grids" / row["corpus"] / row["language"]
        grid, sound = parselmouth.read(str(file)), parselmouth.Sound(str(file.with_suffix(".wav")))
        assert labels(grid, "words") == [word["word"] for word in row["words"] if word["start_s"] is not None]
        assert call(grid, "Get total duration") == pytest.approx(sound.duration, abs=1e-9)
        assert sound.sampling_frequency == 16_000


def test_all_of_one_language_and_one_by_its_id(
    job_file: Path, annotated: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    spanish = {name for name, row in annotated.items() if row["language"] == "es" and row["words"]}
    some = next(name for name, row in annotated.items() if row["language"] == "it" and row["words"])
    for option, value, expected in (("--language", "es", spanish), ("--utterance", some, {some})):
        out = tmp_path / option
        result = CliRunner().invoke(app, ["export-textgrid", str(job_file), "--out", str(out), option, value])
        assert result.exit_code == 0, result.stderr
        assert {file.stem for file in out.rglob("*.TextGrid")} == expected
        assert not [*out.rglob("*.wav")]


def test_an_id_that_is_not_there(job_file: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["export-textgrid", str(job_file), "--out", str(tmp_path), "--utterance", "nobody"]
    )
    assert result.exit_code == 1
    assert "no such utterance is annotated: 'nobody'" in result.stderr
    assert "Traceback" not in result.stderr


def test_from_a_bucket(
    seaweed: Seaweed, finished_job: Job, annotated: dict[str, dict[str, Any]], demo_corpora: Path, tmp_path: Path
) -> None:
    uri = f"s3://{seaweed.bucket}/grids"
    root = S3Root(uri, seaweed.storage)
    for file in [finished_job.folder / "plan.json", *(finished_job.folder / "annotations").rglob("*.*")]:
        root.put(file.relative_to(finished_job.folder).as_posix(), file.read_bytes())
    storage = f"storage: {json.dumps({'endpoint_url': seaweed.endpoint})}\n"
    config = parse_config(template_config(uri, demo_corpora, extra=storage), "s3.yaml")
    count = export_textgrids(config, tmp_path, Choice(languages=frozenset({"fr"})), audio=False)
    found = {file.stem for file in tmp_path.rglob("*.TextGrid")}
    assert count == len(found)
    assert found == {name for name, row in annotated.items() if row["language"] == "fr" and row["words"]}
