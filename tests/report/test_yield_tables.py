from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from rich.console import Console
from rich.table import Table

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.pipeline.counts import RUNGS
from sift_ray.report.tables import thousands_text
from sift_ray.report.yield_tables import instruction_tables
from sift_ray.report.yields import REFERENCE
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import Counts, add_counts

from .written_counts import RULES, SMALL, any_counts, mixed

ACCEPTED, MIX, YIELDS, BY_LANGUAGE, BY_RULE, BY_TASK = (
    "Instructions accepted",
    "The mix (untold: pairs that say that it can't be told)",
    "Yields",
    "Yields by language (rows of nothing but 100% left out)",
    "Instructions rejected, by rule",
    "Instructions rejected, by rule and task",
)


def printed(counts: Counts, width: int = 100) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        for table in instruction_tables(counts):
            console.print(table)
    return capture.get()


def told(counts: Counts) -> dict[str, list[list[str]]]:
    """Every table's head and rows by its title."""
    return {
        str(table.title): [[str(c.header) for c in table.columns], *_rows(table)]
        for table in instruction_tables(counts)
    }


def _rows(table: Table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_rung_tells_of_its_requests_and_pairs() -> None:
    assert told(SMALL)[YIELDS] == [
        ["task", "rung", "requests", "answered", "accepted", "rejected", "yield"],
        ["open_ended", "first", "6", "3", "7", "11", "38.9%"],
        ["", "retry", "3", "2", "2", "6", "25.0%"],  # (the task is named once)
        ["", "fallback", "1", "1", "3", "0", "100.0%"],
        ["", "template", "2", "2", "6", "0", "100.0%"],
        ["controllable_generation", "first", "1", "0", "0", "2", "0.0%"],
        ["all", "first", "7", "3", "7", "13", "35.0%"],
        ["", "retry", "3", "2", "2", "6", "25.0%"],
        ["", "fallback", "1", "1", "3", "0", "100.0%"],
        ["", "template", "2", "2", "6", "0", "100.0%"],
    ]


def test_a_rung_that_refused_pairs_tells_its_yield_in_each_language() -> None:
    assert told(SMALL)[BY_LANGUAGE] == [
        ["task", "rung", "en", "de", "all"],
        ["open_ended", "first", "66.7%", "25.0%", "38.9%"],
        ["", "retry", "", "25.0%", "25.0%"],
        ["controllable_generation", "first", "", "0.0%", "0.0%"],
        ["all", "first", "66.7%", "21.4%", "35.0%"],
        ["", "retry", "", "25.0%", "25.0%"],
    ]


def test_templates_that_were_refused_have_their_row_too() -> None:
    counts = add_counts([SMALL, {"pairs": {"open_ended/fr/fallback/leak": 1, "open_ended/en/template/leak": 2}}])
    rows = told(counts)[BY_LANGUAGE]
    assert rows[0] == ["task", "rung", "en", "de", "fr", "all"]
    assert rows[3:5] == [["", "fallback", "", "100.0%", "0.0%", "75.0%"], ["", "template", "75.0%", "", "", "75.0%"]]
    assert rows[-2:] == rows[3:5]


@pytest.mark.parametrize(
    "pairs",
    [
        {"open_ended/de/first/accepted": 1, "open_ended/de/first/leak": 3},
        {"open_ended/de/template/accepted": 1, "open_ended/fr/template/accepted": 3},
    ],
)
def test_one_language_or_all_accepted_is_told_by_the_yields_alone(pairs: dict[str, float]) -> None:
    assert YIELDS in told({"pairs": pairs})
    assert BY_LANGUAGE not in told({"pairs": pairs})


def test_rejects_are_told_by_rule_language_and_rung_the_most_frequent_first() -> None:
    assert told(SMALL)[BY_RULE] == [
        ["rule", "en", "de", "fr", "it", "es", "first", "retry", "all"],
        ["false_claim", "0", "11", "0", "0", "0", "11", "0", "11"],
        ["language", "0", "6", "0", "0", "0", "0", "6", "6"],
        ["surplus", "2", "0", "0", "0", "0", "2", "0", "2"],
        ["all", "2", "17", "0", "0", "0", "13", "6", "19"],
    ]


def test_rejects_are_told_by_rule_and_task_in_the_same_order() -> None:
    assert told(SMALL)[BY_TASK] == [
        ["rule", "open\nended", "controllable\ngeneration", "all"],
        ["false_claim", "9", "2", "11"],
        ["language", "6", "0", "6"],
        ["surplus", "2", "0", "2"],
        ["all", "17", "2", "19"],
    ]


def test_the_heads_of_tasks_tell_them_apart() -> None:
    [heads, *_] = told({"pairs": {f"{task}/en/first/leak": 1 for task in TASKS}})[BY_TASK]
    assert [head.replace("\n", " ") for head in heads[1:-1]] == [
        "acoustic level",
        "content level",
        "word align",
        "word align numeric",
        "comparison",
        "open ended",
        "controllable generation",
    ]


def test_of_many_rules_the_rare_ones_are_one_row() -> None:
    counts: Counts = {"pairs": {f"open_ended/fr/first/{rule}": 100 - place for place, rule in enumerate(RULES)}}
    [_, *rows] = told(counts)[BY_RULE]
    assert [row[0] for row in rows] == [*RULES[:12], "8 other rules", "all"]
    rest = str(sum(100 - place for place in range(12, 20)))
    assert ["8 other rules", "0", "0", rest, "0", "0", rest] in rows  # (no rung beside one of which all is)
    assert BY_TASK not in told(counts)


def test_without_rejects_there_is_no_table_of_rules() -> None:
    assert "by rule" not in printed({"pairs": {"open_ended/de/template/accepted": 1}})


def test_rejects_by_the_million_are_told_in_thousands() -> None:
    counts: Counts = {
        "pairs": {
            "open_ended/en/first/leak": 990_000,
            "open_ended/de/retry/leak": 9_400,
            "controllable_generation/de/first/echo": 600,
        }
    }
    assert BY_RULE not in told({"pairs": counts["pairs"] | {"open_ended/en/first/leak": 990_001}})
    assert told(counts)[BY_RULE + ", in thousands"][1:] == [
        ["leak", "990", "9", "0", "0", "0", "990", "9", "999"],
        ["echo", "0", "<1", "0", "0", "0", "<1", "0", "<1"],
        ["all", "990", "10", "0", "0", "0", "991", "9", "1,000"],
    ]
    assert told(counts)[BY_TASK + ", in thousands"][1:] == [
        ["leak", "999", "0", "999"],
        ["echo", "0", "<1", "<1"],
        ["all", "999", "<1", "1,000"],
    ]
    assert [thousands_text(number) for number in (0, 1, 999, 1000, 1_234_567)] == ["0", "<1", "<1", "1", "1,235"]


@settings(max_examples=60, deadline=None)
@given(any_counts())
def test_the_cells_of_the_rules_add_up(counts: Counts) -> None:
    tables = told(counts)
    refused = sum(number for label, number in counts["pairs"].items() if not label.endswith("/accepted"))
    assert (BY_RULE in tables) == (refused > 0)
    for title in {BY_RULE, BY_TASK} & set(tables):
        heads, *rows, last = ([row[0], *(cell.replace(",", "") for cell in row[1:])] for row in tables[title])
        numbers = [[int(cell) for cell in row[1:]] for row in rows]
        assert [sum(column) for column in zip(*numbers, strict=True)] == [int(cell) for cell in last[1:]]
        assert int(last[-1]) == refused
        for row in numbers:
            columns = dict(zip(heads[1:], row, strict=True))
            whole = columns.pop("all")
            rungs = [columns.pop(rung) for rung in RUNGS if rung in columns]
            assert sum(columns.values()) == whole  # of languages, or of tasks
            assert sum(rungs) == (whole if rungs else 0)


@settings(max_examples=60, deadline=None)
@given(any_counts())
def test_a_yield_of_all_languages_is_that_of_the_yields(counts: Counts) -> None:
    def shares(title: str) -> dict[tuple[str, str], str]:
        found, task = {}, ""
        for name, rung, *cells in tables.get(title, [])[1:]:
            task = name or task
            found[task, rung] = cells[-1]
        return found

    tables = told(counts)
    every, some = shares(YIELDS), shares(BY_LANGUAGE)
    assert some.items() <= every.items()
    languages = {label.split("/")[1] for cells in counts.values() for label in cells}
    if len(languages) > 1:
        assert {share for place, share in every.items() if place not in some} <= {"100.0%", ""}


def test_the_mix_has_shares_and_what_a_pair_costs() -> None:
    assert ["open_ended", "18", "100.0%", "7.7%", "3", "18.00", "75.0%"] in told(SMALL)[MIX]


def test_times_in_numbers_are_told_where_asked_for() -> None:
    pairs: dict[str, float] = {"open_ended": 30, "controllable_generation": 10}
    assert WORD_TIMES not in printed(mixed(pairs))
    found = told(mixed({**pairs, WORD_TIMES: 1000}))
    assert [WORD_TIMES, "1,000", "", "", "0", "", ""] in found[MIX]
    assert [WORD_TIMES, "1,000", "0", "0", "0", "0", "1,000"] in found[ACCEPTED]


@pytest.mark.parametrize(
    ("tasks", "refusing", "width"),
    [(tuple(REFERENCE), RUNGS[:2], 100), (TASKS, RUNGS, 110)],  # (templates are not refused)
)
def test_the_tables_of_the_references_size_fit_the_screen(
    tasks: Sequence[str], refusing: Sequence[str], width: int
) -> None:
    counts: Counts = {"asked": {}, "reached": {}, "answered": {}, "pairs": {}, "untold": {}, "tokens": {}}
    for task in tasks:
        whole = 1e6 * REFERENCE.get(task, 9.8)
        counts["asked"][f"{task}/mistralai/Mixtral-8x7B-Instruct-v0.1"] = whole / 8
        counts["untold"][f"{task}/en/first"] = whole / 20
        counts["tokens"] |= {f"{task}/prompt": 9e9, f"{task}/cached": 8e9, f"{task}/generated": 9e8}
        for language, share in zip(LANGUAGES, (0.534, 0.192, 0.168, 0.061, 0.045), strict=True):
            for rung, part in zip(RUNGS, (0.8, 0.1, 0.05, 0.05), strict=True):
                of = whole * share * part
                counts["reached"][f"{task}/{language}/{rung}"] = of / 8
                counts["answered"][f"{task}/{language}/{rung}"] = of / 9
                counts["pairs"][f"{task}/{language}/{rung}/accepted"] = of
                rules = RULES if rung in refusing else []
                counts["pairs"] |= {
                    f"{task}/{language}/{rung}/{rule}": of / 2**place for place, rule in enumerate(rules)
                }
    text = printed(counts, width)
    assert len(instruction_tables(counts)) == 6
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_just_under_a_million_rejects_fit_the_screen() -> None:
    pairs: dict[str, float] = {
        f"{task}/{language}/{rung}/quote_not_in_transcript": 14_000
        for task in TASKS
        for language in LANGUAGES
        for rung in RUNGS[:2]
    }
    text = printed({"pairs": pairs}, 110)
    assert "980,000" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("counts", "titles"),
    [
        ({}, [ACCEPTED, MIX, YIELDS]),
        # as an earlier version counted
        (
            {
                "pairs": {"open_ended/de/org/model/accepted": 3, "open_ended/de/template/rejected": 9},
                "asked": {"open_ended/org/model": 6},
                "tokens": {"prompt": 10, "cached": 8, "generated": 200},
            },
            [ACCEPTED, MIX, YIELDS, BY_RULE],
        ),
    ],
)
def test_counts_without_the_tables_are_told_as_far_as_they_go(counts: Counts, titles: list[str]) -> None:
    assert list(told(counts)) == titles
    assert "Yields" in printed(counts)
