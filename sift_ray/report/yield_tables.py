"""The tables about instructions on the terminal: what was accepted, the mix, yields, and rejects by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.table import Table

from sift_ray.pipeline.counts import RUNGS
from sift_ray.report.tables import (
    by_language,
    count_text,
    grid,
    largest_first,
    percent_text,
    task_title,
    thousands_text,
)
from sift_ray.report.yields import (
    ALL,
    PairCount,
    Place,
    TaskShare,
    Yield,
    asked_tasks,
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

_RULES_SHOWN: Final = 12
_IN_THOUSANDS_FROM: Final = 1_000_000  # rejected pairs


def instruction_tables(counts: Counts) -> list[Table]:
    """Return all tables about instructions; there is none, and no column, that would only repeat another."""
    yields = with_sums(yields_by_place(counts))
    tables = [_accepted_table(counts), _mix_table(counts), _yield_table(yields)]
    return [*tables, *_language_tables(yields), *_rule_tables(rejects_told(counts))]


def mix_cells(part: TaskShare) -> tuple[str, ...]:
    """Return a task's part of the mix as text: accepted, share, SIFT-50M's, untold, per 1,000 tokens, cached."""
    return (
        count_text(part.accepted),
        percent_text(part.share),
        percent_text(part.reference),
        count_text(part.untold),
        "" if part.per_1000_tokens is None else f"{part.per_1000_tokens:,.2f}",
        percent_text(part.cached),
    )


def yield_cells(cell: Yield) -> tuple[str, ...]:
    """Return a yield as text: requests, answered, accepted, rejected, and the share that was accepted."""
    return (*map(count_text, (cell.asked, cell.answered, cell.accepted, cell.rejected)), percent_text(cell.share))


def _accepted_table(counts: Counts) -> Table:
    cells: dict[tuple[str, str], float] = defaultdict(float)
    for pairs in pairs_told(counts):
        if pairs.accepted:
            cells[pairs.task, pairs.language] += pairs.number
    return grid("Instructions accepted", ("task", *LANGUAGES, "all"), by_language(cells, asked_tasks(counts)))


def _mix_table(counts: Counts) -> Table:
    rows = [(task, *mix_cells(part)) for task, part in mix_of(counts).items()]
    heads = ("task", "accepted", "share", "SIFT-50M", "untold", "per 1k tokens", "cached")
    return grid("The mix (untold: pairs that say that it can't be told)", heads, rows)


def _yield_table(yields: Mapping[Place, Yield]) -> Table:
    rows = []
    for task, rung, name in _task_rows(yields):
        cell = yields[Place(task, ALL, rung)]
        rows.append((name, rung, *yield_cells(cell)))
    heads = ("task", "rung", "requests", "answered", "accepted", "rejected", "yield")
    return grid("Yields", heads, rows, words=("rung",))


def _language_tables(yields: Mapping[Place, Yield]) -> list[Table]:
    """Return the table of yields by language; none with one language, or where all is accepted."""
    languages = in_rank({place.language for place in yields} - {ALL}, LANGUAGES)
    told = [place for place, cell in yields.items() if place.language == ALL and cell.rejected]
    if len(languages) < 2 or not told:
        return []
    rows = []
    for task, rung, name in _task_rows(told):
        cells = [yields.get(Place(task, language, rung), Yield()) for language in (*languages, ALL)]
        rows.append((name, rung, *(percent_text(cell.share) for cell in cells)))
    title = "Yields by language (rows of nothing but 100% left out)"
    return [grid(title, ("task", "rung", *languages, ALL), rows, words=("rung",))]


def _task_rows(yields: Iterable[Place]) -> list[tuple[str, str, str]]:
    """Return the task and rung of each row, and what stands in its first column: a task is named once."""
    places = [(place.task, place.rung) for place in in_order(yields) if place.language == ALL]
    above = [""] + [task for task, _ in places]
    return [(task, rung, "" if task == last else task) for (task, rung), last in zip(places, above, strict=False)]


def _rule_tables(refused: Sequence[PairCount]) -> list[Table]:
    """Return the tables of the rules by language and rung, and by task; none without rejects."""
    if not refused:
        return []
    numbers: defaultdict[str, float] = defaultdict(float)
    for pairs in refused:
        numbers[pairs.rule] += pairs.number
    order = [rule for rule, _ in largest_first(numbers)]
    shown = order if len(order) <= _RULES_SHOWN + 1 else order[:_RULES_SHOWN]
    others = f"{len(order) - len(shown)} other rules"
    cells: defaultdict[tuple[str, str], float] = defaultdict(float)  # (row, column)
    for pairs in refused:
        for row in (pairs.rule if pairs.rule in shown else others, ALL):
            for column in (pairs.language, pairs.rung, pairs.task, ALL):
                cells[row, column] += pairs.number
    rules = shown if len(shown) == len(order) else [*shown, others]

    many = cells[ALL, ALL] >= _IN_THOUSANDS_FROM
    text = thousands_text if many else count_text

    def table(title: str, columns: Sequence[str], heads: Sequence[str]) -> Table:
        rows = [(row, *(text(cells[row, column]) for column in (*columns, ALL))) for row in (*rules, ALL)]
        return grid(f"{title}, in thousands" if many else title, ("rule", *heads, ALL), rows)

    rungs = in_rank({pairs.rung for pairs in refused}, RUNGS)
    tasks = in_rank({pairs.task for pairs in refused}, TASKS)
    columns = [*LANGUAGES, *(rungs if len(rungs) > 1 else ())]
    tables = [table("Instructions rejected, by rule", columns, columns)]
    if len(tasks) > 1:
        heads = ["\n".join(task_title(task).rsplit(" ", 1)) for task in tasks]
        tables.append(table("Instructions rejected, by rule and task", tasks, heads))
    return tables
