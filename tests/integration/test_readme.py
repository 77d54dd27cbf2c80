"""What README tells a newcomer to type works as it stands there, and what it names is there."""

import csv
import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import datasets
import pytest
import soundfile
import typer
import yaml
from pydantic import TypeAdapter
from ray.scripts.scripts import cli as ray_cli
from typer.testing import CliRunner

from sift_ray import __version__
from sift_ray.cli import app
from sift_ray.config import CorpusConfig
from sift_ray.config_file import parse_config
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import Reading, read_corpus
from sift_ray.pipeline.build import build

from ..conftest import Job, template_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[list[str]]:
    """Every command of the shell blocks, as a shell splits it; comments left out."""
    lines = [part for block in blocks("sh") for line in block.splitlines() for part in line.split("&&")]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


TYPED = [words for words in command_lines() if "mine.yaml" in words]
"""What `test_your_own_corpus` runs; all others are parsed."""


def section(title: str) -> str:
    return re.split(r"^## ", README.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def parse(command: Any, arguments: list[str]) -> None:
    """Have a command line parsed by the command that it is for. Raises what that says of unknown options."""
    while subcommands := getattr(command, "commands", None):
        name, *arguments = arguments
        if name.startswith("-"):
            assert name in {option for parameter in command.params for option in parameter.opts}
            return
        assert name in subcommands
        command = subcommands[name]
    command.make_context(command.name, arguments)


def test_your_own_corpus(local_ray: None, demo_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = (block for block in blocks("yaml") if "type: manifest" in block)
    (columns,) = (block.splitlines()[0].split("\t") for block in blocks("tsv"))
    name = yaml.safe_load(config)["corpora"][0]["path"]
    folder = next(demo_corpora.glob("mls_spanish*")) / "train"
    with Path(name).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, delimiter="\t")
        table.writeheader()
        for line in (folder / "transcripts.txt").read_text(encoding="utf-8").splitlines():
            clip, text = line.split("\t")
            audio = next(folder.rglob(f"{clip}.flac"))
            (tmp_path / audio.name).write_bytes(audio.read_bytes())
            speaker = clip.split("_")[0]
            table.writerow(
                {"id": clip, "audio": audio.name, "transcript": text, "language": "es", "speaker_id": speaker}
            )
    Path("mine.yaml").write_text(config, encoding="utf-8")
    runner = CliRunner()
    assert [words[0] for words in TYPED] == [".venv/bin/sift-ray"] * 9
    trained = ("models/align/es-", "TextGrids in grids")
    shown = ("rulers by equal_width", "open_ended, accepted")
    looked_at = ("of 44 rules", "report/index.html")
    ends = ("nothing was written", *["samples as Parquet in"] * 2, *looked_at, *trained, *shown)
    for words, end in zip(TYPED, ends, strict=True):
        result = runner.invoke(app, words[1:])
        assert result.exit_code == 0, result.output
        assert end in result.output.lower() or end in result.output
        assert Path("out").exists() == ("--dry-run" not in words)
    (tree,) = (block for block in blocks("text") if block.startswith("plan.json"))
    named = {re.split(r"[/ ]", line)[0] for line in tree.splitlines() if not line.startswith(" ")}
    assert {path.name for path in Path("out/mine").iterdir()} == named


@pytest.mark.parametrize("words", [words for words in command_lines() if words not in TYPED], ids=" ".join)
def test_commands_that_are_not_run_can_be_parsed(words: list[str]) -> None:
    match words:
        case [".venv/bin/sift-ray", *arguments]:
            parse(typer.main.get_command(app), arguments)
        case [".venv/bin/ray", *arguments]:
            parse(ray_cli, arguments)
        case ["make", target]:
            assert target in targets()
        case [("git" | "cd" | "kubectl"), *_]:
            pass
        case _:
            pytest.fail(f"a newcomer's shell would not find {words[0]}")
    for word in words:
        if re.match(r"(jobs|cluster|docker|tests)/", path := word.rpartition("=")[2]):
            assert (ROOT / path).is_file(), path


def test_commands_in_the_text_can_be_parsed() -> None:
    found = re.findall(r"`(\.venv/bin/)?sift-ray ([^`]+)`", PROSE)
    assert {"status", "align-train CONFIG"} & {arguments for _, arguments in found}
    for typed, arguments in found:
        if typed:
            parse(typer.main.get_command(app), shlex.split(arguments))
        else:  # a name, not a line to type
            assert arguments in typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_table_shown_is_read(tmp_path: Path) -> None:
    (table,) = blocks("tsv")
    (tmp_path / "clips.tsv").write_text(table, encoding="utf-8")
    lines = list(csv.DictReader(table.splitlines(), delimiter="\t"))
    for line in lines:
        (tmp_path / line["audio"]).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / line["audio"], [0.0] * 16_000, 16_000)
    config: CorpusConfig = TypeAdapter(CorpusConfig).validate_python(
        {"type": "manifest", "name": "mine", "path": str(tmp_path / "clips.tsv")}
    )
    rows = list(read_corpus(config, Reading(storage=StorageConfig())))
    assert [row.reject_reason for row in rows] == [None, None]
    for row, line in zip(rows, lines, strict=True):
        assert (row.utterance_id, row.language, row.transcript) == (line["id"], line["language"], line["transcript"])
        assert (row.speaker_id, row.gender) == (line["speaker_id"], line["gender"])
        assert row.audio_uri is not None
        assert row.audio_uri.endswith(line["audio"])


