"""Bars and histograms as SVG. What they show stands in a table beside them too: none is needed to be understood."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from sift_ray.report.page.histograms import Histogram
from sift_ray.report.page.svg import number, tag

_WIDTH: Final = 340.0
_TOP, _BOTTOM, _HEIGHT = 16.0, 112.0, 142.0
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # where numbers stand below an axis without edges
_EDGE_ROOM: Final = 34.0  # px between the numbers of two edges that stand in one row


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


def histogram(shape: Histogram, edges: Sequence[float], title: str, refused: Sequence[int] = ()) -> Markup:
    """Return a histogram with a line at each edge; between them stand the places of the categories, from 1.

    Args:
        shape: what is drawn.
        edges: where categories begin and end, not decreasing; may be empty.
        title: what a reader who does not see it is told.
        refused: of the cells, counts that stand on top of `shape.counts`, drawn with dashes.
    """
    totals = [count + more for count, more in zip(shape.counts, refused or [0] * len(shape.counts), strict=True)]
    most = max(*totals, 1)
    cell = _WIDTH / len(totals)
    drawn = []
    for place, (count, total) in enumerate(zip(shape.counts, totals, strict=True)):
        middle = shape.low + (place + 0.5) * (shape.high - shape.low) / len(totals)
        shade = sum(edge < middle for edge in edges[1:-1]) % 2
        drawn += _column(place * cell, cell, 0, count, most, f"c{shade}")
        drawn += _column(place * cell, cell, count, total, most, "refused")
    inner = [(edge, _at(edge, shape)) for edge in edges]
    for _, x in inner:
        drawn.append(tag("line", x1=x, x2=x, y1=_TOP - 4.0, y2=_BOTTOM + 4.0, class_="edge"))
    for place, ((_, left), (_, right)) in enumerate(pairwise(inner)):
        if right - left > 9.0:
            drawn.append(tag("text", str(place + 1), x=(left + right) / 2, y=_TOP - 5.0, class_="place"))
    drawn.append(tag("line", x1=0, x2=_WIDTH, y1=_BOTTOM, y2=_BOTTOM, class_="axis"))
    drawn += _numbers(inner or [(_mixed(shape, share), _WIDTH * share) for share in _TICKS])
    return tag(
        "svg",
        tag("title", title),
        *drawn,
        viewBox=f"0 0 {number(_WIDTH)} {number(_HEIGHT)}",
        class_="histogram",
        role="img",
        aria_label=title,
    )


def _column(x: float, width: float, below: int, above: int, most: int, kind: str) -> list[Markup]:
    if above <= below:
        return []
    scale = (_BOTTOM - _TOP) / most
    return [
        tag(
            "rect",
            x=x,
            y=_BOTTOM - above * scale,
            width=max(width - 0.8, 0.4),
            height=max((above - below) * scale, 0.6),
            class_=f"cell {kind}",
        )
    ]


def _mixed(shape: Histogram, share: float) -> float:
    return shape.low + share * (shape.high - shape.low)


def _at(value: float, shape: Histogram) -> float:
    return _WIDTH * (value - shape.low) / (shape.high - shape.low)


def _numbers(edges: Sequence[tuple[float, float]]) -> list[Markup]:
    """Return the edges' values below the axis, in two rows where they would touch; what has no room is left out."""
    drawn = []
    free = [-_WIDTH, -_WIDTH]
    widest = max(abs(edge) for edge, _ in edges)
    decimals = 2 if widest < 2 else 1 if widest < 30 else 0
    for edge, x in edges:
        row = 0 if x - free[0] >= _EDGE_ROOM else 1
        if x - free[row] < _EDGE_ROOM:
            continue
        free[row] = x
        anchor = "start" if x < 12 else "end" if x > _WIDTH - 12 else "middle"
        drawn.append(
            tag("text", f"{edge:.{decimals}f}", x=x, y=_BOTTOM + 14.0 + 12.0 * row, class_="value", text_anchor=anchor)
        )
    return drawn
