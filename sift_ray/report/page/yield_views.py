"""The page's tables about instructions: the mix, what was accepted, yields, and pairs refused by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sift_ray.pipeline.counts import RUNGS
from sift_ray.report.page.charts import bar
from sift_ray.report.page.views import TableView
from sift_ray.report.tables import count_text, largest_first, percent_text, task_title
from sift_ray.report.yield_tables import mix_cells, yield_cells
from sift_ray.report.yields import (
    ALL,
    Place,
    Yield,
    in_order,
    in_rank,
    mix_of,
    pairs_told,
    rejects_told,
    with_sums,
    yields_by_place,
)
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import Counts


def share_bar(share: float | None) -> str:
    """Return a bar of a share, 0 to 1; nothing for None."""
    return "" if share is None else bar(share)


def mix(counts: Counts) -> TableView:
    """Return what each task has got beside its share in the reference, and what it cost."""
    rows = [(task, *mix_cells(part), share_bar(part.share)) for task, part in mix_of(counts).items()]
    of = ("share", "share in SIFT-50M", "can't be told")
    heads = ("task", "accepted", *of, "accepted per 1,000 tokens", "prompts from the cache", "")
    return TableView("The mix of tasks", heads, rows)


def accepted_by_language(counts: Counts) -> TableView:
    """Return the accepted pairs by task and language."""
    cells: defaultdict[tuple[str, str], float] = defaultdict(float)
    for pairs in pairs_told(counts):
        if pairs.accepted:
            for task in (pairs.task, ALL):
                for language in (pairs.language, ALL):
                    cells[task, language] += pairs.number
    languages = in_rank({ALL, *(language for _, language in cells)}, LANGUAGES)
    tasks = in_rank({ALL, *(task for task, _ in cells)}, TASKS)
    rows = [(task, *(count_text(cells[task, language]) for language in languages)) for task in tasks]
    return TableView("Accepted pairs by task and language", ("task", *languages), rows)


def yields(counts: Counts) -> TableView:
    """Return what became of requests and pairs by task and rung."""
    found = with_sums(yields_by_place(counts))
    rows = []
    for place in _over_languages(found):
        cell = found[place]
        rows.append((place.task, place.rung, *yield_cells(cell), share_bar(cell.share)))
    heads = ("task", "written by", "requests", "answered", "accepted", "refused", "yield", "")
    caption = "Yields: pairs accepted of those written, by how far down a request had come"
    return TableView(caption, heads, rows, frozenset({1}))


def yields_by_language(counts: Counts) -> TableView:
    """Return the yields by task, rung and language."""
    found = with_sums(yields_by_place(counts))
    languages = in_rank({place.language for place in found}, LANGUAGES)
    rows = []
    for place in _over_languages(found):
        cells = [found.get(Place(place.task, language, place.rung), Yield()) for language in languages]
        rows.append((place.task, place.rung, *(percent_text(cell.share) for cell in cells)))
    caption = "Yields by language: pairs accepted of those written; blank where none was"
    return TableView(caption, ("task", "written by", *languages), rows, frozenset({1}))


def _over_languages(found: dict[Place, Yield]) -> list[Place]:
    return [place for place in in_order(found) if place.language == ALL]


def refused_by_rule(counts: Counts) -> list[TableView]:
    """Return the refused pairs by rule and language, rule and task, and rule and rung; nothing where none is."""
    refused = rejects_told(counts)
    if not refused:
        return []
    cells: defaultdict[tuple[str, str], float] = defaultdict(float)  # (rule, column)
    rules: defaultdict[str, float] = defaultdict(float)
    for pairs in refused:
        rules[pairs.rule] += pairs.number
        for column in (pairs.language, pairs.task, pairs.rung):
            cells[pairs.rule, column] += pairs.number
    order = largest_first(rules)
    most = order[0][1]

    def view(by: str, columns: Sequence[str], heads: Sequence[str]) -> TableView:
        rows: list[tuple[str, ...]] = []
        for rule, number in order:
            numbers = [count_text(cells[rule, column]) for column in columns]
            rows.append((rule, *numbers, count_text(number), bar(number / most)))
        return TableView(f"Refused pairs, by rule and {by}", ("rule", *heads, ALL, ""), rows)

    languages = in_rank({pairs.language for pairs in refused}, LANGUAGES)
    tasks = in_rank({pairs.task for pairs in refused}, TASKS)
    rungs = in_rank({pairs.rung for pairs in refused}, RUNGS)
    return [
        view("language", languages, languages),
        view("task", tasks, [task_title(task) for task in tasks]),
        view("who wrote them", rungs, rungs),
    ]