def test_python_shown_runs(
    finished_job: Job, demo_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    output = tmp_path / "out"
    shutil.copytree(finished_job.folder, output)
    config = template_config(output, demo_corpora, extra="release: {audio: embedded}\n")
    build(parse_config(config, "embedded.yaml"), restart_from="release")
    shown: dict[str, Any] = {}
    load, listen = (block.replace("out/demo/release", str(output / "release")) for block in blocks("python"))
    exec(load, shown)
    samples = shown["samples"]
    assert set(samples["task"]) == {"closed_ended_acoustic_level"}
    assert set(samples["split"]) == {"train"}
    (columns,) = re.findall(r"Columns: (.*?)\.\n", section("Read what comes out"), re.DOTALL)
    named = set(re.findall(r"`(\w+)`", columns))
    assert set(samples.column_names) == named | {"audio"}
    exec(listen, shown)
    original = soundfile.info(samples[0]["audio_uris"][0])
    assert (len(shown["wave"]), shown["rate"]) == (original.frames, original.samplerate)


def test_sections_shown_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [block for block in blocks("yaml") if re.match("annotate:|bin:|instruct:|release:", block)]
    assert len(shown) == 5
    Path("clips.tsv").touch()
    for block in shown:
        for file in re.findall(r"en: (\S+)}", re.sub(r"#.*", "", block)):
            Path(file).touch()
        parse_config(f"output: out\ncorpora: [{{type: manifest, name: mine, path: clips.tsv}}]\n{block}", "README.md")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_make_targets_are_there() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    assert {"demo", "test", "setup"} <= named
    assert named <= targets()


def test_what_is_shown_of_the_demo_is_of_its_whole_output() -> None:
    some, whole = [block for block in blocks("text") if block.startswith("Stages")][:2]
    tables = some.strip().split("\n\n")
    assert [table.splitlines()[0] for table in tables[:2]] == ["Stages", "Instructions accepted"]
    assert "samples as Parquet in" in tables[2]
    assert all(f"{table}\n" in whole for table in tables)
    assert "Instructions rejected, by rule and task" in whole


def test_the_estimate_is_what_the_command_says() -> None:
    (words,) = (words for words in command_lines() if "estimate" in words)
    said = CliRunner().invoke(app, words[1:], env={"COLUMNS": "110"})  # (as wide as without a terminal)
    assert said.exit_code == 0, said.output
    (core_hours, gpu_hours, hours, dollars, model) = re.findall(
        r"(\S+) core-hours, (\S+) GPU-hours and (\S+) hours.*?the (\S+) dollars.*?takes (\S+)\.\s",
        section("On your cluster"),
        re.DOTALL,
    )[0]
    assert re.search(rf"^all +{core_hours} +{gpu_hours} +{hours} +{dollars} *$", said.output, re.MULTILINE)
    assert re.search(rf"^instruct .* {model} *$", said.output, re.MULTILINE)


def test_figures_name_benchmarks_that_are_there() -> None:
    named = [row.split("|")[-2] for row in section("Figures").splitlines() if row.startswith("|")]
    benchmarks = set(re.findall(r"`(\w+)`", "".join(named)))
    assert {"decode", "instruct", "release", "verifier"} <= benchmarks
    for name in benchmarks:
        assert importlib.util.find_spec(f"tests.benchmarks.{name}"), name


def test_extras_and_version_are_the_package_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = (part for part in section("Choices").split("\n\n") if "is an extra" in part)
    assert set(re.findall(r"`([a-z0-9-]+)`", extras)) >= set(project["optional-dependencies"])
    (citation,) = blocks("bibtex")
    assert f"version = {{{__version__}}}" in citation


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PROSE) if not link.startswith("https://")]
    assert "docs/report.png" in links
    for link in links:
        assert (ROOT / link).is_file(), link
