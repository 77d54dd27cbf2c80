import numpy as np
from rich.console import Console

from sift_ray.pipeline.plan_preview import Cell, Preview, Rejects
from sift_ray.pipeline.plan_rules import LeftOut
from sift_ray.report.plan_table import render


def printed(preview: Preview, width: int = 120) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        render(preview, console)
    return capture.get().splitlines()


def full() -> Preview:
    def cell(utterances: int, hours: float, *speakers: int) -> Cell:
        return Cell(utterances, hours, np.array(speakers, dtype=np.int64), 1, 2, 3)

    return Preview(
        wave_rows=1000,
        rows=2040,
        cells={
            ("mine", "en", "test"): cell(30, 0.5, 7),
            ("mine", "en", "train"): cell(1500, 2.25, 1, 2, 3),
            ("mine", "de", "train"): cell(500, 1.0, 3, 4),
        },
        rejects={
            ("mine", "missing_audio"): Rejects(3, "/data/[m].tsv:5: /data/gone.flac: no such file", 4),
            ("mine", "duplicate_id"): Rejects(7, "/data/m.tsv:9: /data/m.tsv:2 has the same id", 8),
        },
        skipped={"mine": {"language nl is none of the five": 1200}},
        left_out={("mine", "en"): LeftOut(4000, 12.345)},
    )


def test_a_line_for_each_split_and_the_sum_of_all() -> None:
    rows = [line.split() for line in printed(full())]
    assert ["mine", "en", "train", "1,500", "2.250", "3", "1", "2", "3"] in rows
    assert ["mine", "en", "test", "30", "0.500", "1", "1", "2", "3"] in rows
    # a speaker of two languages is one speaker
    assert ["all", "2,030", "3.750", "5", "3", "6", "9"] in rows
    splits = [row[1:3] for row in rows if row[2:3] in (["train"], ["test"])]
    assert splits == [["en", "train"], ["en", "test"], ["de", "train"]]


def test_rejects_come_with_an_example_the_most_frequent_first() -> None:
    lines = printed(full())
    rejects = [line.split(None, 3) for line in lines if "missing_audio" in line or "duplicate_id" in line]
    assert [row[:3] for row in rejects] == [["mine", "duplicate_id", "7"], ["mine", "missing_audio", "3"]]
    assert rejects[1][3].strip() == "/data/[m].tsv:5: /data/gone.flac: no such file"


def test_a_long_example_is_folded_not_cut() -> None:
    preview = full()
    preview.rejects["mine", "missing_audio"].example = "/data/" + "x" * 300
    assert sum(line.count("x") for line in printed(preview, width=80) if "xxx" in line) == 300


def test_what_is_skipped_and_left_out_is_told() -> None:
    rows = [line.split() for line in printed(full())]
    assert ["mine", "1,200", "language", "nl", "is", "none", "of", "the", "five"] in rows
    assert ["mine", "en", "4,000", "12.345"] in rows


def test_it_ends_with_how_many_waves_and_that_nothing_was_written() -> None:
    *_, waves, last = printed(full())
    assert waves == "2,040 rows, 10 of them rejected, would make 3 waves of at most 1,000."
    assert last == "Nothing was written: this was a dry run."


def test_nothing_to_tell_makes_no_table() -> None:
    text = "\n".join(printed(Preview(wave_rows=10)))
    for title in ("Rejected", "Skipped", "Left out"):
        assert title not in text


def test_more_rejects_than_the_budget_allows_are_told_of() -> None:
    preview = full()
    assert not any("error_budget" in line for line in printed(preview))
    preview.error_budget = 0.001
    assert any("0.5% are rejected for what is wrong with them" in line for line in printed(preview))
    preview.rejects = {("mine", "speaker_in_two_splits"): Rejects(900, "", 1)}
    assert not any("error_budget" in line for line in printed(preview))
