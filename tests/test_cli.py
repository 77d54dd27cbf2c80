from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from sift_ray import __version__
from sift_ray.cli import app

runner = CliRunner()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    clips = tmp_path / "clips.tsv"
    clips.write_text("id\taudio\ttranscript\tlanguage\n")
    path = tmp_path / "job.yaml"
    path.write_text(f"output: {tmp_path / 'out'}\ncorpora: [{{type: manifest, name: mine, path: {clips}}}]\n")
    return path


def test_version() -> None:
    assert runner.invoke(app, ["--version"]).output == f"sift-ray {__version__}\n"


def test_every_stage_is_a_command() -> None:
    text = runner.invoke(app, ["--help"]).output
    for command in ("plan", "annotate", "bin", "instruct", "release", "build"):
        assert command in text


def test_what_only_looks_stands_beside_the_stages() -> None:
    text = runner.invoke(app, ["--help"]).output
    for command in ("status", "estimate", "samples", "export-textgrid", "bins"):
        assert f" {command} " in text


def test_a_wrong_config_is_exit_2_and_names_the_line(config: Path) -> None:
    config.write_text(config.read_text() + "plam: {}\n")
    result = runner.invoke(app, ["build", str(config)])
    assert result.exit_code == 2
    assert f"{config}:3: plam: unknown key" in result.stderr


def test_a_failed_job_is_exit_1_with_a_sentence_and_no_traceback(config: Path) -> None:
    result = runner.invoke(app, ["plan", str(config)])
    assert result.exit_code == 1
    assert "PlanError: no corpus holds a single utterance" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("stage", ["annotate", "bin", "instruct", "release"])
def test_a_stage_before_its_turn_says_what_comes_first(config: Path, stage: str) -> None:
    result = runner.invoke(app, [stage, str(config)])
    assert result.exit_code == 1
    assert "run `sift-ray plan` first" in result.stderr


def test_an_unknown_stage_to_restart_from_is_named(config: Path) -> None:
    result = runner.invoke(app, ["build", str(config), "--restart-from", "annotating"])
    assert result.exit_code == 1
    assert "no stage 'annotating'; there are plan, annotate" in result.stderr


def test_status_of_nothing_yet(config: Path) -> None:
    result = runner.invoke(app, ["status", str(config)])
    assert result.exit_code == 0
    assert "0 of ?" in result.output
    assert "no job is running" in result.output


def test_status_as_json(config: Path) -> None:
    import json

    result = runner.invoke(app, ["status", str(config), "--json"])
    state = json.loads(result.stdout)
    assert state["complete"] is False
    assert state["running"] is None
    assert {stage["eta_s"] for stage in state["stages"].values()} == {None}
    assert set(state["stages"]) == {"utterances", "annotations", "instructions"}
    assert state["yields"] == []
    assert state["mix"]["open_ended"]["share"] is None
    assert state["mix"]["open_ended"]["reference"] == pytest.approx(4.3 / 55.6)


def test_a_dry_run_shows_what_would_be_planned_and_starts_no_ray(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray was started"))
    clips = config.parent / "clips.tsv"
    soundfile.write(config.parent / "a.wav", [0.1] * 16_000, 16_000)
    clips.write_text(clips.read_text() + "one\ta.wav\ttext\ten\ntwo\tgone.wav\ttext\ten\n")
    wide = {"COLUMNS": "240"}  # else a table cuts a long temporary path
    result = runner.invoke(app, ["plan", str(config), "--dry-run", "--set", "plan.wave_rows=1"], env=wide)
    assert result.exit_code == 0, result.stderr
    assert "missing_audio" in result.stdout
    assert f"{clips}:3" in result.stdout.replace("\n", "")
    assert "2 rows, 1 of them rejected, would make 2 waves of at most 1." in result.stdout
    assert result.stdout.endswith("Nothing was written: this was a dry run.\n")
    assert not (config.parent / "out").exists()


def test_a_dry_run_of_nothing_is_the_plans_error(config: Path) -> None:
    result = runner.invoke(app, ["plan", str(config), "--dry-run"])
    assert result.exit_code == 1
    assert "PlanError: no corpus holds a single utterance" in result.stderr
