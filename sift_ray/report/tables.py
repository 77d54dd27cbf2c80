"""The look of every table on the terminal, and the rows that several have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from sift_ray.schema import LANGUAGES


def grid(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: Collection[str] = (),
    sentences: Collection[str] = (),
) -> Table:
    """Return a table whose cells show their text as it is, numbers to the right.

    Args:
        title: above the table, cut to its width; empty for none.
        heads: the columns' names.
        rows: cells, as many as `heads`.
        words: columns to the left; the first column is one in any case.
        sentences: columns to the left that may take more than a line.
    """
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
        show_edge=False,
        box=box.SIMPLE_HEAD,
    )
    for place, head in enumerate(heads):
        told = head in sentences
        table.add_column(
            head,
            justify="left" if place == 0 or told or head in words else "right",
            no_wrap=not told,
            overflow="fold" if told else "ellipsis",
        )
    for row in rows:
        table.add_row(*map(Text, row))  # (a path may hold what rich takes for markup)
    return table


def count_text(value: float) -> str:
    """Return a count as tables show it."""
    return f"{value:,.0f}"


def thousands_text(value: float) -> str:
    """Return a count in thousands, as tables show it that have too many columns for more digits."""
    return "<1" if 0 < value < 1000 else count_text(value / 1000)


def percent_text(share: float | None) -> str:
    """Return a share, 0 to 1, as tables show it; None as nothing."""
    return "" if share is None else f"{share:.1%}"


def task_title(task: str) -> str:
    """Return a task's name as the head of a column among those of other tasks, such as `acoustic level`."""
    return task.removeprefix("closed_ended_").replace("_", " ")


def duration_text(seconds: float) -> str:
    """Return a duration as tables show it, in the two units that tell most."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def by_language(cells: Mapping[tuple[str, str], float], names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return a row a name with its counts by language and their sum, and a last row of the sums.

    Args:
        cells: counts by (name, language).
        names: the rows.
    """
    names = list(names)

    def row(title: str, members: Sequence[str]) -> tuple[str, ...]:
        counts = [sum(cells.get((name, language), 0) for name in members) for language in LANGUAGES]
        return (title, *(count_text(count) for count in counts), count_text(sum(counts)))

    return [*(row(name, [name]) for name in names), row("all", names)]


def largest_first(counts: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the counts with their names from the largest down, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
