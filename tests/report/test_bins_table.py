from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sift_ray.cli import CONFIG_WRONG, JOB_FAILED, app
from sift_ray.metadata.bins_file import write_bins
from sift_ray.metadata.rulers import EVERYONE, Group, Ruler, Rulers
from sift_ray.report.bins_table import name_of, render

EDGES = (50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 110.0, 120.5)
COUNTS = (1, 2, 3, 40, 3, 2, 1)


def a_ruler(corpus: str, gender: str | None, count: int, attribute: str = "average_pitch") -> Ruler:
    histogram = (50.0, 600.0, (count,))
    return Ruler(attribute, corpus, None, gender, count, count - 1, 51.0, 119.0, 85.25, 9.5, EDGES, histogram)


def some_rulers() -> Rulers:
    return Rulers(
        [
            a_ruler("vctk", "female", 52),
            a_ruler("mls", "female", 3),
            a_ruler("*", "female", 55),
            a_ruler("*", EVERYONE, 60),
            a_ruler("vctk", None, 90, "speaking_rate"),
        ],
        method="equal_width",
        min_count=20,
        counts={
            Group("average_pitch", "vctk", None, "female"): COUNTS,
            Group("average_pitch", "mls", None, "female"): (0, 0, 0, 2, 0, 1, 0),
        },
        unknown={"average_pitch": {"unvoiced": 4, "unknown_gender": 1200}, "speaking_rate": {"not_measured": 7}},
    )


def printed(width: int = 110, **chosen: Any) -> str:
    out = io.StringIO()
    render(some_rulers(), Console(file=out, width=width), **chosen)
    return out.getvalue()


def section(text: str, title: str) -> str:
    return text[text.index(title) :].split("\n\n", maxsplit=1)[0]


def test_each_ruler_shows_edges_and_what_it_judges() -> None:
    shown = section(printed(), "average_pitch, vctk, female: 51 of 52 values shape it")
    assert "51.0 to 119.0, mean 85.2, std 9.5 (Hz)" in shown
    row = next(line for line in shown.splitlines() if line.startswith("moderate pitch"))
    assert row.split()[2:] == ["80.0", "90.0", "40", "76.9%", "█" * 24]
    assert next(line for line in shown.splitlines() if line.startswith("very high pitch")).split()[3:6] == [
        "110.0",
        "120.5",
        "1",
    ]
    assert "too few" not in shown


def test_a_group_that_another_ruler_judges_is_told_and_counted_there() -> None:
    text = printed()
    small = section(text, "average_pitch, mls, female")
    assert "too few to judge by: the group is judged by average_pitch, all corpora, female" in small
    assert "very low pitch" not in small  # a ruler that judges nobody is named, and no more
    assert "very low pitch" in section(printed(idle=True), "average_pitch, mls, female")
    assert "2  66.7%" in section(text, "average_pitch, all corpora, female: 54 of 55")
    assert "judges no value here" in section(text, "average_pitch, all corpora, all speakers")


def test_unknown_values_are_counted_by_reason() -> None:
    text = printed()
    lines = [line.split() for line in section(text, "Without a category").splitlines()[3:]]
    assert lines == [
        ["average_pitch", "unknown_gender", "1,200"],
        ["average_pitch", "unvoiced", "4"],
        ["speaking_rate", "not_measured", "7"],
    ]
    assert "5 rulers by equal_width; a group of fewer than 20 values is judged by another." in text


def test_only_what_was_asked_for() -> None:
    text = printed(attributes=("speaking_rate",))
    assert "speaking_rate, vctk" in text
    assert "average_pitch" not in text
    assert "vctk, female" not in printed(corpora=("mls",))


def test_numbers_come_before_bars_where_there_is_little_room() -> None:
    row = next(line for line in printed(60).splitlines() if line.startswith("moderate pitch") and "76.9%" in line)
    assert row.split()[2:] == ["80.0", "90.0", "40", "76.9%"]


def test_a_corpus_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"no rulers of cv; there are some of \*, mls, vctk"):
        printed(corpora=("cv",))


def test_names() -> None:
    assert name_of(Group("speaking_rate", "*", "de", None)) == "speaking_rate, all corpora, de"
    assert name_of(Group("average_pitch", "a", None, EVERYONE)) == "average_pitch, a, all speakers"


def test_the_command_reads_a_job_or_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    config = tmp_path / "job.yaml"
    config.write_text(f"output: {out}\ncorpora: [{{type: manifest, name: demo, path: {tmp_path}/clips.tsv}}]\n")
    early = CliRunner().invoke(app, ["bins", "show", str(config)])
    assert early.exit_code == JOB_FAILED
    assert "run `sift-ray bin` first" in early.stderr
    (out / "bins.json").write_text(write_bins(some_rulers()))
    of_job = CliRunner().invoke(app, ["bins", "show", str(config), "--attribute", "speaking_rate"])
    of_file = CliRunner().invoke(app, ["bins", "show", str(out / "bins.json"), "--attribute", "speaking_rate"])
    assert of_job.exit_code == of_file.exit_code == 0
    assert of_job.stdout == of_file.stdout
    assert "speaking_rate, vctk: 89 of 90 values" in of_job.stdout
    wrong = CliRunner().invoke(app, ["bins", "show", str(config), "--attribute", "pitch"])
    assert wrong.exit_code == CONFIG_WRONG
    assert "there are average_pitch," in wrong.stderr


@pytest.mark.parametrize("text", ["{}", "not json"])
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "bins.json").write_text(text)
    told = CliRunner().invoke(app, ["bins", "show", str(tmp_path / "bins.json")])
    assert told.exit_code == JOB_FAILED
    assert "bins.json: not a bins.json" in told.stderr
