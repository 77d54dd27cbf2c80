"""What README tells a newcomer to type works as it stands there."""

import csv
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.config_file import parse_config

pytestmark = pytest.mark.integration

README = Path(__file__).parents[2] / "README.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_your_own_corpus(local_ray: None, demo_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = (block for block in blocks("yaml") if "type: manifest" in block)
    name = yaml.safe_load(config)["corpora"][0]["path"]
    folder = next(demo_corpora.glob("mls_spanish*")) / "train"
    with Path(name).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["id", "audio", "transcript", "language", "speaker_id", "gender"])
        for line in (folder / "transcripts.txt").read_text(encoding="utf-8").splitlines():
            clip, text = line.split("\t")
            audio = next(folder.rglob(f"{clip}.flac"))
            (tmp_path / audio.name).write_bytes(audio.read_bytes())
            table.writerow([clip, audio.name, text, "es", clip.split("_")[0], ""])
    Path("mine.yaml").write_text(config, encoding="utf-8")
    runner = CliRunner()
    commands = [
        line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines() if "mine.yaml" in line
    ]
    assert [command[0] for command in commands] == [".venv/bin/sift-ray"] * 9
    trained = ("models/align/es-", "TextGrids in grids")
    shown = ("rulers by equal_width", "open_ended, accepted")
    looked_at = ("of 44 rules", "report/index.html")
    ends = ("nothing was written", *["samples as Parquet in"] * 2, *looked_at, *trained, *shown)
    for command, end in zip(commands, ends, strict=True):
        result = runner.invoke(app, command[1:])
        assert result.exit_code == 0, result.output
        assert end in result.output.lower() or end in result.output
        assert Path("out").exists() == ("--dry-run" not in command)


def test_sections_shown_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [block for block in blocks("yaml") if re.match("annotate:|bin:|instruct:|release:", block)]
    assert len(shown) == 5
    Path("clips.tsv").touch()
    for block in shown:
        for file in re.findall(r"en: (\S+)}", re.sub(r"#.*", "", block)):
            Path(file).touch()
        parse_config(f"output: out\ncorpora: [{{type: manifest, name: mine, path: clips.tsv}}]\n{block}", "README.md")


def test_make_targets_are_there() -> None:
    makefile = (README.parent / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)", README.read_text(encoding="utf-8")))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
