from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.pipeline.counts import RUNGS
from sift_ray.report.yields import (
    ALL,
    REFERENCE,
    Place,
    Yield,
    mix_of,
    pairs_told,
    rejects_as_json,
    with_sums,
    yields_as_json,
    yields_by_place,
    yields_by_place_as_json,
    yields_of,
)
from sift_ray.schema import TASKS
from sift_ray.storage import Counts, add_counts

from .written_counts import SMALL, any_counts, mixed

OPEN, SPOKEN = "open_ended", "controllable_generation"


def test_rungs_stand_in_their_order_within_their_task() -> None:
    rows = yields_as_json(SMALL)
    assert [(row["task"], row["rung"]) for row in rows] == [
        *(("open_ended", rung) for rung in RUNGS),
        ("controllable_generation", "first"),
    ]
    assert rows[1]["yield"] == 0.25


def test_every_place_has_its_four_numbers() -> None:
    keys = ("task", "language", "rung", "asked", "answered", "accepted", "rejected", "yield")
    rows = yields_by_place_as_json(SMALL)
    assert all(tuple(row) == keys for row in rows)
    assert [tuple(row.values()) for row in json.loads(json.dumps(rows))] == [
        (OPEN, "en", "first", 2, 2, 4, 2, 4 / 6),
        (OPEN, "de", "first", 4, 1, 3, 9, 3 / 12),
        (OPEN, "de", "retry", 3, 2, 2, 6, 2 / 8),
        (OPEN, "de", "fallback", 1, 1, 3, 0, 1.0),
        (OPEN, "en", "template", 2, 2, 6, 0, 1.0),
        (SPOKEN, "de", "first", 1, 0, 0, 2, 0.0),
    ]


def test_a_place_that_a_request_came_to_in_vain_has_no_share() -> None:
    counts: Counts = {"reached": {"open_ended/it/retry": 3}}
    assert yields_by_place(counts) == {Place(OPEN, "it", "retry"): Yield(asked=3)}
    assert yields_by_place_as_json(counts)[0]["yield"] is None


def test_sums_are_over_tasks_over_languages_and_over_both() -> None:
    sums = with_sums(yields_by_place(SMALL))
    assert sums[Place(ALL, "de", "first")] == Yield(asked=5, answered=1, accepted=3, rejected=11)
    assert sums[Place(OPEN, ALL, "first")] == Yield(asked=6, answered=3, accepted=7, rejected=11)
    assert sums[Place(ALL, ALL, "first")] == Yield(asked=7, answered=3, accepted=7, rejected=13)
    assert sums[Place(ALL, ALL, "fallback")] == Yield(asked=1, answered=1, accepted=3, rejected=0)


def test_rejects_are_told_by_task_language_rung_and_rule() -> None:
    counts = add_counts([SMALL, {"pairs": {"open_ended/de/first/leak": 9, "open_ended/de/first/surplus": 10}}])
    assert rejects_as_json(counts) == [
        {"task": OPEN, "language": "en", "rung": "first", "rule": "surplus", "number": 2},
        {"task": OPEN, "language": "de", "rung": "first", "rule": "surplus", "number": 10},
        {"task": OPEN, "language": "de", "rung": "first", "rule": "false_claim", "number": 9},
        {"task": OPEN, "language": "de", "rung": "first", "rule": "leak", "number": 9},
        {"task": OPEN, "language": "de", "rung": "retry", "rule": "language", "number": 6},
        {"task": SPOKEN, "language": "de", "rung": "first", "rule": "false_claim", "number": 2},
    ]


@settings(max_examples=60, deadline=None)
@given(any_counts())
def test_the_parts_of_a_yield_add_up_to_what_was_counted(counts: Counts) -> None:
    whole: Counter[str] = Counter()
    by_rung: dict[str, Counter[str]] = {}
    for name, cells in counts.items():
        for label, number in cells.items():
            _, _, rung, *fate = label.split("/")
            column = {"reached": "asked", "answered": "answered"}.get(name)
            column = column or ("accepted" if fate == ["accepted"] else "rejected")
            whole[column] += int(number)
            by_rung.setdefault(rung, Counter())[column] += int(number)
    columns = ("asked", "answered", "accepted", "rejected")
    for rows in (yields_by_place_as_json(counts), yields_as_json(counts)):
        assert {column: sum(row[column] for row in rows) for column in columns} == {c: whole[c] for c in columns}
    sums = with_sums(yields_by_place(counts))
    for rung, numbers in by_rung.items():
        cell = sums[Place(ALL, ALL, rung)]
        assert {column: getattr(cell, column) for column in columns} == {c: numbers[c] for c in columns}
    assert sum(row["number"] for row in rejects_as_json(counts)) == whole["rejected"]
    assert len(rejects_as_json(counts)) == sum(not pairs.accepted for pairs in pairs_told(counts))


def test_the_mix_has_shares_and_what_a_pair_costs() -> None:
    part = mix_of(SMALL)["open_ended"]
    assert (part.accepted, part.untold, part.share, part.cached) == (18, 3, 1.0, 0.75)
    assert part.per_1000_tokens == 1000 * (7 + 2) / 500  # of what a model wrote
    assert part.reference == pytest.approx(4.3 / 55.6)
    whole = mix_of(SMALL)["all"]
    assert whole.per_1000_tokens == 9.0  # the tokens that made nothing are paid, too


def test_pairs_in_the_references_proportions_have_its_shares() -> None:
    for part in mix_of(mixed({task: 10 * millions for task, millions in REFERENCE.items()})).values():
        assert part.share == (None if part.reference is None else pytest.approx(part.reference))


def test_the_reference_is_that_of_the_paper() -> None:
    assert sum(REFERENCE.values()) == pytest.approx(55.6)
    assert [*REFERENCE] == [task for task in TASKS if task != WORD_TIMES]


def test_times_in_numbers_change_no_share() -> None:
    part = mix_of(mixed({"open_ended": 30, "controllable_generation": 10, WORD_TIMES: 1000}))
    assert part["open_ended"].share == 0.75
    assert part[WORD_TIMES].share is None


@pytest.mark.parametrize(
    ("counts", "refused"),
    [
        ({}, []),
        # as an earlier version counted
        (
            {
                "pairs": {"open_ended/de/org/model/accepted": 3, "open_ended/de/template/rejected": 9},
                "asked": {"open_ended/org/model": 6},
                "tokens": {"prompt": 10, "cached": 8, "generated": 200},
            },
            [{"task": OPEN, "language": "de", "rung": "template", "rule": "rejected", "number": 9}],
        ),
    ],
)
def test_counts_without_the_tables_are_told_as_far_as_they_go(
    counts: Counts, refused: list[dict[str, str | int]]
) -> None:
    accepted = sum(cell.accepted for cell in yields_of(counts).values())
    assert accepted == mix_of(counts)["all"].accepted == (3 if counts else 0)
    assert rejects_as_json(counts) == refused
    assert {row["rung"] for row in yields_by_place_as_json(counts)} == ({"org/model", "template"} if counts else set())
