from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.pipeline.counts import RUNGS
from sift_ray.report.yields import REFERENCE, instruction_tables, mix_as_json, mix_of, yields_as_json, yields_of
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import Counts

RULES = [f"rule_{number:02d}_of_a_long_name" for number in range(20)]


def printed(counts: Counts, width: int = 100) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        for table in instruction_tables(counts):
            console.print(table)
    return capture.get()


def lines(counts: Counts) -> list[list[str]]:
    return [line.split() for line in printed(counts).splitlines()]


SMALL: Counts = {
    "asked": {"open_ended/org/model": 6, "open_ended/template": 2, "controllable_generation/org/model": 1},
    "reached": {
        "open_ended/de/first": 4,
        "open_ended/en/first": 2,
        "open_ended/de/retry": 3,
        "open_ended/de/fallback": 1,
        "open_ended/en/template": 2,
        "controllable_generation/de/first": 1,
    },
    "answered": {
        "open_ended/de/first": 1,
        "open_ended/en/first": 2,
        "open_ended/de/retry": 2,
        "open_ended/de/fallback": 1,
        "open_ended/en/template": 2,
    },
    "pairs": {
        "open_ended/de/first/accepted": 3,
        "open_ended/en/first/accepted": 4,
        "open_ended/de/first/false_claim": 9,
        "open_ended/en/first/surplus": 2,
        "open_ended/de/retry/accepted": 2,
        "open_ended/de/retry/language": 6,
        "open_ended/de/fallback/accepted": 3,
        "open_ended/en/template/accepted": 6,
        "controllable_generation/de/first/false_claim": 2,
    },
    "untold": {"open_ended/de/first": 1, "open_ended/en/template": 2},
    "tokens": {
        "open_ended/prompt": 1000,
        "open_ended/cached": 750,
        "open_ended/generated": 500,
        "controllable_generation/generated": 500,
    },
}


def test_a_rung_tells_of_its_requests_and_pairs() -> None:
    found = lines(SMALL)
    assert ["open_ended", "first", "6", "3", "7", "11", "38.9%"] in found
    # (the task is named once)
    assert ["retry", "3", "2", "2", "6", "25.0%"] in found
    assert ["fallback", "1", "1", "3", "0", "100.0%"] in found
    assert ["template", "2", "2", "6", "0", "100.0%"] in found
    assert ["controllable_generation", "first", "1", "0", "0", "2", "0.0%"] in found
    assert ["all", "first", "7", "3", "7", "13", "35.0%"] in found


def test_rungs_stand_in_their_order_within_their_task() -> None:
    rows = yields_as_json(SMALL)
    assert [(row["task"], row["rung"]) for row in rows] == [
        *(("open_ended", rung) for rung in RUNGS),
        ("controllable_generation", "first"),
    ]
    assert rows[1]["yield"] == 0.25


def test_rejects_are_told_by_rule_and_language_the_most_frequent_first() -> None:
    text = printed(SMALL)
    table = [line.split() for line in text[text.index("rejected, by rule") :].splitlines()]
    assert [row for row in table if row and row[0] in ("false_claim", "language", "surplus", "all")] == [
        ["false_claim", "0", "11", "0", "0", "0", "11"],
        ["language", "0", "6", "0", "0", "0", "6"],
        ["surplus", "2", "0", "0", "0", "0", "2"],
        ["all", "2", "17", "0", "0", "0", "19"],
    ]


def test_of_many_rules_the_rare_ones_are_one_row() -> None:
    counts: Counts = {"pairs": {f"open_ended/fr/first/{rule}": 100 - place for place, rule in enumerate(RULES)}}
    found = lines(counts)
    assert [row[0] for row in found if row and row[0].startswith("rule_")] == RULES[:12]
    rest = str(sum(100 - place for place in range(12, 20)))
    assert ["8", "other", "rules", "0", "0", rest, "0", "0", rest] in found


def test_without_rejects_there_is_no_table_of_rules() -> None:
    assert "by rule" not in printed({"pairs": {"open_ended/de/template/accepted": 1}})


def test_the_mix_has_shares_and_what_a_pair_costs() -> None:
    part = mix_of(SMALL)["open_ended"]
    assert (part.accepted, part.untold, part.share, part.cached) == (18, 3, 1.0, 0.75)
    assert part.per_1000_tokens == 1000 * (7 + 2) / 500  # of what a model wrote
    assert part.reference == pytest.approx(4.3 / 55.6)
    whole = mix_of(SMALL)["all"]
    assert whole.per_1000_tokens == 9.0  # the tokens that made nothing are paid, too
    assert ["open_ended", "18", "100.0%", "7.7%", "3", "18.00", "75.0%"] in lines(SMALL)


def mixed(pairs: dict[str, float]) -> Counts:
    return {
        "asked": dict.fromkeys((f"{task}/m" for task in pairs), 1),
        "pairs": {f"{task}/en/first/accepted": number for task, number in pairs.items()},
    }


def test_pairs_in_the_references_proportions_have_its_shares() -> None:
    for part in mix_of(mixed({task: 10 * millions for task, millions in REFERENCE.items()})).values():
        assert part.share == (None if part.reference is None else pytest.approx(part.reference))


def test_the_reference_is_that_of_the_paper() -> None:
    assert sum(REFERENCE.values()) == pytest.approx(55.6)
    assert [*REFERENCE] == [task for task in TASKS if task != WORD_TIMES]


def test_times_in_numbers_are_told_where_asked_for_and_change_no_share() -> None:
    pairs: dict[str, float] = {"open_ended": 30, "controllable_generation": 10}
    assert WORD_TIMES not in printed(mixed(pairs))
    part = mix_of(mixed({**pairs, WORD_TIMES: 1000}))
    assert part["open_ended"].share == 0.75
    assert part[WORD_TIMES].share is None
    assert [WORD_TIMES, "1,000", "0"] in lines(mixed({**pairs, WORD_TIMES: 1000}))


@pytest.mark.parametrize(("tasks", "width"), [(tuple(REFERENCE), 100), (TASKS, 110)])
def test_the_tables_of_the_references_size_fit_the_screen(tasks: Sequence[str], width: int) -> None:
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
                counts["pairs"] |= {
                    f"{task}/{language}/{rung}/{rule}": of / 2**place for place, rule in enumerate(RULES)
                }
    text = printed(counts, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    "counts",
    [
        {},
        # as an earlier version counted
        {
            "pairs": {"open_ended/de/org/model/accepted": 3, "open_ended/de/template/rejected": 9},
            "asked": {"open_ended/org/model": 6},
            "tokens": {"prompt": 10, "cached": 8, "generated": 200},
        },
    ],
)
def test_counts_without_the_tables_are_told_as_far_as_they_go(counts: Any) -> None:
    assert "Yields" in printed(counts)
    assert json.loads(json.dumps([mix_as_json(counts), yields_as_json(counts)]))
    accepted = sum(cell.accepted for cell in yields_of(counts).values())
    assert accepted == mix_of(counts)["all"].accepted == (3 if counts else 0)
