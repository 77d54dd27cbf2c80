"""Bars and histograms as SVG. What they show stands in a table beside them too: none is needed to be understood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from sift_ray.report.page.histograms import Histogram
from sift_ray.report.page.svg import number, tag
from sift_ray.report.page.views import Strip

_WIDTH: Final = 340.0
_TALL, _LOW = 96.0, 44.0  # px of a histogram's fullest bar, alone and among others over one axis
_ABOVE, _BEYOND = 16.0, 4.0  # px for the places of categories, and for the ends of lines
_ROW: Final = 12.0  # px of a row of numbers below
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # where numbers stand below an axis without edges
_NUMBER_ROOM: Final = 34.0  # px between two numbers that stand in one row


def bar(share: float, kind: str = "") -> Markup:
    """Return a bar that fills so much (0 to 1) of the width that the page gives it."""
    width = 100.0 * min(max(share, 0.0), 1.0)
    return tag(
        "svg",
        tag("rect", width=100, height=10, class_="rest"),
        tag("rect", width=width, height=10, class_=f"full {kind}".strip()),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def parts_bar(parts: Sequence[float], whole: float) -> Markup:
    """Return one bar of up to three parts beside each other, told apart by their shade and a line between them.

    Args:
        parts: amounts, each 0 or more.
        whole: the amount that fills the width.
    """
    drawn = [tag("rect", width=100, height=10, class_="rest")]
    left = 0.0
    for place, part in enumerate(parts):
        width = 100.0 * part / whole if whole else 0.0
        drawn.append(tag("rect", x=left, width=width, height=10, class_=f"part p{place}"))
        left += width
    return tag("svg", *drawn, viewBox="0 0 100 10", preserveAspectRatio="none", class_="bar", aria_hidden="true")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a histogram is drawn from.

    Attributes:
        caption: what it is of.
        title: what a reader who does not see it is told.
        shape: its cells.
        refused: of the cells, counts that stand on top of the shape's, drawn with dashes; may be empty.
    """

    caption: str
    title: str
    shape: Histogram
    refused: Sequence[int] = ()


def stacked(drawn: Sequence[Drawn], edges: Sequence[float]) -> tuple[list[Strip], Markup]:
    """Return histograms as strips, and the axis that they share: the numbers that stand below the last.

    Each has a line at each edge, or without edges at each number; above the first stand the places of the categories,
    from 1. Each is as high as its own fullest bar.

    Args:
        drawn: at least one; all shapes have the same low end and the same high one.
        edges: where categories begin and end, not decreasing; may be empty.
    """
    height = _TALL if len(drawn) == 1 else _LOW
    of_all = drawn[0].shape
    between = [(edge, _at(edge, of_all)) for edge in edges]
    places = [
        tag("text", str(place), x=(left + right) / 2, y=_ABOVE - 5.0, class_="place")
        for place, ((_, left), (_, right)) in enumerate(pairwise(between), 1)
        if right - left > 9.0
    ]
    numbers = between or [(_mixed(of_all, share), _WIDTH * share) for share in _TICKS]
    lines = [x for _, x in numbers]
    strips = [
        Strip(one.caption, _histogram(one, edges, lines, height, () if at else places)) for at, one in enumerate(drawn)
    ]
    return strips, _axis(numbers)


def _histogram(
    drawn: Drawn, edges: Sequence[float], lines: Sequence[float], height: float, places: Sequence[Markup]
) -> Markup:
    """Return a histogram without the numbers below it; `lines` are the places of its vertical ones, px."""
    shape = drawn.shape
    totals = [count + more for count, more in zip(shape.counts, drawn.refused or [0] * len(shape.counts), strict=True)]
    scale = height / max(*totals, 1)
    top = _ABOVE if places else _BEYOND
    bottom = top + height
    cell = _WIDTH / len(totals)
    columns = []
    for place, (count, total) in enumerate(zip(shape.counts, totals, strict=True)):
        middle = shape.low + (place + 0.5) * (shape.high - shape.low) / len(totals)
        shade = sum(edge < middle for edge in edges[1:-1]) % 2
        for below, above, kind in ((0, count, f"c{shade}"), (count, total, "refused")):
            if above > below:
                columns.append(_column(place * cell, cell, bottom - above * scale, (above - below) * scale, kind))
    ends = {"y1": top - _BEYOND, "y2": bottom + _BEYOND}
    vertical = [tag("line", x1=x, x2=x, **ends, class_="edge" if edges else "grid") for x in lines]
    return tag(
        "svg",
        tag("title", drawn.title),
        # (edges must be seen over the bars; other lines only lead the eye to the numbers)
        *((*columns, *vertical) if edges else (*vertical, *columns)),
        *places,
        tag("line", x1=0, x2=_WIDTH, y1=bottom, y2=bottom, class_="axis"),
        viewBox=f"0 0 {number(_WIDTH)} {number(bottom + _BEYOND)}",
        class_="histogram",
        role="img",
        aria_label=drawn.title,
    )


def _column(x: float, width: float, y: float, height: float, kind: str) -> Markup:
    return tag("rect", x=x, y=y, width=max(width - 0.8, 0.4), height=max(height, 0.6), class_=f"cell {kind}")


def _mixed(shape: Histogram, share: float) -> float:
    return shape.low + share * (shape.high - shape.low)


def _at(value: float, shape: Histogram) -> float:
    return _WIDTH * (value - shape.low) / (shape.high - shape.low)


def _axis(numbers: Sequence[tuple[float, float]]) -> Markup:
    """Return values below their places, in two rows where they would touch; what has no room is left out."""
    drawn = []
    free = [-_WIDTH, -_WIDTH]
    widest = max(abs(value) for value, _ in numbers)
    decimals = 2 if widest < 2 else 1 if widest < 30 else 0
    for value, x in numbers:
        row = 0 if x - free[0] >= _NUMBER_ROOM else 1
        if x - free[row] < _NUMBER_ROOM:
            continue
        free[row] = x
        anchor = "start" if x < 12 else "end" if x > _WIDTH - 12 else "middle"
        y = _ROW * (row + 1) - 2.0
        drawn.append(tag("text", f"{value:.{decimals}f}", x=x, y=y, class_="value", text_anchor=anchor))
    height = _ROW * (2 if free[1] >= 0 else 1) + 2.0
    box = f"0 0 {number(_WIDTH)} {number(height)}"
    return tag("svg", *drawn, viewBox=box, class_="numbers", aria_hidden="true")
