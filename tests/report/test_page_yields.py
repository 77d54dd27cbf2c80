from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from markupsafe import Markup

from sift_ray.report.page.numbers import instructions, rejects
from sift_ray.report.page.views import TableView
from sift_ray.report.state import STAGES, StageState, Summary
from sift_ray.report.yields import yields_as_json
from sift_ray.storage import Counts

from .written_counts import SMALL, any_counts

MIX, ACCEPTED, YIELDS, BY_LANGUAGE = (
    "The mix of tasks",
    "Accepted pairs by task and language",
    "Yields: pairs accepted of those written, by how far down a request had come",
    "Yields by language: pairs accepted of those written; blank where none was",
)
RULES = "Refused pairs, by rule and "


def told(views: Sequence[TableView]) -> dict[str, list[list[str]]]:
    """Every table's head and rows by its caption, without its bars."""
    found = {}
    for view in views:
        shown = [place for place, head in enumerate(view.heads) if head]
        assert all(len(row) == len(view.heads) for row in view.rows)
        assert all(isinstance(row[-1], Markup) or not row[-1] for row in view.rows if not view.heads[-1])
        found[view.caption] = [[row[place] for place in shown] for row in (view.heads, *view.rows)]
    return found


def summary(counts: Counts) -> Summary:
    stages = {stage: StageState() for stage in STAGES}
    stages["instructions"] = StageState(counts=counts)
    return Summary(output="out", waves=1, stages=stages, bins=None, release=None)


def test_the_mix_tells_what_pairs_cost() -> None:
    heads, *rows = told(instructions(summary(SMALL)))[MIX]
    assert heads == [
        "task",
        "accepted",
        "share",
        "share in SIFT-50M",
        "can't be told",
        "accepted per 1,000 tokens",
        "prompts from the cache",
    ]
    assert ["open_ended", "18", "100.0%", "7.7%", "3", "18.00", "75.0%"] in rows
    assert ["controllable_generation", "0", "0.0%", "10.1%", "0", "0.00", ""] in rows
    assert rows[-1] == ["all", "18", "", "", "3", "9.00", "75.0%"]


def test_accepted_pairs_are_told_by_task_and_language() -> None:
    assert told(instructions(summary(SMALL)))[ACCEPTED] == [
        ["task", "en", "de", "all"],
        ["open_ended", "10", "8", "18"],
        ["all", "10", "8", "18"],
    ]


def test_yields_are_told_by_task_and_rung() -> None:
    assert told(instructions(summary(SMALL)))[YIELDS] == [
        ["task", "written by", "requests", "answered", "accepted", "refused", "yield"],
        ["open_ended", "first", "6", "3", "7", "11", "38.9%"],
        ["open_ended", "retry", "3", "2", "2", "6", "25.0%"],
        ["open_ended", "fallback", "1", "1", "3", "0", "100.0%"],
        ["open_ended", "template", "2", "2", "6", "0", "100.0%"],
        ["controllable_generation", "first", "1", "0", "0", "2", "0.0%"],
        ["all", "first", "7", "3", "7", "13", "35.0%"],
        ["all", "retry", "3", "2", "2", "6", "25.0%"],
        ["all", "fallback", "1", "1", "3", "0", "100.0%"],
        ["all", "template", "2", "2", "6", "0", "100.0%"],
    ]


def test_every_rung_has_its_yields_by_language() -> None:
    assert told(instructions(summary(SMALL)))[BY_LANGUAGE] == [
        ["task", "written by", "en", "de", "all"],
        ["open_ended", "first", "66.7%", "25.0%", "38.9%"],
        ["open_ended", "retry", "", "25.0%", "25.0%"],
        ["open_ended", "fallback", "", "100.0%", "100.0%"],
        ["open_ended", "template", "100.0%", "", "100.0%"],
        ["controllable_generation", "first", "", "0.0%", "0.0%"],
        ["all", "first", "66.7%", "21.4%", "35.0%"],
        ["all", "retry", "", "25.0%", "25.0%"],
        ["all", "fallback", "", "100.0%", "100.0%"],
        ["all", "template", "100.0%", "", "100.0%"],
    ]


def test_rules_are_told_by_language_task_and_rung() -> None:
    found = told(rejects(summary(SMALL)))
    assert found == {
        RULES + "language": [
            ["rule", "en", "de", "all"],
            ["false_claim", "0", "11", "11"],
            ["language", "0", "6", "6"],
            ["surplus", "2", "0", "2"],
        ],
        RULES + "task": [
            ["rule", "open ended", "controllable generation", "all"],
            ["false_claim", "9", "2", "11"],
            ["language", "6", "0", "6"],
            ["surplus", "2", "0", "2"],
        ],
        RULES + "who wrote them": [
            ["rule", "first", "retry", "all"],
            ["false_claim", "11", "0", "11"],
            ["language", "0", "6", "6"],
            ["surplus", "2", "0", "2"],
        ],
    }


@settings(max_examples=60, deadline=None)
@given(any_counts())
def test_the_cells_of_each_table_add_up(counts: Counts) -> None:
    rows = yields_as_json(counts)
    refused = sum(row["rejected"] for row in rows)
    for _, *rules in told(rejects(summary(counts))).values():
        numbers = [[int(cell.replace(",", "")) for cell in row[1:]] for row in rules]
        assert all(sum(parts) == whole for *parts, whole in numbers)
        assert sum(row[-1] for row in numbers) == refused
    views = told(instructions(summary(counts)))
    assert bool(views) == bool(counts["pairs"])
    _, *shown = views.get(YIELDS, [[]])
    for place, column in enumerate(("asked", "answered", "accepted", "rejected"), 2):
        whole = sum(row[column] for row in rows) if views else 0
        for is_sum in (False, True):
            cells = [row[place] for row in shown if (row[0] == "all") == is_sum]
            assert sum(int(cell.replace(",", "")) for cell in cells) == whole


def test_where_nothing_was_accepted_the_table_says_so() -> None:
    views = told(instructions(summary({"pairs": {"open_ended/de/first/leak": 2}})))
    assert views[ACCEPTED] == [["task", "all"], ["all", "0"]]


def test_without_pairs_there_is_nothing_to_tell() -> None:
    assert instructions(summary({})) == []
    assert rejects(summary({})) == []
