"""The look of every table on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text


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
